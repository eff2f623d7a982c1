#include "pyref.h"

#include "shadow.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/fd.h"

/*
 * Top-level name to the folder that the module came from, as bytes; "" where it came from none in particular: what the
 * preload has brought, and all there is.
 */
static PyObject *preloaded, *loaded;

static void strip_last(char *path) {
        char *slash = strrchr(path, '/');

        *(slash ? slash : path) = 0;
}

/* New reference; NULL without an exception for what no folder can shadow: built in, frozen, made at run time. */
static PyObject *folder_of(PyObject *module) {
        _cleanup_pyref_ PyObject *spec = PyObject_GetAttrString(module, "__spec__"), *origin = NULL, *bytes = NULL;
        _cleanup_pyref_ PyObject *locations =
                spec ? PyObject_GetAttrString(spec, "submodule_search_locations") : NULL;
        PyObject *folder = NULL;
        char *path;

        origin = locations ? PyObject_GetAttrString(spec, "origin") : NULL;
        PyErr_Clear();
        if (!origin)
                return NULL;
        if (origin == Py_None)
                return locations == Py_None ? NULL : PyBytes_FromString("");
        bytes = PyUnicode_Check(origin) ? PyUnicode_EncodeFSDefault(origin) : NULL;
        PyErr_Clear();
        if (!bytes || PyBytes_AsString(bytes)[0] != '/')
                return NULL;
        path = realpath(PyBytes_AsString(bytes), NULL);
        if (!path)
                return PyBytes_FromString("");
        strip_last(path);
        if (locations != Py_None)
                strip_last(path);
        folder = PyBytes_FromString(path);
        free(path);
        return folder;
}

static bool is_top_level(PyObject *name) {
        return PyUnicode_Check(name) && PyUnicode_FindChar(name, '.', 0, PyUnicode_GetLength(name), 1) < 0;
}

int shadow_remember(PyObject *before) {
        _cleanup_pyref_ PyObject *modules = PyDict_Copy(PyImport_GetModuleDict()), *found = PyDict_New();
        _cleanup_pyref_ PyObject *all = PyDict_New();
        PyObject *name, *module; /* borrowed */
        Py_ssize_t at = 0;

        if (!modules || !found || !all)
                return -1;
        while (PyDict_Next(modules, &at, &name, &module)) {
                _cleanup_pyref_ PyObject *folder = NULL;

                if (!is_top_level(name))
                        continue;
                folder = folder_of(module);
                if (!folder)
                        continue;
                if (PyDict_SetItem(all, name, folder) < 0 ||
                    (PyDict_Contains(before, name) == 0 && PyDict_SetItem(found, name, folder) < 0))
                        return -1;
        }
        PyErr_Clear();
        preloaded = pyref_steal(&found);
        loaded = pyref_steal(&all);
        return 0;
}

static bool ends_with(const char *name, const char *suffix) {
        size_t n_name = strlen(name), n_suffix = strlen(suffix);

        return n_name >= n_suffix && strcmp(name + n_name - n_suffix, suffix) == 0;
}

static bool is_module_file(const char *name) {
        return ends_with(name, ".py") || ends_with(name, ".pyc") || ends_with(name, ".so");
}

/* A folder without such a file is a package only if no other one is found. What cannot be listed may have one. */
static bool is_package(int folder, const char *name) {
        int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        bool has_init = false;

        if (!dir) {
                fd_close(fd);
                return errno == EACCES;
        }
        while (!has_init && (entry = readdir(dir)))
                has_init = strncmp(entry->d_name, "__init__.", 9) == 0 && is_module_file(entry->d_name);
        closedir(dir);
        return has_init;
}

/* The folder (borrowed) of the one of @modules whose name the file @name begins with, or NULL if there is none. */
static PyObject *find_module(PyObject *modules, const char *name) {
        _cleanup_pyref_ PyObject *key = PyUnicode_DecodeFSDefaultAndSize(name, (Py_ssize_t)strcspn(name, "."));
        PyObject *folder = key ? PyDict_GetItemWithError(modules, key) : NULL;

        PyErr_Clear();
        return folder;
}

static bool is_shadow(PyObject *modules, DIR *dir, const char *folder, const char *name) {
        PyObject *loaded_from = name[0] == '.' ? NULL : find_module(modules, name);
        bool is_same;
        char *path;

        if (!loaded_from || !(strchr(name, '.') ? is_module_file(name) : is_package(dirfd(dir), name)))
                return false;
        path = realpath(folder, NULL);
        is_same = path && strcmp(path, PyBytes_AsString(loaded_from)) == 0;
        free(path);
        return !is_same;
}

static int check(PyObject *modules, const char *folder, struct decline *why) {
        struct dirent *entry;
        DIR *dir;
        int r = 0;

        if (!modules || PyDict_Size(modules) == 0)
                return 0;
        dir = opendir(folder);
        if (!dir)
                return 0; /* python3 would not find anything there either */
        while (r == 0 && (entry = readdir(dir)))
                if (is_shadow(modules, dir, folder, entry->d_name))
                        r = decline(why, "shadow", "%s/%s: the pool has loaded another", folder, entry->d_name);
        closedir(dir);
        return r;
}

int shadow_check(const char *folder, struct decline *why) {
        return check(preloaded, *folder ? folder : ".", why);
}

/* Has it that module? 1, 0, or -1 with an exception set. */
static int archive_has(PyObject *importer, PyObject *name) {
        bool has_specs = PyObject_HasAttrString(importer, "find_spec"); /* 3.10 */
        _cleanup_pyref_ PyObject *spec = NULL, *loader = NULL;

        spec = PyObject_CallMethod(importer, has_specs ? "find_spec" : "find_module", "O", name);
        if (!spec || !has_specs)
                return !spec ? -1 : spec != Py_None;
        if (spec == Py_None)
                return 0;
        loader = PyObject_GetAttrString(spec, "loader");
        return !loader ? -1 : loader != Py_None; /* without one it is a folder, which counts for nothing */
}

int shadow_check_archive(PyObject *importer, struct decline *why) {
        PyObject *name, *folder; /* borrowed */
        Py_ssize_t at = 0;

        while (PyDict_Next(preloaded, &at, &name, &folder)) {
                int has = archive_has(importer, name);
                _cleanup_pyref_ PyObject *bytes = has > 0 ? PyUnicode_EncodeFSDefault(name) : NULL;

                if (bytes)
                        return decline(why, "shadow",
                                       "the archive has a module %s, and the pool has loaded another",
                                       PyBytes_AsString(bytes));
                if (has)
                        return -1;
        }
        return 0;
}

int shadow_check_all(const char *folder, struct decline *why) {
        return check(loaded, folder, why);
}
