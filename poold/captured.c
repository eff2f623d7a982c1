#include "pyref.h"

#include "captured.h"

#include <stdbool.h>
#include <unistd.h>

/* New reference, or NULL without an exception: it may not be there. */
static PyObject *get_module(const char *name) {
        PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), name); /* borrowed */

        Py_XINCREF(module);
        return module;
}

/* Calls the function @name of @owner without arguments. */
static PyObject *call_function(const char *owner, const char *name) {
        _cleanup_pyref_ PyObject *module = pyref_import(owner);

        return module ? PyObject_CallMethod(module, name, NULL) : NULL;
}

/* LogRecord.relativeCreated counts from there: seconds, since 3.13 nanoseconds. */
static int renew_start_time(PyObject *logging) {
        _cleanup_pyref_ PyObject *before = PyObject_GetAttrString(logging, "_startTime"), *now = NULL;

        if (!before) {
                PyErr_Clear();
                return 0;
        }
        now = call_function("time", PyLong_Check(before) ? "time_ns" : "time");
        return now ? PyObject_SetAttrString(logging, "_startTime", now) : -1;
}

/* What children of the method spawn take the script's path to be relative to. */
static int renew_original_dir(PyObject *process) {
        _cleanup_pyref_ PyObject *folder = call_function("posix", "getcwd");

        if (!folder) {
                PyErr_Clear(); /* as multiprocessing has it */
                folder = Py_None;
                Py_INCREF(folder);
        }
        return PyObject_SetAttrString(process, "ORIGINAL_DIR", folder);
}

/* matplotlib_fname() of matplotlib: the settings in the current folder come before all others. */
int captured_check(struct decline *why) {
        const bool is_loaded = PyDict_GetItemString(PyImport_GetModuleDict(), "matplotlib");

        if (is_loaded && access("matplotlibrc", F_OK) == 0)
                return decline(why, "module",
                               "matplotlib is loaded already, without the matplotlibrc that is here");
        return 0;
}

int captured_renew(void) {
        _cleanup_pyref_ PyObject *logging = get_module("logging"),
                                 *process = get_module("multiprocessing.process");

        if (logging && renew_start_time(logging) < 0)
                return -1;
        return process ? renew_original_dir(process) : 0;
}
