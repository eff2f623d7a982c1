#pragma once

/* sys.stdin, sys.stdout and sys.stderr, which modules have captured at their import and which stay those objects.
 */

#include <stdbool.h>

/* What options and variables ask for. The string is borrowed. */
struct stream_settings {
        bool unbuffered;
        struct _object *encoding; /* owned; NULL: as the interpreter has chosen at its start */
        const char *errors;       /* of standard input and output; NULL: likewise */
};

/*
 * Initialises them anew for the fds 0 to 2, as CPython's create_stdio() would; one whose fd is closed becomes
 * None. Returns 0, or -1 with a Python exception set.
 */
int streams_adopt(const struct stream_settings *settings);

/* Flushes sys.stdout and sys.stderr as at the interpreter's end. Returns 0, or -1 if one failed (printed). */
int streams_flush_last(void);

/* The same in between, when a failure will show up again later. An exception that is set stays set. */
void streams_flush(void);
