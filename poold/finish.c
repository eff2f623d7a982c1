#include "pyref.h"

#include "finish.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include "streams.h"

static PyObject *modules_before; /* a copy of sys.modules, without __main__ */
static PyObject *files_before;   /* a list: files that modules have opened, and that a run may write to */

/* What the end needs, so that it imports nothing: the script may have put an __import__ of its own there. */
static PyObject *gc, *sys, *builtins;

/* tp_finalize of a class with a __del__ that is written in Python. */
static void *python_del;

/* The end that is under way. */
static bool has_begun;
static bool has_threads;      /* and so frames that nobody will ever free */
static PyObject *run_modules; /* a list of weak references: modules of the run, in the order of their import */
static jmp_buf way_out;       /* of Py_FinalizeEx() */

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

/* Those of @objects that are open files: a new list, or NULL with an exception set. */
static PyObject *list_files(PyObject *objects) {
        _cleanup_pyref_ PyObject *files = objects ? PyList_New(0) : NULL;

        for (Py_ssize_t i = 0; files && i < PyList_Size(objects); i++) {
                PyObject *object = PyList_GetItem(objects, i); /* borrowed */

                if (is_file(object) && PyList_Append(files, object) < 0)
                        return NULL;
        }
        return pyref_steal(&files);
}

