#include "pyref.h"

#include "finish.h"

#include <stdbool.h>
#include <stdio.h>

#include "streams.h"

static PyObject *modules_before; /* a copy of sys.modules */
static PyObject *files_before;   /* a list: files that modules have opened, and that a run may write to */

struct file_types {
        PyObject *text, *writer, *random;
};

static void file_types_fini(struct file_types *types) {
        Py_XDECREF(types->text);
        Py_XDECREF(types->writer);
        Py_XDECREF(types->random);
}

static int file_types_init(struct file_types *types) {
        _cleanup_pyref_ PyObject *io = PyImport_ImportModule("io");

        *types = (struct file_types){ 0 };
        if (!io)
                return -1;
        types->text = PyObject_GetAttrString(io, "TextIOWrapper");
        types->writer = PyObject_GetAttrString(io, "BufferedWriter");
        types->random = PyObject_GetAttrString(io, "BufferedRandom");
        return types->text && types->writer && types->random ? 0 : -1;
}

static bool is_file(const struct file_types *types, PyObject *object) {
        return PyObject_TypeCheck(object, (PyTypeObject *)types->text) ||
               PyObject_TypeCheck(object, (PyTypeObject *)types->writer) ||
               PyObject_TypeCheck(object, (PyTypeObject *)types->random);
}

