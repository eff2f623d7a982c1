/*
 * _poold_host: the host (job.h) as an extension module, which makes a worker of any CPython. worker.py loads it and puts
 * it in the place of sys.stderr. When worker.py has ended, its frame gone, CPython calls sys.stderr.flush() from C
 * (flush_io() in Python/pythonrun.c, of 3.9 as of 3.14). So we are entered with no frame below us and never return.
 */

#include "pyref.h"

#include <time.h>

#include "job.h"

PyMODINIT_FUNC PyInit__poold_host(void);

/* Nobody has noted when the process began. It has done nothing but compute since. */
static uint64_t started_usec(void) {
        struct timespec used;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        return job_now_usec() - ((uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000);
}

static PyObject *enter(PyObject *self, PyObject *none) {
        PyObject *stderr_before = PyObject_GetAttrString(self, "stderr");

        (void)none;
        if (!stderr_before || PySys_SetObject("stderr", stderr_before) < 0)
                return NULL;
        Py_DECREF(stderr_before);
        Py_LeaveRecursiveCall(); /* this call counts as one, and the script may have all that python3 gives it */
        job_die(job_main(started_usec()));
}

static PyMethodDef methods[] = {
        { "flush", enter, METH_NOARGS, NULL },
        { NULL, NULL, 0, NULL },
};

/* With slots, even if none: so that nothing but worker.py knows of the module. */
static PyModuleDef_Slot slots[] = { { 0, NULL } };

static struct PyModuleDef definition = {
        .m_base = PyModuleDef_HEAD_INIT,
        .m_name = "_poold_host",
        .m_methods = methods,
        .m_slots = slots,
};

PyMODINIT_FUNC PyInit__poold_host(void) {
        return PyModuleDef_Init(&definition);
}
