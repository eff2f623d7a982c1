#pragma once

/*
 * The ways in which python3 runs something in __main__, and what it makes of the exception that may end it: what
 * Modules/main.c and Python/pythonrun.c of CPython do, without leaving the process.
 */

#include <Python.h>

#include <stdbool.h>
#include <stdio.h>

/* A run in progress. Zero-initialised, but for `inspects`, is its beginning. */
struct execution {
        bool inspects;    /* a prompt is to come (PyConfig.inspect): SystemExit is printed like all others */
        bool exits;       /* by SystemExit, and at once */
        bool interrupted; /* what ran last ended by KeyboardInterrupt: python3 then dies of SIGINT */
        int code;         /* the exit status */
};

/* A file to run. */
struct execution_file {
        PyObject *name;     /* as __file__ has it */
        const char *path;   /* the same, for C */
        const char *loader; /* the class of importlib's that __loader__ is one of; NULL to leave that alone */
        PyObject *code;     /* compiled, or NULL; then */
        FILE *stream;       /* the source, which is read when it runs (taken, but for stdin) */
};

/* Takes over the exception that is set: prints it if python3 would, and clears it. */
void execution_fail(struct execution *execution);

/* The wait status of the process once all is over. */
int execution_wait_status(const struct execution *execution);

/* What -c has. */
void execute_code(struct execution *execution, PyObject *code, PyObject *globals);
void execute_file(struct execution *execution, const struct execution_file *file, PyObject *globals);
/* runpy's: of -m, which sets sys.argv[0], and else of what lies in sys.path[0]. */
void execute_module(struct execution *execution, const char *name, bool sets_argv0);
