#include "pyref.h"

#include "loaded.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The coarsest times that file systems have, those of FAT. */
#define GRANULARITY_NSEC UINT64_C(2000000000)
#define MAX_CAUSES 16

static struct footprint *noted_in;
static PyObject *finder;

/* As bytes; NULL without an exception if it is no path. New reference. */
static PyObject *to_path(PyObject *object) {
        PyObject *bytes = object && PyUnicode_Check(object) ? PyUnicode_EncodeFSDefault(object) : NULL;

        PyErr_Clear();
        return bytes;
}

static int add_file(struct footprint *footprint, PyObject *object) {
        _cleanup_pyref_ PyObject *bytes = to_path(object);

        return bytes ? footprint_add(footprint, PyBytes_AsString(bytes)) : 0;
}

/* NULL, and no exception, if there is none. New reference. */
static PyObject *get(PyObject *object, const char *name) {
        PyObject *value = object ? PyObject_GetAttrString(object, name) : NULL;

        PyErr_Clear();
        return value;
}

/* --- What is not found --- */

/* Adds the module @name, as sys.modules has it; its folders are those of @path, or sys.path's if that is None. */
static int add_module(struct footprint *footprint, const char *name, PyObject *path) {
        const char *dot = strrchr(name, '.');
        _cleanup_pyref_ PyObject *folders = NULL;
        int r = 0;

        if (!path || path == Py_None)
                return dot ? 0 : footprint_add_module(footprint, NULL, name);
        folders = PySequence_List(path);
        PyErr_Clear();
        for (Py_ssize_t i = 0; r == 0 && folders && i < PyList_Size(folders); i++) {
                _cleanup_pyref_ PyObject *folder = to_path(PyList_GetItem(folders, i));

                if (folder)
                        r = footprint_add_module(footprint, PyBytes_AsString(folder), dot ? dot + 1 : name);
        }
        return r;
}

/* The last of sys.meta_path is asked for what no other one has found, and finds nothing either. */
static PyObject *find_spec(PyObject *self, PyObject *arguments) {
        PyObject *name, *path = NULL, *target = NULL;
        _cleanup_pyref_ PyObject *bytes = NULL;

        (void)self;
        if (!PyArg_ParseTuple(arguments, "O|OO", &name, &path, &target))
                return NULL;
        bytes = noted_in ? to_path(name) : NULL;
        if (bytes && add_module(noted_in, PyBytes_AsString(bytes), path) < 0)
                return PyErr_NoMemory();
        Py_RETURN_NONE;
}

int loaded_begin(struct footprint *footprint) {
        static PyMethodDef methods[] = {
                { "find_spec", find_spec, METH_VARARGS, NULL },
                { NULL, NULL, 0, NULL },
        };
        static PyType_Slot slots[] = { { Py_tp_methods, methods }, { 0, NULL } };
        static PyType_Spec spec = {
                .name = "_poold_host.Finder",
                .basicsize = sizeof(PyObject),
                .flags = Py_TPFLAGS_DEFAULT,
                .slots = slots,
        };
        PyObject *finders = PySys_GetObject("meta_path"); /* borrowed */
        _cleanup_pyref_ PyObject *type = PyType_FromSpec(&spec);

        finder = type ? PyObject_CallObject(type, NULL) : NULL;
        if (!finder)
                return -1;
        noted_in = footprint;
        return finders && PyList_Check(finders) ? PyList_Append(finders, finder) : 0;
}

void loaded_end(void) {
        PyObject *finders = PySys_GetObject("meta_path"); /* borrowed */

        noted_in = NULL;
        for (Py_ssize_t i = finders && PyList_Check(finders) ? PyList_Size(finders) : 0; i-- > 0;)
                if (PyList_GetItem(finders, i) == finder)
                        PyList_SetSlice(finders, i, i + 1, NULL);
        Py_CLEAR(finder);
        PyErr_Clear();
}

/* --- What has failed --- */

static int add_traceback(struct footprint *footprint, PyObject *error) {
        PyObject *traceback = get(error, "__traceback__");
        int r = 0;

        while (r == 0 && traceback && traceback != Py_None) {
                _cleanup_pyref_ PyObject *frame = get(traceback, "tb_frame"), *code = get(frame, "f_code");
                _cleanup_pyref_ PyObject *file = get(code, "co_filename");
                PyObject *next = get(traceback, "tb_next");

                r = add_file(footprint, file);
                Py_DECREF(traceback);
                traceback = next;
        }
        Py_XDECREF(traceback);
        return r;
}

