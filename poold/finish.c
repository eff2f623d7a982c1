#include "pyref.h"

#include "finish.h"

#include <stdbool.h>
#include <stdio.h>

#include "streams.h"

static PyObject *modules_before; /* a copy of sys.modules */
static PyObject *files_before;   /* a list: files that modules have opened, and that a run may write to */

/* What the end needs, so that it imports nothing: the script may have put an __import__ of its own there. */
static PyObject *gc, *sys;

/* Between our two steps of Py_FinalizeEx(). */
static PyObject *interactive_hook; /* sys.__interactivehook__, whose place our first step takes */
static PyObject *run_modules; /* a list of weak references: modules of the run, in the order of their import */
static PyObject *last_module; /* its names are cleared before those of all others, and our second step is one */

static struct file_types { PyObject *text, *writer, *random; } file_types;

static int file_types_init(struct file_types *types) {
        _cleanup_pyref_ PyObject *io = PyImport_ImportModule("io");

        if (!io)
                return -1;
        types->text = PyObject_GetAttrString(io, "TextIOWrapper");
        types->writer = PyObject_GetAttrString(io, "BufferedWriter");
        types->random = PyObject_GetAttrString(io, "BufferedRandom");
        return types->text && types->writer && types->random ? 0 : -1;
}

static bool is_file(PyObject *object) {
        return PyObject_TypeCheck(object, (PyTypeObject *)file_types.text) ||
               PyObject_TypeCheck(object, (PyTypeObject *)file_types.writer) ||
               PyObject_TypeCheck(object, (PyTypeObject *)file_types.random);
}

/* The open files that the collector knows of: a new list, or NULL with an exception set. */
static PyObject *list_files(void) {
        _cleanup_pyref_ PyObject *objects = NULL, *files = PyList_New(0);

        if (!files)
                return NULL;
        objects = PyObject_CallMethod(gc, "get_objects", NULL);
        if (!objects)
                return NULL;
        for (Py_ssize_t i = 0; i < PyList_Size(objects); i++) {
                PyObject *object = PyList_GetItem(objects, i); /* borrowed */

                if (is_file(object) && PyList_Append(files, object) < 0)
                        return NULL;
        }
        return pyref_steal(&files);
}

/* Calls @name without arguments; false with an exception set if that fails. */
static bool call(PyObject *object, const char *name) {
        _cleanup_pyref_ PyObject *done = PyObject_CallMethod(object, name, NULL);

        return done;
}

/*
 * Takes all objects of now away from the collector, but for __main__ and its names: those become the run's, and
 * form cycles with its functions.
 */
static int freeze(void) {
        PyObject *module = PyImport_AddModule("__main__"), *dict; /* borrowed */
        bool is_frozen;

        if (!module)
                return -1;
        dict = PyModule_GetDict(module);
        PyObject_GC_UnTrack(module);
        PyObject_GC_UnTrack(dict);
        is_frozen = call(gc, "freeze");
        PyObject_GC_Track(module);
        PyObject_GC_Track(dict);
        return is_frozen ? 0 : -1;
}

/* A module for ourselves. What has not been imported before is no part of what the script finds. */
static PyObject *import_own(const char *name) {
        PyObject *modules = PyImport_GetModuleDict(); /* borrowed */
        bool was_there = PyDict_GetItemString(modules, name);
        PyObject *module = PyImport_ImportModule(name);

        if (module && !was_there && PyDict_DelItemString(modules, name) < 0)
                PyErr_Clear();
        return module;
}

int finish_remember(void) {
        gc = import_own("gc");
        sys = import_own("sys");
        if (!gc || !sys || file_types_init(&file_types) < 0)
                return -1;
        if (!call(gc, "collect"))
                return -1;
        modules_before = PyDict_Copy(PyImport_GetModuleDict());
        files_before = list_files();
        if (!modules_before || !files_before)
                return -1;
        return freeze();
}

/* Calls a function of sys with one argument. */
static void call_sys(const char *name, PyObject *argument) {
        _cleanup_pyref_ PyObject *done = PyObject_CallMethod(sys, name, "O", argument);

        if (!done)
                PyErr_Clear();
}

/*
 * Py_FinalizeEx() has threading wait for its threads, if that has been imported. Where it was a module of the pool that
 * did, the script's trace and profile functions must not see that: we do it before, and leave nothing to call later.
 */
static void wait_unseen(void) {
        PyObject *threading = PyDict_GetItemString(PyImport_GetModuleDict(), "threading"); /* borrowed */
        bool is_hidden = threading && PyDict_GetItemString(modules_before, "threading") == threading;
        _cleanup_pyref_ PyObject *trace = is_hidden ? PyObject_CallMethod(sys, "gettrace", NULL) : NULL;
        _cleanup_pyref_ PyObject *profile = is_hidden ? PyObject_CallMethod(sys, "getprofile", NULL) : NULL;

        if (!trace || !profile || (trace == Py_None && profile == Py_None)) {
                PyErr_Clear();
                return;
        }
        call_sys("settrace", Py_None);
        call_sys("setprofile", Py_None);
        if (!call(threading, "_shutdown"))
                PyErr_WriteUnraisable(threading);
        PyObject_SetAttrString(threading, "_shutdown", (PyObject *)&PyDict_Type);
        call_sys("settrace", trace);
        call_sys("setprofile", profile);
        PyErr_Clear();
}

