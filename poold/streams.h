#pragma once

/* sys.stdin, sys.stdout and sys.stderr, which modules have captured at their import and which stay those objects.
 */

#include <stdbool.h>

/* What options and variables ask for. The string is borrowed. */
struct stream_settings {
        bool unbuffered;
        bool interactive;         /* -i: C's are buffered by lines */
        struct _object *encoding; /* owned; NULL: as the interpreter has chosen at its start */
        const char *errors;       /* of standard input and output; NULL: likewise */
};

/*
 * Initialises them anew for the fds 0 to 2, as CPython's create_stdio() would; one whose fd is closed becomes
 * None. Returns 0, or -1 with a Python exception set.
 */
int streams_adopt(const struct stream_settings *settings);

/*
 * Puts something in the place of sys.stdout and sys.stderr that passes a flush on, is then gone again, and remembers
 * whether that failed. For Py_FinalizeEx() to flush: it prints a failure, which is all that we could see of it.
 * Returns 0, or -1 with an exception set.
 */
int streams_watch_flush(void);

/* 0, or -1 if one of these flushes has failed. */
int streams_last_status(void);

/* Flushes both in between, when a failure will show up again later. An exception that is set stays set. */
void streams_flush(void);