/* A source that does not compile, a library that does not load, and whatever ran when it happened. */
void loaded_add_failure(struct footprint *footprint, PyObject *error) {
        Py_XINCREF(error);
        for (int i = 0; error && error != Py_None && i < MAX_CAUSES; i++) {
                _cleanup_pyref_ PyObject *file = get(error, "filename"), *path = get(error, "path");
                PyObject *cause = get(error, "__cause__");

                if (cause == Py_None) {
                        Py_DECREF(cause);
                        cause = get(error, "__context__");
                }
                if (add_file(footprint, file) < 0 || add_file(footprint, path) < 0 ||
                    add_traceback(footprint, error) < 0)
                        Py_CLEAR(cause);
                Py_DECREF(error);
                error = cause;
        }
        Py_XDECREF(error);
}

/* --- What is there --- */

/*
 * An attribute of a module, borrowed or new (*ret_owned); NULL: none. A lazy module would load itself if it were asked,
 * so the names of modules are looked at directly.
 */
static PyObject *module_get(PyObject *module, const char *name, PyObject **ret_owned) {
        *ret_owned = NULL;
        if (PyModule_Check(module))
                return PyDict_GetItemString(PyModule_GetDict(module), name);
        *ret_owned = get(module, name);
        return *ret_owned;
}

/* The folders of the package that the module @name is in: borrowed or new. */
static PyObject *folders_of_parent(PyObject *modules, const char *name, PyObject **ret_owned) {
        const char *dot = strrchr(name, '.');
        _cleanup_pyref_ PyObject *key = NULL;
        PyObject *parent;

        *ret_owned = NULL;
        if (!dot)
                return NULL;
        key = PyUnicode_DecodeFSDefaultAndSize(name, dot - name);
        parent = key ? PyDict_GetItemWithError(modules, key) : NULL;
        return parent ? module_get(parent, "__path__", ret_owned) : NULL;
}

/* Is @path a module in @folder, or the __init__ of a package in it? */
static bool is_module_in(const char *path, const char *folder) {
        const size_t length = strlen(folder);
        const char *rest = path + length + 1, *slash;

        if (strncmp(path, folder, length) != 0 || path[length] != '/')
                return false;
        slash = strchr(rest, '/');
        return !slash || !strchr(slash + 1, '/');
}

/* The module's file, if it is there no more, but the module would be looked for where that was: in @folders. */
static int add_gone(struct footprint *footprint, PyObject *file, PyObject *folders) {
        _cleanup_pyref_ PyObject *path = to_path(file), *list = NULL;
        struct stat st;

        if (!path || stat(PyBytes_AsString(path), &st) == 0 || errno != ENOENT)
                return 0;
        list = PySequence_List(folders ? folders : PySys_GetObject("path"));
        PyErr_Clear();
        for (Py_ssize_t i = 0; list && i < PyList_Size(list); i++) {
                _cleanup_pyref_ PyObject *folder = to_path(PyList_GetItem(list, i));

                if (folder && is_module_in(PyBytes_AsString(path), PyBytes_AsString(folder)))
                        return footprint_add_gone(footprint, PyBytes_AsString(path));
        }
        return 0;
}

static int add_loaded(struct footprint *footprint, PyObject *modules, PyObject *key, PyObject *module) {
        _cleanup_pyref_ PyObject *name = to_path(key), *file_owned = NULL, *path_owned = NULL;
        PyObject *file, *folders;
        int r;

        if (!name || module == Py_None)
                return 0;
        file = module_get(module, "__file__", &file_owned);
        folders = folders_of_parent(modules, PyBytes_AsString(name), &path_owned);
        r = add_file(footprint, file);
        if (r == 0)
                r = add_gone(footprint, file, folders);
        if (r == 0)
                r = add_module(footprint, PyBytes_AsString(name), folders);
        PyErr_Clear();
        return r;
}

static int add_modules(struct footprint *footprint) {
        static const char *const of_site[] = { "sitecustomize", "usercustomize" };
        _cleanup_pyref_ PyObject *modules = PyDict_Copy(PyImport_GetModuleDict());
        PyObject *name, *module; /* borrowed */
        Py_ssize_t at = 0;
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(of_site) / sizeof(of_site[0]); i++)
                r = footprint_add_module(footprint, NULL, of_site[i]);
        while (r == 0 && modules && PyDict_Next(modules, &at, &name, &module))
                r = add_loaded(footprint, modules, name, module);
        return r;
}

static int add_path(struct footprint *footprint) {
        PyObject *list = PySys_GetObject("path"); /* borrowed */
        int r = 0;

        for (Py_ssize_t i = 0; r == 0 && list && PyList_Check(list) && i < PyList_Size(list); i++) {
                _cleanup_pyref_ PyObject *folder = to_path(PyList_GetItem(list, i));

                if (folder)
                        r = footprint_add_folder(footprint, PyBytes_AsString(folder));
        }
        return r;
}

