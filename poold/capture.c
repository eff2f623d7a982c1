#include "pyref.h"

#include "capture.h"

int capture_begin(struct capture *capture) {
        _cleanup_pyref_ PyObject *io = pyref_import("io");

        *capture = (struct capture){ .saved = PySys_GetObject("stderr") };
        capture->buffer = io ? PyObject_CallMethod(io, "StringIO", NULL) : NULL;
        if (!capture->buffer)
                return -1;
        Py_XINCREF(capture->saved);
        return PySys_SetObject("stderr", capture->buffer);
}

bool capture_end(struct capture *capture) {
        PyObject *type, *value, *traceback;
        _cleanup_pyref_ PyObject *at = NULL;
        bool empty;

        PyErr_Fetch(&type, &value, &traceback);
        PySys_SetObject("stderr", capture->saved);
        at = PyObject_CallMethod(capture->buffer, "tell", NULL);
        empty = at && PyLong_AsLong(at) == 0;
        PyErr_Clear();
        Py_XDECREF(capture->saved);
        Py_DECREF(capture->buffer);
        PyErr_Restore(type, value, traceback);
        return !empty;
}