/* As _PyModule_ClearDict(): names that begin with one underscore first, then the rest but for __builtins__. */
static void clear_names(PyObject *dict, bool underscored) {
        _cleanup_pyref_ PyObject *names = PyDict_Keys(dict);

        for (Py_ssize_t i = 0; names && i < PyList_Size(names); i++) {
                PyObject *name = PyList_GetItem(names, i); /* borrowed */
                Py_UCS4 first, second;

                if (!PyUnicode_Check(name) || PyUnicode_GetLength(name) < 1)
                        continue;
                first = PyUnicode_ReadChar(name, 0);
                second = PyUnicode_GetLength(name) > 1 ? PyUnicode_ReadChar(name, 1) : 0;
                if (underscored ? first == '_' && second != '_'
                                : PyUnicode_CompareWithASCIIString(name, "__builtins__") != 0)
                        PyDict_SetItem(dict, name, Py_None);
        }
        PyErr_Clear();
}

/* finalize_modules_clear_weaklist(): the modules that somebody still holds, the last imported first. */
static void clear_modules(PyObject *references) {
        for (Py_ssize_t i = PyList_Size(references) - 1; i >= 0; i--) {
                PyObject *module = PyWeakref_GetObject(PyList_GetItem(references, i)); /* borrowed */
                _cleanup_pyref_ PyObject *dict = NULL;

                if (!module || !PyModule_Check(module))
                        continue;
                dict = PyModule_GetDict(module);
                Py_INCREF(dict);
                clear_names(dict, true);
                clear_names(dict, false);
        }
}

static void flush_all(PyObject *files) {
        for (Py_ssize_t i = 0; files && i < PyList_Size(files); i++)
                if (!call(PyList_GetItem(files, i), "flush"))
                        PyErr_Clear(); /* closed, only readable, or lost: python3 is silent as well */
}

/* The second step. Whatever is left after it is held by modules of the pool, or by the interpreter itself. */
static void finish_modules(PyObject *capsule) {
        _cleanup_pyref_ PyObject *files = NULL;

        (void)capsule;
        clear_modules(run_modules);
        files = list_files();
        flush_all(files);
        flush_all(files_before);
        streams_flush();
        PyErr_Clear();
}

/* sys.stdout and its like become the original ones, as finalize_modules_delete_special() is about to do. */
static void reset_streams(void) {
        static const char *const streams[][2] = {
                { "stdin", "__stdin__" },
                { "stdout", "__stdout__" },
                { "stderr", "__stderr__" },
        };

        for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
                PyObject *original = PySys_GetObject(streams[i][1]);

                PySys_SetObject(streams[i][0], original ? original : Py_None);
        }
}

/*
 * finalize_remove_modules(): sets all of sys.modules to None, in their order, and remembers those of the run. The
 * pool's live on, since modules_before holds them.
 */
static void remove_modules(void) {
        PyObject *modules = PyImport_GetModuleDict(); /* borrowed */
        _cleanup_pyref_ PyObject *names = PyDict_Keys(modules);

        for (Py_ssize_t i = 0; names && i < PyList_Size(names); i++) {
                PyObject *name = PyList_GetItem(names, i), *module = PyDict_GetItemWithError(modules, name);
                _cleanup_pyref_ PyObject *reference = NULL;

                if (module && PyModule_Check(module) && PyDict_GetItemWithError(modules_before, name) != module)
                        reference = PyWeakref_NewRef(module, NULL);
                if (reference)
                        PyList_Append(run_modules, reference);
                if (module)
                        PyDict_SetItem(modules, name, Py_None);
        }
        PyErr_Clear();
}

/* Takes a reference to @capsule away, which may be NULL for want of memory. */
static void plant_last(PyObject *capsule) {
        last_module = capsule ? PyModule_New("poold") : NULL;
        if (last_module && PyModule_AddObject(last_module, "_end", capsule) == 0)
                capsule = NULL;
        if (last_module)
                PyDict_SetItemString(PyImport_GetModuleDict(), "poold", last_module);
        Py_XDECREF(capsule);
}

/* The first step. */
static void hide_modules(PyObject *capsule) {
        (void)capsule;
        Py_CLEAR(interactive_hook);
        reset_streams();
        remove_modules();
        plant_last(PyCapsule_New(&run_modules, NULL, finish_modules));
        PyErr_Clear();
}

int finish_run(void) {
        _cleanup_pyref_ PyObject *first = PyCapsule_New(&run_modules, NULL, hide_modules);
        int r;

        wait_unseen();
        run_modules = PyList_New(0);
        if (PyDict_GetItemString(modules_before, "__main__"))
                PyDict_DelItemString(modules_before,
                                     "__main__"); /* the last reference is to be that of sys.modules */
        interactive_hook = PySys_GetObject("__interactivehook__");
        Py_XINCREF(interactive_hook);
        if (run_modules && first)
                PySys_SetObject("__interactivehook__", first);
        PyErr_Clear();
        Py_CLEAR(first);
        r = Py_FinalizeEx();
        fflush(NULL);
        return r;
}
