#pragma once

/*
 * What CPython's own main program runs a FILE with. The limited API leaves these out because a FILE belongs to one C
 * library, and an extension may use another one than its interpreter; the host never does: it is in the interpreter's
 * process and passes it only streams of the one libc there. All of them are documented ("The Very High Level Layer",
 * "System Functions"), exported by every CPython, and have had these very declarations from 3.9 to 3.14.
 */

#include <Python.h>

#include <errcode.h>
#include <stdio.h>

/* The whole of PyCompilerFlags. */
struct pyrun_flags {
        int cf_flags;           /* what `from __future__` has set so far */
        int cf_feature_version; /* the minor version */
};

/* Parses @file as source to its end and evaluates it: a new reference, or NULL with an exception set. */
PyAPI_FUNC(PyObject *) PyRun_FileEx(FILE *file, const char *filename, int start, PyObject *globals,
                                    PyObject *locals, int close_it);
/* The same in __main__, or for a .pyc what that wants. Prints an exception and returns -1; exit(3)s for SystemExit. */
PyAPI_FUNC(int) PyRun_SimpleFileEx(FILE *file, const char *filename, int close_it);
/* Prompts for one statement and runs it. 0, E_EOF, or -1 after an exception, with which it deals in the same way. */
PyAPI_FUNC(int) PyRun_InteractiveOneFlags(FILE *file, const char *filename, struct pyrun_flags *flags);
/* Negative with an exception set if a hook objects. */
PyAPI_FUNC(int) PySys_Audit(const char *event, const char *format, ...);
