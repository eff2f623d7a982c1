#pragma once

/*
 * What the host does with its interpreter: import the pool's modules, make a run ready, run it as python3 would,
 * end it. Everything here wants the GIL. Written against the limited API.
 */

#include <Python.h>

#include "decline.h"
#include "footprint.h"
#include "lib/proto.h"
#include "lib/pyargs.h"
#include "prompt.h"
#include "script.h"
#include "streams.h"

/* What a preload failed with. Strings are malloc()ed; python_failure_fini() frees them. */
struct python_failure {
        char *module;
        char *traceback;
};

void python_failure_fini(struct python_failure *failure);

/* sys.executable, with which sys.orig_argv begins, for as long as the process lives. */
const char *python_executable(void);

struct python_preload {
        const struct proto_setup *setup;
        struct footprint *footprint; /* to which all is added that the interpreter depends on, also on failure */
        /* It goes on without this module, if the setup is tolerant. */
        void (*skipped)(struct python_failure *failure);
};

/* Imports what the setup names. All is borrowed. Returns 0, or -1 and *ret_failure, which the caller ends. */
int python_preload(const struct python_preload *preload, struct python_failure *ret_failure);

/* A run that is ready to start. One per process. */
struct python_run {
        struct pyargs args;
        char **argv; /* all of python's arguments, NULL-terminated; must live as long as the process */
        int argc;
        int input;        /* the client's standard input, -1 if it has none: until the run is claimed */
        int script_input; /* likewise the fd that the script's name stands for */
        char *folder;     /* for sys.path[0], NULL for none */
        struct stream_settings streams;
        struct prompt prompt;
        struct script script;
        PyObject *code; /* of -c */
};

/*
 * Everything that can be found out before the run is claimed, declining "script", "syntax", "warnings", "shadow",
 * "module", "options", "interactive". Nothing can be seen of it. args, argv, argc and the inputs of @run are set, @env must live as long as the
 * process. Returns 0, DECLINED or negative (printed).
 */
int python_prepare(struct python_run *run, const struct wire_strv *env, struct decline *decline);

/* Runs to the end and returns the wait status that python3 would have had. The process is the client's by now. */
int python_run(struct python_run *run, const struct proto_run *context);
