#include "pyref.h"

#include "execute.h"

#include <signal.h>

#include "pyrun.h"
#include "pyversion.h"
#include "streams.h"

/* What sys.exit() has been given for a message goes to sys.stderr, or to C's where there is none. */
static void print_exit_code(PyObject *code) {
        PyObject *err = PySys_GetObject("stderr"); /* borrowed */
        _cleanup_pyref_ PyObject *text = NULL, *bytes = NULL;

        if (err && err != Py_None) {
                PyFile_WriteObject(code, err, Py_PRINT_RAW);
        } else {
                text = PyObject_Str(code);
                bytes = text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
                if (bytes)
                        fwrite(PyBytes_AsString(bytes), 1, (size_t)PyBytes_Size(bytes), stderr);
                fflush(stderr);
        }
        PyErr_Clear();
        PySys_WriteStderr("\n");
}

/* _Py_HandleSystemExit(): the exit status of the SystemExit that is set, which is cleared. */
static int take_exit_code(void) {
        PyObject *type, *value, *traceback;
        _cleanup_pyref_ PyObject *code = NULL;
        int status = 0;

        fflush(stdout);
        PyErr_Fetch(&type, &value, &traceback);
        if (value && PyExceptionInstance_Check(value))
                code = PyObject_GetAttrString(value, "code");
        if (!code) {
                PyErr_Clear();
                code = value;
                Py_XINCREF(code);
        }
        if (code && PyLong_Check(code)) {
                status = (int)PyLong_AsLong(code);
        } else if (code && code != Py_None) {
                print_exit_code(code);
                status = 1;
        }
        PyErr_Clear();
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return status;
}

static void display(PyObject *type, PyObject *value, PyObject *traceback) {
        PyErr_Display(type ? type : Py_None, value ? value : Py_None, traceback);
}

/* When sys.excepthook has failed with the exception that is set. */
static void print_both(PyObject *type, PyObject *value, PyObject *traceback) {
        PyObject *own_type, *own_value, *own_traceback;

        PyErr_Fetch(&own_type, &own_value, &own_traceback);
        PyErr_NormalizeException(&own_type, &own_value, &own_traceback);
        PySys_WriteStderr("Error in sys.excepthook:\n");
        display(own_type, own_value, own_traceback);
        PySys_WriteStderr("\nOriginal exception was:\n");
        display(type, value, traceback);
        Py_XDECREF(own_type);
        Py_XDECREF(own_value);
        Py_XDECREF(own_traceback);
}

static void remember_last(PyObject *type, PyObject *value, PyObject *traceback) {
        PySys_SetObject("last_type", type);
        PySys_SetObject("last_value", value);
        PySys_SetObject("last_traceback", traceback);
        if (pyversion() >= PYVERSION_3_12)
                PySys_SetObject("last_exc", value);
        PyErr_Clear();
}

/* PyErr_Print() for a SystemExit that is not to end the process, for which there is no such function. */
static void print_exit(void) {
        PyObject *type, *value, *traceback;
        _cleanup_pyref_ PyObject *hook = PySys_GetObject("excepthook"), *done = NULL; /* borrowed at first */

        Py_XINCREF(hook);
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        if (!traceback) {
                traceback = Py_None;
                Py_INCREF(traceback);
        }
        PyException_SetTraceback(value, traceback);
        remember_last(type, value, traceback);
        if (!hook) {
                PySys_WriteStderr("sys.excepthook is missing\n");
                display(type, value, traceback);
        } else {
                done = PyObject_CallFunctionObjArgs(hook, type, value, traceback, NULL);
                if (!done)
                        print_both(type, value, traceback);
        }
        PyErr_Clear();
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
}

/* CPython notes it where code is evaluated. A parser that is interrupted has nothing to trace back. */
static bool is_interrupt(void) {
        PyObject *type, *value, *traceback;
        bool is_traced;

        if (PyErr_Occurred() != PyExc_KeyboardInterrupt)
                return false;
        PyErr_Fetch(&type, &value, &traceback);
        is_traced = traceback;
        PyErr_Restore(type, value, traceback);
        return is_traced;
}

void execution_fail(struct execution *execution) {
        bool is_exit = PyErr_ExceptionMatches(PyExc_SystemExit);

        if (is_exit && !execution->inspects) {
                execution->code = take_exit_code();
                execution->exits = true;
                return;
        }
        execution->interrupted = is_interrupt();
        execution->code = 1;
        if (is_exit)
                print_exit();
        else
                PyErr_Print();
}

/* exit_sigint(): python3 sends itself SIGINT, and exits if that is blocked. */
int execution_wait_status(const struct execution *execution) {
        sigset_t blocked;

        if (!execution->interrupted)
                return (execution->code & 0xff) << 8;
        pthread_sigmask(SIG_SETMASK, NULL, &blocked);
        return sigismember(&blocked, SIGINT) ? (128 + SIGINT) << 8 : SIGINT;
}

/* @result (taken) is NULL if an exception is set. */
static void conclude(struct execution *execution, PyObject *result) {
        execution->interrupted = false;
        execution->code = 0;
        if (!result)
                execution_fail(execution);
        Py_XDECREF(result);
}

void execute_code(struct execution *execution, PyObject *code, PyObject *globals) {
        conclude(execution, PyEval_EvalCode(code, globals, globals));
}

/* __main__'s names as _PyRun_SimpleFileObject() sets them. */
static int set_main(const struct execution_file *file, PyObject *globals) {
        _cleanup_pyref_ PyObject *external = NULL, *loader = NULL;

        if (PyDict_SetItemString(globals, "__file__", file->name) < 0 ||
            PyDict_SetItemString(globals, "__cached__", Py_None) < 0)
                return -1;
        if (!file->loader)
                return 0;
        external = PyImport_ImportModule("_frozen_importlib_external");
        loader = external ? PyObject_CallMethod(external, file->loader, "sO", "__main__", file->name) : NULL;
        return loader ? PyDict_SetItemString(globals, "__loader__", loader) : -1;
}

static void unset_main(PyObject *globals) {
        PyDict_DelItemString(globals, "__file__");
        PyDict_DelItemString(globals, "__cached__");
        PyErr_Clear();
}

/* But for standard input it is closed between being read and being run. */
static PyObject *run_stream(const struct execution_file *file, PyObject *globals) {
        return PyRun_FileEx(file->stream, file->path, Py_file_input, globals, globals, file->stream != stdin);
}

void execute_file(struct execution *execution, const struct execution_file *file, PyObject *globals) {
        PyObject *result = NULL;

        if (set_main(file, globals) == 0)
                result = file->code ? PyEval_EvalCode(file->code, globals, globals) : run_stream(file, globals);
        streams_flush();
        conclude(execution, result);
        if (!execution->exits)
                unset_main(globals);
}

void execute_module(struct execution *execution, const char *name, bool sets_argv0) {
        _cleanup_pyref_ PyObject *runpy = PyImport_ImportModule("runpy"), *text = NULL;

        text = runpy ? PyUnicode_DecodeFSDefault(name) : NULL;
        conclude(execution,
                 text ? PyObject_CallMethod(runpy, "_run_module_as_main", "Oi", text, sets_argv0) : NULL);
        execution->exits = false; /* a module that has exited may still be inspected */
}
