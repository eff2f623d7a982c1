#include "pyref.h"

#include "script.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "capture.h"
#include "lib/fd.h"
#include "pyversion.h"

/* The end record of a zip file with the longest comment it can have. */
#define ZIP_TAIL_BYTES (22 + 65535)

static PyObject *compile_source(PyObject *source, PyObject *filename) {
        _cleanup_pyref_ PyObject *builtins = pyref_import("builtins");

        if (!builtins)
                return NULL;
        return PyObject_CallMethod(builtins, "compile", "OOsii", source, filename, "exec", 0, 1);
}

/* Says @fallback, and the type of the exception that is set and cleared here. */
static int decline_exception(struct decline *why, const char *reason) {
        PyObject *type, *value, *traceback;
        _cleanup_pyref_ PyObject *name = NULL, *bytes = NULL;

        PyErr_Fetch(&type, &value, &traceback);
        name = type ? PyObject_GetAttrString(type, "__name__") : NULL;
        bytes = name ? PyUnicode_AsUTF8String(name) : NULL;
        PyErr_Clear();
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return decline(why, reason, "%s", bytes ? PyBytes_AsString(bytes) : "it does not compile");
}

/* Compiling may warn, as the filters want it. Nothing may be seen of that before the claim, so it is caught. */
static int compile_quietly(PyObject *source, PyObject *filename, PyObject **ret_code, struct decline *why) {
        _cleanup_pyref_ PyObject *code = NULL;
        struct capture capture;
        bool has_warned;

        if (capture_begin(&capture) < 0)
                return -1;
        code = compile_source(source, filename);
        has_warned = capture_end(&capture);
        if (!code)
                return decline_exception(why, "syntax");
        if (has_warned)
                return decline(why, "warnings", "compiling it warns");
        *ret_code = pyref_steal(&code);
        return 0;
}

static int read_fd(int fd, size_t expected, char **ret_data, size_t *ret_n_bytes) {
        size_t n_bytes = 0, n_allocated = expected + 1;
        char *data = malloc(n_allocated);
        ssize_t n_read = 1;

        while (data && n_read) {
                if (n_bytes == n_allocated) {
                        char *larger = realloc(data, n_allocated = 2 * n_allocated + 4096);

                        if (!larger) {
                                free(data);
                                return -ENOMEM;
                        }
                        data = larger;
                }
                n_read = read(fd, data + n_bytes, n_allocated - n_bytes);
                if (n_read < 0 && errno != EINTR) {
                        free(data);
                        return -errno;
                }
                if (n_read < 0)
                        n_read = 1; /* again; the signal is Python's, later */
                else
                        n_bytes += (size_t)n_read;
        }
        *ret_data = data;
        *ret_n_bytes = n_bytes;
        return data ? 0 : -ENOMEM;
}

static bool is_zip(const char *data, size_t n_bytes) {
        size_t n_tail = n_bytes < ZIP_TAIL_BYTES ? n_bytes : ZIP_TAIL_BYTES;

        return memmem(data + n_bytes - n_tail, n_tail, "PK\5\6", 4);
}

static bool ends_with(const char *path, const char *suffix) {
        size_t n_path = strlen(path), n_suffix = strlen(suffix);

        return n_path >= n_suffix && strcmp(path + n_path - n_suffix, suffix) == 0;
}

int script_fd_number(const char *path) {
        static const char *const names[] = { "/dev/stdin", "/dev/stdout", "/dev/stderr" };
        static const char *const folders[] = { "/dev/fd/", "/proc/self/fd/" };

        for (int number = 0; number <= STDERR_FILENO; number++)
                if (strcmp(path, names[number]) == 0)
                        return number;
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                size_t n_folder = strlen(folders[i]), n_digits;

                if (strncmp(path, folders[i], n_folder) != 0)
                        continue;
                n_digits = strspn(path + n_folder, "0123456789");
                if (n_digits > 0 && n_digits < 6 && !path[n_folder + n_digits])
                        return atoi(path + n_folder); /* NOLINT(cert-err34-c): it is a number */
        }
        return -1;
}

/* A path whose meaning depends on the process that opens it. */
static bool is_process_path(const char *path) {
        return strncmp(path, "/dev/fd/", 8) == 0 || strncmp(path, "/proc/", 6) == 0;
}

/* All but the first line, whose end stays, for the numbers of the others. */
static PyObject *make_source(const char *data, size_t n_bytes, bool skip_first_line) {
        const char *end = data + n_bytes, *start = skip_first_line ? memchr(data, '\n', n_bytes) : data;

        return PyBytes_FromStringAndSize(start ? start : end, start ? end - start : 0);
}