/* The open files that the collector knows of: a new list, or NULL with an exception set. */
static PyObject *list_files(PyObject *gc) {
        __attribute__((cleanup(file_types_fini))) struct file_types types;
        _cleanup_pyref_ PyObject *objects = NULL, *files = PyList_New(0);

        if (file_types_init(&types) < 0 || !files)
                return NULL;
        objects = PyObject_CallMethod(gc, "get_objects", NULL);
        if (!objects)
                return NULL;
        for (Py_ssize_t i = 0; i < PyList_Size(objects); i++) {
                PyObject *object = PyList_GetItem(objects, i); /* borrowed */

                if (is_file(&types, object) && PyList_Append(files, object) < 0)
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
static int freeze(PyObject *gc) {
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

int finish_remember(void) {
        _cleanup_pyref_ PyObject *gc = PyImport_ImportModule("gc");

        if (!gc || !call(gc, "collect"))
                return -1;
        modules_before = PyDict_Copy(PyImport_GetModuleDict());
        files_before = list_files(gc);
        if (!modules_before || !files_before)
                return -1;
        return freeze(gc);
}

static void wait_for_threads(void) {
        _cleanup_pyref_ PyObject *name = PyUnicode_FromString("threading"), *threading = NULL;

        threading = name ? PyImport_GetModule(name) : NULL;
        if (threading && !call(threading, "_shutdown"))
                PyErr_WriteUnraisable(threading);
        PyErr_Clear();
}

static void run_exit_functions(void) {
        _cleanup_pyref_ PyObject *atexit = PyImport_ImportModule("atexit");

        if (!atexit || !call(atexit, "_run_exitfuncs"))
                PyErr_Clear(); /* printed */
}

static void set_switch_interval(PyObject *sys, double seconds) {
        _cleanup_pyref_ PyObject *done = PyObject_CallMethod(sys, "setswitchinterval", "d", seconds);

        if (!done)
                PyErr_Clear();
}

/*
 * Under python3 daemon threads stop here. Ours go on until _exit(), so they are kept from running where that is
 * possible, and from printing what they make of the emptied modules. Returns whether there are any.
 */
static bool hush_threads(void) {
        _cleanup_pyref_ PyObject *sys = PyImport_ImportModule("sys"), *frames = NULL;
        _cleanup_pyref_ PyObject *name = NULL, *threading = NULL, *builtins = NULL, *silent = NULL;

        frames = sys ? PyObject_CallMethod(sys, "_current_frames", NULL) : NULL;
        if (!frames || PyObject_Size(frames) <= 1)
                return false;
        set_switch_interval(sys, 1000.0);
        name = PyUnicode_FromString("threading");
        threading = name ? PyImport_GetModule(name) : NULL;
        builtins = PyImport_ImportModule("builtins");
        silent = builtins ? PyObject_GetAttrString(builtins, "id") : NULL;
        if (threading && silent)
                PyObject_SetAttrString(threading, "excepthook", silent);
        return true;
}

/* What may hold on to objects of the run besides its modules; sys.stdout and its like become the original ones. */
static void reset_sys(void) {
        static const char *const names[] = {
                "ps1", "ps2", "last_type", "last_value", "last_traceback", "last_exc", "__interactivehook__",
        };
        static const char *const streams[][2] = {
                { "stdin", "__stdin__" },
                { "stdout", "__stdout__" },
                { "stderr", "__stderr__" },
        };
        _cleanup_pyref_ PyObject *builtins = PyImport_ImportModule("builtins");

        if (builtins)
                PyObject_SetAttrString(builtins, "_", Py_None);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (PySys_GetObject(names[i]))
                        PySys_SetObject(names[i], Py_None);
        for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
                PyObject *original = PySys_GetObject(streams[i][1]);

                PySys_SetObject(streams[i][0], original ? original : Py_None);
        }
}

static bool is_named(PyObject *name, const char *wanted) {
        return PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, wanted) == 0;
}

/* Takes the run's modules out of sys.modules. Returns weak references to them, in the order of their import. */
static PyObject *remove_modules(bool keep_threading) {
        PyObject *modules = PyImport_GetModuleDict(), *name, *module; /* borrowed */
        _cleanup_pyref_ PyObject *copy = PyDict_Copy(modules), *references = PyList_New(0);
        Py_ssize_t at = 0;

        while (copy && references && PyDict_Next(copy, &at, &name, &module)) {
                _cleanup_pyref_ PyObject *reference = NULL;

                if (PyDict_GetItemWithError(modules_before, name) == module && !is_named(name, "__main__"))
                        continue;
                if (keep_threading && is_named(name, "threading"))
                        continue;
                reference = PyModule_Check(module) ? PyWeakref_NewRef(module, NULL) : NULL;
                if (reference)
                        PyList_Append(references, reference);
                PyDict_SetItem(modules, name, Py_None);
        }
        /* Ours was the last reference but the weak ones. */
        if (PyDict_GetItemString(modules_before, "__main__"))
                PyDict_DelItemString(modules_before, "__main__");
        PyErr_Clear();
        return pyref_steal(&references);
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
                if (underscored ? first == '_' && second != '_' : !is_named(name, "__builtins__"))
                        PyDict_SetItem(dict, name, Py_None);
        }
        PyErr_Clear();
}

/* Those that somebody still holds, the last imported first. */
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

static void drop_modules(PyObject *gc) {
        _cleanup_pyref_ PyObject *references = NULL;
        bool has_threads = hush_threads();

        PyErr_Clear();
        PyGC_Collect();
        reset_sys();
        references = remove_modules(has_threads);
        if (!call(gc, "collect"))
                PyErr_Clear();
        if (references)
                clear_modules(references);
        if (!call(gc, "collect"))
                PyErr_Clear();
}

static void flush_all(PyObject *files) {
        for (Py_ssize_t i = 0; files && i < PyList_Size(files); i++)
                if (!call(PyList_GetItem(files, i), "flush"))
                        PyErr_Clear(); /* closed, only readable, or lost: python3 is silent as well */
}

int finish_run(void) {
        _cleanup_pyref_ PyObject *gc = NULL, *files = NULL;
        int r;

        wait_for_threads();
        run_exit_functions();
        r = streams_flush_last();
        gc = PyImport_ImportModule("gc");
        if (gc) {
                drop_modules(gc);
                files = list_files(gc);
                flush_all(files);
        }
        flush_all(files_before);
        PyErr_Clear();
        streams_flush(); /* what __del__ has printed; python3 has no word for its failure any more */
        fflush(NULL);
        return r;
}
