#include "pyref.h"

#include "finish.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include "leftovers.h"
#include "pyversion.h"
#include "streams.h"

static PyObject *modules_before; /* a copy of sys.modules, without __main__ */
static PyObject *files_before;   /* a list: files that modules have opened, and that a run may write to */

/* What the end needs, so that it imports nothing: the script may have put an __import__ of its own there. */
static PyObject *gc, *sys, *builtins;

/* The end that is under way. */
static bool has_begun; /* it is finish_run()'s */
static bool has_threads;
static PyObject *run_modules; /* a list of weak references: modules of the run, in the order of their import */
static jmp_buf way_out;       /* of Py_FinalizeEx() */

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

/* A copy of sys.modules without __main__, which is the run's, under whatever name: multiprocessing adds one. */
static PyObject *copy_modules(void) {
        PyObject *modules = PyImport_GetModuleDict(), *main = PyImport_AddModule("__main__"); /* borrowed */
        _cleanup_pyref_ PyObject *copy = PyDict_Copy(modules);
        PyObject *name, *module; /* borrowed */
        Py_ssize_t at = 0;

        if (!copy || !main)
                return NULL;
        while (PyDict_Next(modules, &at, &name, &module))
                if (module == main && PyDict_DelItem(copy, name) < 0)
                        return NULL;
        return pyref_steal(&copy);
}

/* Calls a function of sys with one argument. */
static void call_sys(const char *name, PyObject *argument) {
        _cleanup_pyref_ PyObject *done = PyObject_CallMethod(sys, name, "O", argument);

        if (!done)
                PyErr_Clear();
}

/* While what the pool has brought does its own at the end, the script's trace and profile functions are put away. */
static PyObject *trace, *profile;

static void hide_from_tracing(void) {
        trace = PyObject_CallMethod(sys, "gettrace", NULL);
        profile = PyObject_CallMethod(sys, "getprofile", NULL);
        if (trace && trace != Py_None)
                call_sys("settrace", Py_None);
        if (profile && profile != Py_None)
                call_sys("setprofile", Py_None);
        PyErr_Clear();
}

static void trace_again(void) {
        if (trace && trace != Py_None)
                call_sys("settrace", trace);
        if (profile && profile != Py_None)
                call_sys("setprofile", profile);
        Py_CLEAR(trace);
        Py_CLEAR(profile);
}

/*
 * Py_FinalizeEx() has threading wait for its threads, if that has been imported. Where it was a module of the pool that
 * did, the script must not see that: we do it before, and leave nothing to call later.
 */
static void wait_unseen(void) {
        PyObject *threading = PyDict_GetItemString(PyImport_GetModuleDict(), "threading"); /* borrowed */

        if (!threading || PyDict_GetItemString(modules_before, "threading") != threading)
                return;
        hide_from_tracing();
        if ((trace && trace != Py_None) || (profile && profile != Py_None)) {
                if (!call(threading, "_shutdown"))
                        PyErr_WriteUnraisable(threading);
                PyObject_SetAttrString(threading, "_shutdown", (PyObject *)&PyDict_Type);
                PyErr_Clear();
        }
        trace_again();
}

/* --- Steps inside of Py_FinalizeEx(), the last one first --- */

/* Puts a capsule there whose end, when Python clears the place, is a step. */
static int plant(PyObject *dict, const char *name, PyCapsule_Destructor step) {
        _cleanup_pyref_ PyObject *capsule = PyCapsule_New(&run_modules, NULL, step);

        return capsule ? PyDict_SetItemString(dict, name, capsule) : -1;
}

