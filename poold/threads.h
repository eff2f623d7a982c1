#pragma once

/* The threads of a process that is about to end, and yet has something to do. */

#include <stdbool.h>

/*
 * Stops all but the calling thread, the first of the process, for good: so that none sees what is closed under it, as a
 * thread that a library has started may take that for a reason to abort. Each sleeps in a handler from then on, wherever
 * it was, so that the caller must take no lock that one of them may hold: malloc(3) has some. If there are others, the
 * caller's signals are blocked. Returns false if not all can be stopped within 10 ms, as with one that waits for a file
 * system of the network's, or if there is no /proc: then some may run on.
 */
bool threads_stop(void);
