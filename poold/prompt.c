#include "pyref.h"

#include "prompt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "environment.h"
#include "pyrun.h"
#include "pyversion.h"

/* What the environment has now; NULL if that is nothing or python3 would not look. */
static const char *variable(const struct prompt *prompt, const char *name) {
        const char *value = prompt->ignores_environment ? NULL : getenv(name);

        return value && *value ? value : NULL;
}

static bool is_loaded(const char *name) {
        return PyDict_GetItemString(PyImport_GetModuleDict(), name);
}

int prompt_check(const struct prompt *prompt, int input, struct decline *why) {
        const char *inspect = environment_at_start("PYTHONINSPECT");

        if ((prompt->has_program && !prompt->inspects) || (!prompt->is_forced && !isatty(input)))
                return 0;
        if (is_loaded("readline") || is_loaded("_pyrepl.main"))
                return decline(why, "interactive", "a module of the pool has set up line editing already");
        if (inspect && *inspect)
                return decline(why, "interactive", "PYTHONINSPECT is set for the pool");
        return 0;
}

bool prompt_is_interactive(const struct prompt *prompt) {
        return prompt->is_forced || isatty(STDIN_FILENO);
}

static void import_or_not(const char *name) {
        Py_XDECREF(PyImport_ImportModule(name));
        PyErr_Clear();
}

/* 3.9 leaves it to the interactive hook, where the current folder counts. */
void prompt_import_readline(const struct prompt *prompt) {
        if (prompt->is_isolated || (prompt->has_program && !prompt->inspects) || pyversion() < PYVERSION_3_10 ||
            !isatty(STDIN_FILENO))
                return;
        import_or_not("readline");
        import_or_not("rlcompleter");
}

void prompt_greet(const struct prompt *prompt) {
        if (prompt->is_quiet || prompt->has_program || !prompt_is_interactive(prompt))
                return;
        fprintf(stderr, "Python %s on %s\n", Py_GetVersion(), Py_GetPlatform());
        if (prompt->has_site)
                fputs("Type \"help\", \"copyright\", \"credits\" or \"license\" for more information.\n", stderr);
}

/* After an exception that CPython has printed itself: where the parser raised it, there is nothing to trace back. */
static void note_printed(struct execution *execution) {
        PyObject *type = PySys_GetObject("last_type"),
                 *traceback = PySys_GetObject("last_traceback"); /* borrowed */

        if (traceback && traceback != Py_None)
                execution->interrupted = type == PyExc_KeyboardInterrupt;
}

static int open_startup(const char *path, PyObject *name, FILE **ret_file) {
        if (PySys_Audit("cpython.run_startup", "O", name) < 0)
                return -1;
        *ret_file = fopen(path, "re");
        if (!*ret_file) {
                int r = errno;

                PySys_WriteStderr("Could not open PYTHONSTARTUP\n");
                errno = r;
                PyErr_SetFromErrnoWithFilenameObjects(PyExc_OSError, name, NULL);
        }
        return *ret_file ? 0 : -1;
}

static void run_startup(const struct prompt *prompt, struct execution *execution) {
        const char *path = variable(prompt, "PYTHONSTARTUP");
        _cleanup_pyref_ PyObject *name = path ? PyUnicode_DecodeFSDefault(path) : NULL;
        FILE *file = NULL;

        if (!path)
                return;
        if (!name || open_startup(path, name, &file) < 0) {
                execution_fail(execution);
                return;
        }
        if (PyRun_SimpleFileEx(file, path, 0) < 0)
                note_printed(execution);
        PyErr_Clear();
        fclose(file);
}

/*
 * sys.__interactivehook__, by which site sets up completion and history. When it imports rlcompleter, and that inspect
 * (3.10), a named tuple is made by eval(), with which python3 forgets that it was interrupted.
 */
static void run_hook(struct execution *execution) {
        _cleanup_pyref_ PyObject *hook = PySys_GetObject("__interactivehook__"),
                                 *done = NULL; /* borrowed at first */
        bool had_completer = is_loaded("rlcompleter");

        Py_XINCREF(hook);
        if (!hook)
                return;
        if (PySys_Audit("cpython.run_interactivehook", "O", hook) == 0)
                done = PyObject_CallFunctionObjArgs(hook, NULL);
        if (!had_completer && is_loaded("rlcompleter") && pyversion() >= PYVERSION_3_10)
                execution->interrupted = false;
        if (done)
                return;
        PySys_WriteStderr("Failed calling sys.__interactivehook__\n");
        execution_fail(execution);
}

