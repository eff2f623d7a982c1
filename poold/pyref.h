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
