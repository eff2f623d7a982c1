#include "pyref.h"

#include "finish.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#include "streams.h"

static PyObject *modules_before; /* a copy of sys.modules */
static PyObject *files_before;   /* a list: files that modules have opened, and that a run may write to */

/* What the end needs, so that it imports nothing: the script may have put an __import__ of its own there. */
static PyObject *gc, *atexit_, *sys, *builtins, *signal_;

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
        atexit_ = import_own("atexit");
        sys = import_own("sys");
        builtins = import_own("builtins");
        signal_ = import_own("_signal");
        if (!gc || !atexit_ || !sys || !builtins || !signal_ || file_types_init(&file_types) < 0)
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
 * Waits for all but the daemon threads. python3 does so if the script has imported threading; where it was a module of
 * the pool that did, the script's trace and profile functions must not see that.
 */
static void wait_for_threads(void) {
        PyObject *threading = PyDict_GetItemString(PyImport_GetModuleDict(), "threading"); /* borrowed */
        bool is_hidden = threading && PyDict_GetItemString(modules_before, "threading") == threading;
        _cleanup_pyref_ PyObject *trace = NULL, *profile = NULL, *held = threading;

        if (!threading)
                return;
        Py_INCREF(held);
        trace = is_hidden ? PyObject_CallMethod(sys, "gettrace", NULL) : NULL;
        profile = is_hidden ? PyObject_CallMethod(sys, "getprofile", NULL) : NULL;
        if (trace && trace != Py_None)
                call_sys("settrace", Py_None);
        if (profile && profile != Py_None)
                call_sys("setprofile", Py_None);
        if (!call(threading, "_shutdown"))
                PyErr_WriteUnraisable(threading);
        if (trace && trace != Py_None)
                call_sys("settrace", trace);
        if (profile && profile != Py_None)
                call_sys("setprofile", profile);
        PyErr_Clear();
}

static void run_exit_functions(void) {
        if (!call(atexit_, "_run_exitfuncs"))
                PyErr_Clear(); /* printed */
}

/* _PySignal_Fini(): what Python handles has its default action again; what is ignored stays so. */
static void reset_signals(void) {
        for (int number = 1; number < NSIG; number++) {
                _cleanup_pyref_ PyObject *handler = NULL;
                struct sigaction action;

                if (sigaction(number, NULL, &action) < 0 || action.sa_handler == SIG_DFL ||
                    action.sa_handler == SIG_IGN)
                        continue;
                handler = PyObject_CallMethod(signal_, "getsignal", "i", number);
                if (handler && handler != Py_None)
                        signal(number, SIG_DFL);
                PyErr_Clear();
        }
}

/* How long we keep the GIL from threads that want it, and a thread that computes keeps it from us after each write. */
#define HUSHED_SWITCH_SEC 0.05

/*
 * Under python3 daemon threads stop here. Ours go on until _exit(), so they are kept from running where that is
 * possible, and from printing what they make of the emptied modules. Returns whether there are any.
 */
static bool hush_threads(void) {
        PyObject *threading = PyDict_GetItemString(PyImport_GetModuleDict(), "threading"); /* borrowed */
        _cleanup_pyref_ PyObject *frames = PyObject_CallMethod(sys, "_current_frames", NULL);
        _cleanup_pyref_ PyObject *silent = NULL, *interval = PyFloat_FromDouble(HUSHED_SWITCH_SEC);

        if (!frames || PyObject_Size(frames) <= 1)
                return false;
        if (interval)
                call_sys("setswitchinterval", interval);
        silent = PyObject_GetAttrString(builtins, "id");
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

static void collect(void) {
        if (!call(gc, "collect"))
                PyErr_Clear();
}

static void drop_modules(void) {
        _cleanup_pyref_ PyObject *references = NULL;
        bool has_threads = hush_threads();

        PyErr_Clear();
        PyGC_Collect();
        reset_sys();
        references = remove_modules(has_threads);
        /* python3 can import nothing here any more, which the text of a ResourceWarning shows. */
        PyDict_SetItemString(PyImport_GetModuleDict(), "tracemalloc", Py_None);
        collect();
        if (references)
                clear_modules(references);
        collect();
}

static void flush_all(PyObject *files) {
        for (Py_ssize_t i = 0; files && i < PyList_Size(files); i++)
                if (!call(PyList_GetItem(files, i), "flush"))
                        PyErr_Clear(); /* closed, only readable, or lost: python3 is silent as well */
}

int finish_run(void) {
        _cleanup_pyref_ PyObject *files = NULL;
        int r;

        wait_for_threads();
        run_exit_functions();
        r = streams_flush_last();
        call_sys("settrace", Py_None);
        call_sys("setprofile", Py_None);
        reset_signals();
        drop_modules();
        files = list_files();
        flush_all(files);
        flush_all(files_before);
        PyErr_Clear();
        streams_flush(); /* what __del__ has printed; python3 has no word for its failure any more */
        fflush(NULL);
        return r;
}