/* The user's own folder for packages is on sys.path as soon as it is there. */
static int add_user_site(struct footprint *footprint) {
        PyObject *site = PyDict_GetItemString(PyImport_GetModuleDict(), "site"); /* borrowed */
        _cleanup_pyref_ PyObject *is_enabled = get(site, "ENABLE_USER_SITE"), *folder = get(site, "USER_SITE");

        return is_enabled == Py_True ? add_file(footprint, folder) : 0;
}

/* `FOLDER/NAME` */
static int add_in(struct footprint *footprint, const char *folder, const char *name) {
        char *path = NULL;
        int r = asprintf(&path, "%s/%s", folder, name) < 0 ? -ENOMEM : footprint_add(footprint, path);

        free(path);
        return r;
}

static int add_interpreter(struct footprint *footprint) {
        _cleanup_pyref_ PyObject *path = to_path(PySys_GetObject("executable"));
        _cleanup_pyref_ PyObject *prefix = to_path(PySys_GetObject("prefix"));
        int r = prefix ? add_in(footprint, PyBytes_AsString(prefix), "pyvenv.cfg") : 0;
        char *slash;

        if (r < 0 || !path)
                return r;
        r = footprint_add(footprint, PyBytes_AsString(path));
        slash = strrchr(PyBytes_AsString(path), '/');
        if (r < 0 || !slash)
                return r;
        *slash = '\0'; /* they are our own bytes */
        return add_in(footprint, PyBytes_AsString(path), "pyvenv.cfg");
}

/* Ours: workers of two versions of poold are not to be mixed. */
static int add_host(struct footprint *footprint) {
        char *folder, *slash;
        Dl_info info;
        int r = 0;

        if (!dladdr(&noted_in, &info) || !strchr(info.dli_fname, '/'))
                return 0;
        folder = strdup(info.dli_fname);
        if (!folder)
                return -ENOMEM;
        slash = strrchr(folder, '/');
        *slash = '\0';
        r = add_in(footprint, folder, "worker.py");
        if (r == 0)
                r = add_in(footprint, folder, "poold-keeper");
        free(folder);
        return r;
}

/* The path of an executable mapping, in a line of /proc/PID/maps; NULL: it is not that of a file. */
static char *mapped_file(char *line) {
        static const char deleted[] = " (deleted)";
        char *path = strchr(line, '/'), *rights = strchr(line, ' ');
        size_t length = strcspn(line, "\n");

        line[length] = '\0';
        if (!path || !rights || rights[3] != 'x' || strncmp(path, "/dev/", 5) == 0 ||
            strncmp(path, "/memfd:", 7) == 0)
                return NULL;
        length = strlen(path);
        /* If another file is there now, that has replaced it; else it was never meant to stay. */
        if (length > strlen(deleted) && strcmp(path + length - strlen(deleted), deleted) == 0) {
                struct stat st;

                path[length - strlen(deleted)] = '\0';
                return lstat(path, &st) == 0 ? path : NULL;
        }
        return path;
}

static int add_libraries(struct footprint *footprint) {
        FILE *file = fopen("/proc/self/maps", "re");
        char *line = NULL;
        size_t n_allocated = 0;
        int r = 0;

        while (r == 0 && file && getline(&line, &n_allocated, file) > 0) {
                const char *path = mapped_file(line);

                if (path)
                        r = footprint_add(footprint, path);
        }
        free(line);
        if (file)
                fclose(file);
        return r;
}

int loaded_add_all(struct footprint *footprint) {
        int (*const parts[])(struct footprint *) = { add_modules,     add_path, add_user_site,
                                                     add_interpreter, add_host, add_libraries };
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
                r = parts[i](footprint);
        return r;
}

/* --- What importers remember --- */

/* importlib's FileFinder.invalidate_caches() does just that; importlib's own would import more. */
static void forget(PyObject *importer) {
        _cleanup_pyref_ PyObject *time = get(importer, "_path_mtime"), *never = PyLong_FromLong(-1);

        if (time && never)
                PyObject_SetAttrString(importer, "_path_mtime", never);
        PyErr_Clear();
}

void loaded_forget_recent(uint64_t since_nsec) {
        PyObject *cache = PySys_GetObject("path_importer_cache"), *folder, *importer; /* borrowed */
        Py_ssize_t at = 0;

        while (cache && PyDict_Check(cache) && PyDict_Next(cache, &at, &folder, &importer)) {
                _cleanup_pyref_ PyObject *path = importer == Py_None ? NULL : to_path(folder);
                struct stat st;

                if (path && stat(PyBytes_AsString(path), &st) == 0 &&
                    (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec + GRANULARITY_NSEC >
                            since_nsec)
                        forget(importer);
        }
}