/* What is there to be read twice. */
static int read_file(const char *path, const struct stat *st, char **ret_data, size_t *ret_n_bytes) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        return fd < 0 ? -errno : read_fd(fd, (size_t)st->st_size, ret_data, ret_n_bytes);
}

/* _Py_abspath() of CPython: only joined to the current folder; from 3.11 on that is not followed by a dot. */
static PyObject *absolute_path(const char *path) {
        _cleanup_pyref_ PyObject *folder = NULL, *name = NULL;
        char cwd[PATH_MAX];

        if (path[0] == '/' || !getcwd(cwd, sizeof(cwd)) || cwd[0] != '/')
                return PyUnicode_DecodeFSDefault(path);
        folder = PyUnicode_DecodeFSDefault(cwd);
        if (strcmp(path, ".") == 0 && pyversion() >= PYVERSION_3_11)
                return pyref_steal(&folder);
        name = PyUnicode_DecodeFSDefault(path);
        return folder && name ? PyUnicode_FromFormat("%U/%U", folder, name) : NULL;
}

/* maybe_pyc_file() of CPython. */
static bool is_bytecode(const char *path, bool skip_first_line, const char *data, size_t n_bytes) {
        unsigned half_magic = (unsigned)PyImport_GetMagicNumber() & 0xffff;

        return ends_with(path, ".pyc") ||
               (!skip_first_line && n_bytes >= 2 && (uint8_t)data[0] == (half_magic & 0xff) &&
                (uint8_t)data[1] == half_magic >> 8);
}

/* run_pyc_file(): four numbers, of which only the first one counts, and the code. */
#define BYTECODE_HEADER_BYTES 16

static bool is_code(PyObject *object) {
        _cleanup_pyref_ PyObject *code = Py_CompileString("", "", Py_file_input);

        return code && Py_TYPE(object) == Py_TYPE(code);
}

static int load_bytecode(const char *path, const char *data, size_t n_bytes, PyObject **ret_code,
                         struct decline *why) {
        _cleanup_pyref_ PyObject *marshal = pyref_import("marshal"), *bytes = NULL, *code = NULL;
        uint32_t magic;

        if (!marshal)
                return -1;
        if (n_bytes < BYTECODE_HEADER_BYTES)
                return decline(why, "script", "%s: not all of a .pyc", path);
        memcpy(&magic, data, sizeof(magic));
        if (le32toh(magic) != (uint32_t)PyImport_GetMagicNumber())
                return decline(why, "script", "%s: of another version of python", path);
        bytes = PyBytes_FromStringAndSize(data + BYTECODE_HEADER_BYTES,
                                          (Py_ssize_t)(n_bytes - BYTECODE_HEADER_BYTES));
        code = bytes ? PyObject_CallMethod(marshal, "loads", "O", bytes) : NULL;
        if (!code)
                return decline_exception(why, "script");
        if (!is_code(code))
                return decline(why, "script", "%s: a .pyc without code", path);
        *ret_code = pyref_steal(&code);
        return 0;
}

/* Does python3 find a way to import from it? Then it has __main__ there, or python3 says what it misses. */
static int find_importer(struct script *script, struct decline *why) {
        _cleanup_pyref_ PyObject *importer = PyImport_GetImporter(script->filename);

        if (!importer)
                return decline_exception(why, "script");
        if (importer == Py_None)
                return 0;
        script->form = SCRIPT_PACKAGE;
        script->importer = pyref_steal(&importer);
        return 0;
}

static int prepare_source(const char *data, size_t n_bytes, bool skip_first_line, struct script *script,
                          struct decline *why) {
        _cleanup_pyref_ PyObject *source = NULL;

        script->form = SCRIPT_SOURCE;
        source = make_source(data, n_bytes, skip_first_line);
        return source ? compile_quietly(source, script->filename, &script->code, why) : -1;
}

static int prepare_data(const char *path, bool is_fd, bool skip_first_line, const char *data, size_t n_bytes,
                        struct script *script, struct decline *why) {
        int r = 0;

        if (is_zip(data, n_bytes)) {
                if (is_fd)
                        return decline(why, "script", "%s: an archive, perhaps, behind an fd", path);
                r = find_importer(script, why);
                script->is_archive = script->importer;
        }
        if (r || script->importer)
                return r;
        if (is_bytecode(path, skip_first_line, data, n_bytes)) {
                script->form = SCRIPT_BYTECODE;
                return load_bytecode(path, data, n_bytes, &script->code, why);
        }
        if (memchr(data, 0, n_bytes)) {
                script->form = SCRIPT_STREAM; /* before 3.12 compile() refuses what the file's parser takes */
                return 0;
        }
        return prepare_source(data, n_bytes, skip_first_line, script, why);
}