/* What the collector knows of but for the objects of the preload, once these are frozen: a new list, or NULL. */
static PyObject *list_objects(void) {
        return PyObject_CallMethod(gc, "get_objects", NULL);
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

static int find_python_del(void) {
        _cleanup_pyref_ PyObject *function = PyObject_GetAttrString(builtins, "id"), *type = NULL;

        if (function)
                type = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){sO}", "x", "__del__", function);
        python_del = type ? PyType_GetSlot((PyTypeObject *)type, Py_tp_finalize) : NULL;
        return type ? 0 : -1;
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

int finish_remember(void) {
        _cleanup_pyref_ PyObject *objects = NULL;

        gc = import_own("gc");
        sys = import_own("sys");
        builtins = import_own("builtins");
        if (!gc || !sys || !builtins || file_types_init(&file_types) < 0 || find_python_del() < 0)
                return -1;
        if (!call(gc, "collect"))
                return -1;
        modules_before = copy_modules();
        objects = list_objects();
        files_before = list_files(objects);
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

static bool wants_del(PyObject *object) {
        PyTypeObject *type = Py_TYPE(object);

        return PyType_GetFlags(type) & Py_TPFLAGS_HEAPTYPE && PyType_GetSlot(type, Py_tp_finalize) == python_del &&
               !PyObject_GC_IsFinalized(object);
}

/* The identities of all objects of the run, if it matters that one of them is left; else NULL. */
static PyObject *find_unended(void) {
        _cleanup_pyref_ PyObject *objects = list_objects(), *identities = NULL;
        Py_ssize_t n_objects = objects ? PyList_Size(objects) : 0, i = 0;

        while (i < n_objects && !(is_file(PyList_GetItem(objects, i)) || wants_del(PyList_GetItem(objects, i))))
                i++;
        identities = i < n_objects ? PySet_New(NULL) : NULL;
        for (i = 0; identities && i < n_objects; i++) {
                _cleanup_pyref_ PyObject *identity = PyLong_FromVoidPtr(PyList_GetItem(objects, i));

                if (!identity || PySet_Add(identities, identity) < 0)
                        return NULL;
        }
        return pyref_steal(&identities);
}

/* Clears the names in @dict whose values are objects of the run. */
static void clear_added(PyObject *dict, PyObject *identities) {
        _cleanup_pyref_ PyObject *names = PyDict_Keys(dict);

        for (Py_ssize_t i = 0; names && i < PyList_Size(names); i++) {
                PyObject *name = PyList_GetItem(names, i), *value = PyDict_GetItemWithError(dict, name);
                _cleanup_pyref_ PyObject *identity = value ? PyLong_FromVoidPtr(value) : NULL;

                if (identity && PySet_Contains(identities, identity) > 0)
                        PyDict_SetItem(dict, name, Py_None);
        }
}

/* The pool's modules keep their own. What the run has put there goes, if that can be noticed. */
static void clear_pool_modules(void) {
        _cleanup_pyref_ PyObject *identities = find_unended();
        _cleanup_pyref_ PyObject *modules = identities ? PyDict_Values(modules_before) : NULL;

        for (Py_ssize_t i = modules ? PyList_Size(modules) - 1 : -1; i >= 0; i--) {
                PyObject *module = PyList_GetItem(modules, i); /* borrowed */

                if (PyModule_Check(module) && module != sys && module != builtins)
                        clear_added(PyModule_GetDict(module), identities);
        }
        PyErr_Clear();
}

/* Does nothing of the run's own hold it, but for @list, nor sys or builtins, which Python has yet to clear? */
static bool is_held_by_pool(PyObject *object, PyObject *list) {
        _cleanup_pyref_ PyObject *holders = PyObject_CallMethod(gc, "get_referrers", "O", object);
        PyObject *cleared[] = { PyModule_GetDict(sys), PyModule_GetDict(builtins) }, *name, *value; /* borrowed */

        if (!holders || PyList_Size(holders) != 1 || PyList_GetItem(holders, 0) != list)
                return false;
        for (size_t i = 0; i < 2; i++)
                for (Py_ssize_t at = 0; PyDict_Next(cleared[i], &at, &name, &value);)
                        if (value == object)
                                return false;
        return true;
}

static void call_del(PyObject *object) {
        _cleanup_pyref_ PyObject *del = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__del__"),
                                 *done = NULL;

        if (del)
                done = PyObject_CallFunctionObjArgs(del, object, NULL);
        if (!done)
                PyErr_WriteUnraisable(del);
        Py_INCREF(object); /* never freed, so that it is called once */
}

/* Deeper in the pool's modules, such as in classes and tables, nothing is looked for, but it is told of its end. */
static void end_left(PyObject *objects) {
        for (Py_ssize_t i = 0; !has_threads && i < PyList_Size(objects); i++) {
                PyObject *object = PyList_GetItem(objects, i); /* borrowed */

                if (wants_del(object) && is_held_by_pool(object, objects))
                        call_del(object);
        }
        PyErr_Clear();
}

static void flush_all(PyObject *files) {
        for (Py_ssize_t i = 0; files && i < PyList_Size(files); i++)
                if (!call(PyList_GetItem(files, i), "flush"))
                        PyErr_Clear(); /* closed, only readable, or lost: python3 is silent as well */
}

/* Python has collected what the modules had left, and would now clear those that are held by somebody. */
static void finish_modules(PyObject *capsule) {
        _cleanup_pyref_ PyObject *objects = NULL, *files = NULL;

        (void)capsule;
        clear_run_modules();
        clear_pool_modules();
        objects = list_objects();
        if (objects)
                end_left(objects);
        files = list_files(objects);
        flush_all(files);
        flush_all(files_before);
        streams_flush();
        PyErr_Clear();
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

/*
 * finalize_remove_modules(): sets all of sys.modules to None, in their order, and remembers those of the run. The
 * pool's live on, since modules_before holds them.
 */
static void remove_modules(PyObject *modules) {
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

/* atexit's last one. Python will now flush the streams and begin to collect. */
static PyObject *last_at_exit(PyObject *self, PyObject *none) {
        (void)self;
        (void)none;
        if (has_begun) {
                has_threads = are_there_threads();
                if (streams_watch_flush() == 0)
                        plant(PyModule_GetDict(sys), "__interactivehook__", hide_modules);
                PyErr_Clear();
        }
        Py_RETURN_NONE;
}

/* Before 3.10 what atexit calls is kept by the module itself, of which there must be no second one. */
static bool can_hide_atexit(void) {
        return PyLong_AsUnsignedLong(PySys_GetObject("hexversion")) >= 0x030a0000;
}

int finish_watch(void) {
        static PyMethodDef method = { "poold", last_at_exit, METH_NOARGS, NULL };
        _cleanup_pyref_ PyObject *atexit = NULL, *function = PyCFunction_New(&method, NULL), *done = NULL;

        atexit = can_hide_atexit() ? import_own("atexit") : PyImport_ImportModule("atexit");
        if (atexit && function)
                done = PyObject_CallMethod(atexit, "register", "O", function);
        return done ? 0 : -1;
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
