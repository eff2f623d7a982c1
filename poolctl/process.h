#pragma once

/* Another process, held by a pidfd: signalling it. And stopping ourselves as it is. */

#include <stdbool.h>
#include <stdint.h>

struct process {
        int pid;
        int pidfd; /* owned; -1 if there is none */
};

/* Sends @signo to the process alone. That it is gone already is no error. */
void process_signal(const struct process *process, int signo);

/*
 * Stops us by @signo as the shell sees it. Every signal must be blocked. Returns once we are continued, which is told by
 * a pending SIGCONT, or false at once if nobody could continue us.
 */
bool process_stop_self(int signo);
