#include "pyref.h"

#include "leftovers.h"

static PyObject *gc, *sys, *builtins; /* borrowed */

/* tp_finalize of a class with a __del__ that is written in Python. */
static void *python_del;

static struct file_types { PyObject *text, *writer, *random; } file_types;

static int file_types_init(struct file_types *types) {
        _cleanup_pyref_ PyObject *io = pyref_import("io");

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

static int find_python_del(void) {
        _cleanup_pyref_ PyObject *function = PyObject_GetAttrString(builtins, "id"), *type = NULL;

        if (function)
                type = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){sO}", "x", "__del__", function);
        python_del = type ? PyType_GetSlot((PyTypeObject *)type, Py_tp_finalize) : NULL;
        return type ? 0 : -1;
}

int leftovers_init(PyObject *gc_module, PyObject *sys_module, PyObject *builtins_module) {
        gc = gc_module;
        sys = sys_module;
        builtins = builtins_module;
        return file_types_init(&file_types) < 0 || find_python_del() < 0 ? -1 : 0;
}

/* What the collector knows of but for the objects of the preload, once these are frozen: a new list, or NULL. */
static PyObject *list_objects(void) {
        return PyObject_CallMethod(gc, "get_objects", NULL);
}

PyObject *leftovers_list_files(void) {
        _cleanup_pyref_ PyObject *objects = list_objects();
        _cleanup_pyref_ PyObject *files = objects ? PyList_New(0) : NULL;

        for (Py_ssize_t i = 0; files && i < PyList_Size(objects); i++) {
                PyObject *object = PyList_GetItem(objects, i); /* borrowed */

                if (is_file(object) && PyList_Append(files, object) < 0)
                        return NULL;
        }
        return pyref_steal(&files);
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
static void clear_modules(PyObject *modules_before) {
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
        for (Py_ssize_t i = 0; i < PyList_Size(objects); i++) {
                PyObject *object = PyList_GetItem(objects, i); /* borrowed */

                if (wants_del(object) && is_held_by_pool(object, objects))
                        call_del(object);
        }
        PyErr_Clear();
}

void leftovers_end(PyObject *modules, bool has_threads) {
        _cleanup_pyref_ PyObject *objects = NULL;

        clear_modules(modules);
        objects = has_threads ? NULL : list_objects();
        if (objects)
                end_left(objects);
        PyErr_Clear();
}
