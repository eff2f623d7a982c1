#pragma once

#include <signal.h>

/* How a process has ended that waitid(2) tells of, as waitpid(2) has it. */
int end_wait_status(const siginfo_t *info);

/*
 * Ends the calling process as another one has ended: by the signal of @wait_status (as waitpid(2) has it), without a
 * core of its own. If that says exited, or the signal does not end us, which is so for the first process of a
 * container, returns the exit status to end with.
 */
int end_like(int wait_status);
