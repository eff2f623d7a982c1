#pragma once

/* sys.stderr put aside for a while: to find out whether something would be printed, before anything may be. */

#include <Python.h>

#include <stdbool.h>

struct capture {
        PyObject *buffer, *saved;
};

/* Returns 0, or -1 with an exception set and nothing changed. */
int capture_begin(struct capture *capture);

/* Puts sys.stderr back, keeping the exception that is set. Was something written meanwhile? */
bool capture_end(struct capture *capture);
