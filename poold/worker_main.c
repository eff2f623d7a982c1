/*
 * poold-worker: one interpreter, started as POOLD_PYTHON (the python3 that poold is built for) would start, with
 * the host (job.h) in the place of a main program. This is the only file that knows how the interpreter is
 * started.
 */

#include <Python.h>

#include "job.h"

/* @argv are python's options that act at its start. Decoding them needs the interpreter's encoding: they come first. */
static PyStatus start_interpreter(int argc, char **argv) {
        PyConfig config;
        PyStatus status;

        PyConfig_InitPythonConfig(&config);
        status = PyConfig_SetBytesArgv(&config, argc, argv);
        if (!PyStatus_Exception(status))
                status = PyConfig_SetBytesString(&config, &config.program_name, POOLD_PYTHON);
        if (!PyStatus_Exception(status))
                status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
        return status;
}

int main(int argc, char **argv) {
        uint64_t started_usec = job_now_usec();
        PyStatus status;

        status = start_interpreter(argc, argv);
        if (PyStatus_Exception(status))
                Py_ExitStatusException(status);
        job_die(job_main(started_usec));
}