static int prepare_file(const char *path, const char *source_path, const struct stat *st, bool skip_first_line,
                        struct script *script, struct decline *why) {
        size_t n_bytes = 0;
        char *data = NULL;
        int r;

        r = read_file(source_path, st, &data, &n_bytes);
        if (!data)
                return decline(why, "script", "%s: %s", path, strerror(-r));
        r = prepare_data(path, path != source_path, skip_first_line, data, n_bytes, script, why);
        free(data);
        return r;
}

static bool is_null_device(const struct stat *st) {
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* A pipe is not even opened before the claim: whoever writes it would find that out. */
static int prepare_kind(const char *path, const char *source_path, bool skip_first_line, struct script *script,
                        struct decline *why) {
        struct stat st;

        if (stat(source_path, &st) < 0)
                return decline(why, "script", "%s: %s", path, strerror(errno));
        if (S_ISREG(st.st_mode))
                return prepare_file(path, source_path, &st, skip_first_line, script, why);
        if (S_ISDIR(st.st_mode) && path == source_path) {
                int r = find_importer(script, why);

                return r || script->importer ? r
                                             : decline(why, "script", "%s: a folder to import nothing from", path);
        }
        if ((S_ISFIFO(st.st_mode) || is_null_device(&st)) && !ends_with(path, ".pyc")) {
                script->form = SCRIPT_STREAM;
                return 0;
        }
        return decline(why, "script", "%s: not a file, a folder or a pipe", path);
}

int script_prepare(const char *path, int fd, bool skip_first_line, struct script *ret_script,
                   struct decline *why) {
        bool is_fd = script_fd_number(path) >= 0;
        char fd_path[32];
        int r;

        if (is_fd ? fd < 0 : is_process_path(path))
                return decline(why, "script", "%s: another file in another process", path);
        *ret_script = (struct script){ .filename = absolute_path(path) };
        if (!ret_script->filename)
                return -1;
        snprintf(fd_path, sizeof(fd_path), "/proc/self/fd/%d", fd);
        r = prepare_kind(path, is_fd ? fd_path : path, skip_first_line, ret_script, why);
        if (r)
                script_fini(ret_script);
        return r;
}

void script_fini(struct script *script) {
        Py_CLEAR(script->filename);
        Py_CLEAR(script->code);
        Py_CLEAR(script->importer);
}

static void skip_line(FILE *file) {
        int c;

        do
                c = getc(file);
        while (c != EOF && c != '\n');
        if (c != EOF)
                ungetc(c, file); /* the number of lines stays */
}

FILE *script_open(const struct script *script, bool skip_first_line) {
        _cleanup_pyref_ PyObject *path = PyUnicode_EncodeFSDefault(script->filename);
        FILE *file = path ? fopen(PyBytes_AsString(path), "rbe") : NULL;

        if (!file)
                PySys_FormatStderr("%S: can't open file %R: [Errno %d] %s\n", PySys_GetObject("executable"),
                                   script->filename, errno, strerror(errno));
        if (file && skip_first_line)
                skip_line(file);
        return file;
}

int script_compile_command(const char *command, PyObject **ret_code, struct decline *why) {
        _cleanup_pyref_ PyObject *text = PyUnicode_DecodeFSDefault(command), *source = NULL, *filename = NULL;

        filename = PyUnicode_FromString("<string>");
        source = text ? PyUnicode_FromFormat("%U\n", text) : NULL;
        if (!source || !filename)
                return -1;
        return compile_quietly(source, filename, ret_code, why);
}

/* What the symbolic link @path leads to, if that is absolute; else @path itself. malloc()ed. */
static char *follow_link(const char *path) {
        char target[PATH_MAX];
        ssize_t n = readlink(path, target, sizeof(target) - 1);

        if (n <= 0)
                return strdup(path);
        target[n] = '\0';
        return strdup(target[0] == '/' ? target : path);
}

char *script_folder(const char *argv0) {
        char *path = realpath(argv0, NULL), *slash;

        if (!path)
                path = follow_link(argv0); /* to a pipe, say */
        slash = path ? strrchr(path, '/') : NULL;
        if (slash)
                slash[slash == path ? 1 : 0] = 0;
        else if (path)
                path[0] = 0;
        return path;
}
