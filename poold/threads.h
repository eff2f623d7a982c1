#pragma once

/* The threads of a process that is about to end, and yet has something to do. */

#include <stdbool.h>

/*
 * Stops all but the calling thread, the first of the process, for good: so that none sees what is closed under it, as a
 * thread that a library has started may take that for a reason to abort. Each sleeps in a handler of SIGSYS from then on,
 * wherever it was, so that the caller must take no lock that one of them may hold: malloc(3) has some. Returns false if
 * that cannot be done within 10 ms, as with one that blocks the signal, or if there is no /proc: then some may run on.
 */
bool threads_stop(void);
