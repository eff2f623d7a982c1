#pragma once

/*
 * A Python that workers are. What counts for a run is which one `python3` would have been.
 */

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised is none. */
struct interpreter {
        char *path; /* absolute, and as it was named: a virtual environment is found by its link to a python */
        char *real_path;     /* with no link in it */
        char *prefix;        /* its sys.prefix */
        bool is_environment; /* a virtual or conda environment's: for those who have activated it */
};

/* Positive result. */
enum {
        INTERPRETER_UNFIT = 1, /* there is no python that workers can be */
};

#define INTERPRETER_PROBLEM_BYTES 256

/*
 * Runs the one at @path once, to see what it is. It has to be a CPython of 3.9 or later, with a GIL, and to answer
 * within seconds.
 * Returns 0 and *ret_interpreter; or INTERPRETER_UNFIT and what is wrong, to go behind its name; or negative errno.
 */
int interpreter_probe(const char *path, struct interpreter *ret_interpreter,
                      char ret_problem[INTERPRETER_PROBLEM_BYTES]);

/* Leaves none. */
void interpreter_fini(struct interpreter *interpreter);

/* Is @interpreter that of the environment in @folder, which a client has activated? */
bool interpreter_is_of(const struct interpreter *interpreter, const char *folder);

/* Are they the same, and no environment's? */
bool interpreter_is_same(const struct interpreter *a, const struct interpreter *b);
