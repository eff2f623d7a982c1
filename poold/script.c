#include "pyref.h"

#include "script.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "lib/fd.h"

/* The end record of a zip file with the longest comment it can have. */
#define ZIP_TAIL_BYTES (22 + 65535)

static PyObject *compile_source(PyObject *source, PyObject *filename) {
        _cleanup_pyref_ PyObject *builtins = PyImport_ImportModule("builtins");

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

/* A path whose meaning depends on the process that opens it. */
static bool is_process_path(const char *path) {
        return strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
}

/* All but the first line, whose end stays, for the numbers of the others. */
static PyObject *make_source(const char *data, size_t n_bytes, bool skip_first_line) {
        const char *end = data + n_bytes, *start = skip_first_line ? memchr(data, '\n', n_bytes) : data;

        return PyBytes_FromStringAndSize(start ? start : end, start ? end - start : 0);
}

static int read_script(const char *path, bool skip_first_line, PyObject **ret_source, struct decline *why) {
        _cleanup_fd_ int fd = -1;
        struct stat st;
        size_t n_bytes;
        char *data;
        int r;

        if (is_process_path(path) || ends_with(path, ".pyc"))
                return decline(why, "script", "%s: not a plain source file", path);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return decline(why, "script", "%s: %s", path, strerror(errno));
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return decline(why, "script", "%s: not a plain file", path);
        r = read_fd(fd, (size_t)st.st_size, &data, &n_bytes);
        if (r < 0)
                return decline(why, "script", "%s: %s", path, strerror(-r));
        if (is_zip(data, n_bytes) || memchr(data, 0, n_bytes))
                r = decline(why, "script", "%s: not a plain source file", path);
        else
                *ret_source = make_source(data, n_bytes, skip_first_line);
        free(data);
        return r ? r : *ret_source ? 0 : -1;
}

/* _Py_abspath() of CPython: only joined to the current folder. */
static PyObject *absolute_path(const char *path) {
        _cleanup_pyref_ PyObject *folder = NULL, *name = NULL;
        char cwd[PATH_MAX];

        if (path[0] == '/' || !getcwd(cwd, sizeof(cwd)) || cwd[0] != '/')
                return PyUnicode_DecodeFSDefault(path);
        folder = PyUnicode_DecodeFSDefault(cwd);
        name = PyUnicode_DecodeFSDefault(path);
        return folder && name ? PyUnicode_FromFormat("%U/%U", folder, name) : NULL;
}

int script_compile_file(const char *path, bool skip_first_line, PyObject **ret_code, PyObject **ret_filename,
                        struct decline *why) {
        _cleanup_pyref_ PyObject *source = NULL, *filename = NULL;
        int r;

        r = read_script(path, skip_first_line, &source, why);
        if (r)
                return r;
        filename = absolute_path(path);
        if (!filename)
                return -1;
        r = compile_quietly(source, filename, ret_code, why);
        if (r == 0)
                *ret_filename = pyref_steal(&filename);
        return r;
}

int script_compile_command(const char *command, PyObject **ret_code, struct decline *why) {
        _cleanup_pyref_ PyObject *text = PyUnicode_DecodeFSDefault(command), *source = NULL, *filename = NULL;

        filename = PyUnicode_FromString("<string>");
        source = text ? PyUnicode_FromFormat("%U\n", text) : NULL;
        if (!source || !filename)
                return -1;
        return compile_quietly(source, filename, ret_code, why);
}

PyObject *script_compile_stdin(void) {
        _cleanup_pyref_ PyObject *source = NULL, *filename = NULL;
        size_t n_bytes = 0;
        char *data = NULL;
        int r;

        Py_BEGIN_ALLOW_THREADS r = read_fd(STDIN_FILENO, 0, &data, &n_bytes);
        Py_END_ALLOW_THREADS if (r < 0) {
                errno = -r;
                return PyErr_SetFromErrno(PyExc_OSError);
        }
        source = PyBytes_FromStringAndSize(data, (Py_ssize_t)n_bytes);
        free(data);
        filename = PyUnicode_FromString("<stdin>");
        return source && filename ? compile_source(source, filename) : NULL;
}

char *script_folder(const char *argv0) {
        char *path = realpath(argv0, NULL), *slash;

        if (!path)
                path = strdup(argv0);
        slash = path ? strrchr(path, '/') : NULL;
        if (slash)
                slash[slash == path ? 1 : 0] = 0;
        else if (path)
                path[0] = 0;
        return path;
}