static int set_default(const char *name, const char *text) {
        _cleanup_pyref_ PyObject *value = PySys_GetObject(name) ? NULL : PyUnicode_FromString(text);

        return value ? PySys_SetObject(name, value) : 0;
}

/* As PyRun_InteractiveLoop() puts an end to a loop without memory. */
#define MAX_MEMORY_ERRORS 16

/*
 * PyRun_InteractiveLoop(), statement by statement: what it keeps to itself is whether the last one of them was
 * interrupted.
 */
static void run_loop(struct execution *execution) {
        struct pyrun_flags flags = { .cf_feature_version = (int)(pyversion() >> 16 & 0xff) };
        int n_memory_errors = 0, r;

        if (set_default("ps1", ">>> ") < 0 || set_default("ps2", "... ") < 0)
                PyErr_Clear();
        do {
                r = PyRun_InteractiveOneFlags(stdin, "<stdin>", &flags);
                if (r == 0)
                        execution->interrupted = false;
                else if (r < 0)
                        note_printed(execution);
                if (r < 0 && PySys_GetObject("last_type") == PyExc_MemoryError)
                        n_memory_errors++;
                else
                        n_memory_errors = 0;
        } while (r != E_EOF && n_memory_errors <= MAX_MEMORY_ERRORS);
        execution->code = n_memory_errors > MAX_MEMORY_ERRORS;
}

static bool has_pyrepl(const struct prompt *prompt) {
        return pyversion() >= PYVERSION_3_13 && isatty(STDIN_FILENO) && !variable(prompt, "PYTHON_BASIC_REPL");
}

/* Before 3.14 it does not say in which module it is to be. */
static void run_pyrepl(struct execution *execution, bool runs_startup) {
        _cleanup_pyref_ PyObject *module = PyImport_ImportModule("_pyrepl.main"), *console = NULL, *none = NULL;
        _cleanup_pyref_ PyObject *keywords = NULL, *done = NULL;
        PyObject *startup = runs_startup ? Py_True : Py_False,
                 *main = PyImport_AddModule("__main__"); /* borrowed */

        console = module ? PyObject_GetAttrString(module, "interactive_console") : NULL;
        none = PyTuple_New(0);
        keywords = pyversion() < PYVERSION_3_14
                           ? Py_BuildValue("{sO}", "pythonstartup", startup)
                           : Py_BuildValue("{sOsO}", "pythonstartup", startup, "mainmodule", main);
        if (console && none && keywords)
                done = PyObject_Call(console, none, keywords);
        execution->code = 0;
        if (!done)
                execution_fail(execution);
}

/* Until 3.13.2 it ends with 0 or 1, whatever exit() is given. */
static void run_pyrepl_module(struct execution *execution) {
        execute_module(execution, "_pyrepl", false);
        if (pyversion() < PYVERSION_3_13_3)
                execution->code = execution->code != 0;
}

static bool begin_reading(struct execution *execution) {
        if (PySys_Audit("cpython.run_stdin", NULL) == 0)
                return true;
        execution_fail(execution);
        return false;
}

void prompt_run(const struct prompt *prompt, struct execution *execution) {
        execution->inspects = false;
        run_startup(prompt, execution);
        if (!execution->exits)
                run_hook(execution);
        if (execution->exits || !begin_reading(execution))
                return;
        if (!has_pyrepl(prompt))
                run_loop(execution);
        else if (pyversion() < PYVERSION_3_14)
                run_pyrepl_module(execution);
        else
                run_pyrepl(execution, false);
}

void prompt_inspect(const struct prompt *prompt, struct execution *execution) {
        bool is_wanted = execution->inspects || variable(prompt, "PYTHONINSPECT");

        if (!is_wanted || !prompt->has_program || !prompt_is_interactive(prompt))
                return;
        execution->inspects = false;
        run_hook(execution);
        if (execution->exits)
                return;
        if (!has_pyrepl(prompt))
                run_loop(execution);
        else if (begin_reading(execution)) {
                run_pyrepl(execution, true);
                execution->code = execution->code != 0; /* exit(3) is 1 there */
        }
}
