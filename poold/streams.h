#pragma once

/* sys.stdin, sys.stdout and sys.stderr, which modules have captured at their import and which stay those objects.
 */

#include <stdbool.h>

/*
 * Initialises them anew for the fds 0 to 2, as CPython's create_stdio() would; one whose fd is closed becomes
 * None. Returns 0, or -1 with a Python exception set.
 */
int streams_adopt(bool unbuffered);

/* Flushes sys.stdout and sys.stderr as at the interpreter's end. Returns 0, or -1 if one failed (printed). */
int streams_flush_last(void);

/* The same in between, when a failure will show up again later. An exception that is set stays set. */
void streams_flush(void);
