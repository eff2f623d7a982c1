#pragma once

/* Owned references that are dropped when their scope ends. Python.h comes first everywhere it is used. */

#include <Python.h>

static inline void pyref_dropp(PyObject **object) {
        Py_XDECREF(*object);
}

#define _cleanup_pyref_ __attribute__((cleanup(pyref_dropp)))

/* Gives the reference away: the variable owns nothing afterwards. */
static inline PyObject *pyref_steal(PyObject **object) {
        PyObject *stolen = *object;

        *object = NULL;
        return stolen;
}

/* As PyImport_ImportModule(), but several microseconds cheaper for a module that has been imported before. */
static inline PyObject *pyref_import(const char *name) {
        PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), name); /* borrowed */

        if (!module || module == Py_None)
                return PyImport_ImportModule(name);
        Py_INCREF(module);
        return module;
}