/* What finalize_interp_clear() would yet free of the run's: thread-locals, contexts, the last cycles. Then out. */
static void leave(PyObject *capsule) {
        PyObject *callbacks = PyObject_GetAttrString(gc, "callbacks");

        (void)capsule;
        PyThreadState_Clear(PyThreadState_Get());
        if (callbacks)
                PyList_SetSlice(callbacks, 0, PyList_Size(callbacks), NULL);
        PyErr_Clear();
        if (!call(gc, "collect"))
                PyErr_Clear();
        longjmp(way_out, 1);
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
static void clear_run_modules(void) {
        for (Py_ssize_t i = PyList_Size(run_modules) - 1; i >= 0; i--) {
                PyObject *module = PyWeakref_GetObject(PyList_GetItem(run_modules, i)); /* borrowed */
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

/* Python has collected what the modules had left, and would now clear those that are held by somebody. */
static void finish_modules(PyObject *capsule) {
        _cleanup_pyref_ PyObject *files = NULL;

        (void)capsule;
        clear_run_modules();
        leftovers_end(modules_before, has_threads);
        /* A file that a daemon thread was writing to is locked for ever, and to try is fatal in CPython. */
        files = has_threads ? NULL : leftovers_list_files();
        flush_all(files);
        flush_all(files_before);
        streams_flush();
        PyErr_Clear();
        if (has_begun)
                plant(PyModule_GetDict(builtins), "poold", leave); /* which is cleared last */
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

/* The memory of thousands of modules and names, none of it in the cache: asked for at once, it comes in a tenth of the time. */
static void prefetch(PyObject *modules) {
        PyObject *name, *module; /* borrowed */
        Py_ssize_t at = 0;

        while (PyDict_Next(modules, &at, &name, &module)) {
                __builtin_prefetch(name, 1);
                __builtin_prefetch(module, 1);
        }
}

/*
 * finalize_remove_modules(): sets all of sys.modules to None, in their order, and remembers those of the run. The
 * pool's live on, since modules_before holds them.
 */
static void remove_modules(PyObject *modules) {
        _cleanup_pyref_ PyObject *names = NULL;

        prefetch(modules);
        names = PyDict_Keys(modules);
        for (Py_ssize_t i = 0; names && i < PyList_Size(names); i++) {
                PyObject *name = PyList_GetItem(names, i), *module = PyDict_GetItemWithError(modules, name);
                _cleanup_pyref_ PyObject *reference = NULL;

                if (module && PyDict_GetItemWithError(modules_before, name) != module && PyModule_Check(module))
                        reference = PyWeakref_NewRef(module, NULL);
                if (reference)
                        PyList_Append(run_modules, reference);
                if (module)
                        PyDict_SetItem(modules, name, Py_None);
        }
        PyErr_Clear();
}

/* Python has made its first collection, and would now remove all modules. */
static void hide_modules(PyObject *capsule) {
        PyObject *modules = PyImport_GetModuleDict(); /* borrowed */
        PyObject *last = PyModule_New("poold");       /* kept: who is held is cleared, the last one first */

        (void)capsule;
        reset_streams();
        remove_modules(modules);
        if (last && plant(PyModule_GetDict(last), "_poold", finish_modules) == 0)
                PyDict_SetItemString(modules, "poold", last);
        PyErr_Clear();
}

/* The main thread has no frame any more. */
static bool are_there_threads(void) {
        _cleanup_pyref_ PyObject *frames = PyObject_CallMethod(sys, "_current_frames", NULL);

        PyErr_Clear();
        return !frames || PyObject_Size(frames) > 0;
}

/*
 * Is Python being finalized, and not only atexit run by a script? Before 3.13 a prompt that is left by exit() does that
 * by itself, in Py_Exit(), from which we cannot get back.
 */
static bool is_end(void) {
        if (!has_begun && !PyEval_GetFrame() && !run_modules)
                run_modules = PyList_New(0);
        PyErr_Clear();
        return has_begun || run_modules;
}

/* atexit's last one. Python will now flush the streams and begin to collect. */
static PyObject *last_at_exit(PyObject *self, PyObject *none) {
        (void)self;
        (void)none;
        if (is_end()) {
                trace_again();
                has_threads = are_there_threads();
                if (streams_watch_flush() == 0)
                        plant(PyModule_GetDict(sys), "__interactivehook__", hide_modules);
                PyErr_Clear();
        }
        Py_RETURN_NONE;
}

/* atexit's last one of the script's own: those of the pool's modules follow. */
static PyObject *script_at_exit(PyObject *self, PyObject *none) {
        (void)self;
        (void)none;
        if (is_end())
                hide_from_tracing();
        Py_RETURN_NONE;
}

/* Before 3.10 what atexit calls is kept by the module itself, of which there must be no second one. */
static bool can_hide_atexit(void) {
        return pyversion() >= PYVERSION_3_10;
}

static int register_at_exit(PyMethodDef *method) {
        _cleanup_pyref_ PyObject *atexit = NULL, *function = PyCFunction_New(method, NULL), *done = NULL;

        atexit = can_hide_atexit() ? import_own("atexit") : PyImport_ImportModule("atexit");
        if (atexit && function)
                done = PyObject_CallMethod(atexit, "register", "O", function);
        return done ? 0 : -1;
}

int finish_watch(void) {
        static PyMethodDef method = { "poold", last_at_exit, METH_NOARGS, NULL };

        return register_at_exit(&method);
}

int finish_remember(void) {
        static PyMethodDef method = { "poold", script_at_exit, METH_NOARGS, NULL };

        gc = import_own("gc");
        sys = import_own("sys");
        builtins = import_own("builtins");
        if (!gc || !sys || !builtins || leftovers_init(gc, sys, builtins) < 0)
                return -1;
        if (!call(gc, "collect"))
                return -1;
        modules_before = copy_modules();
        files_before = leftovers_list_files();
        if (!modules_before || !files_before || register_at_exit(&method) < 0)
                return -1;
        return freeze();
}

int finish_run(void) {
        int r;

        wait_unseen();
        run_modules = PyList_New(0);
        PyErr_Clear();
        has_begun = run_modules;
        if (setjmp(way_out) == 0)
                r = Py_FinalizeEx();
        else
                r = streams_last_status();
        fflush(NULL);
        return r;
}
