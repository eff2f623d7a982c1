#pragma once

/* Another process, held by a pidfd: signalling it, and how it ended. And ending ourselves the same way. */

#include <stdbool.h>
#include <stdint.h>

struct process {
        int pid;
        int pidfd; /* owned; -1 if there is none */
};

/* Sends @signo to the process alone, or to the group that it leads. That it is gone already is no error. */
void process_signal(const struct process *process, int signo, bool group);

/*
 * The same for a signal that stops. A worker leads a session of its own, and where no parent is left in the session the
 * kernel does not let SIGTSTP and its like stop a process (setpgid(2), orphaned process group); SIGSTOP does.
 */
void process_stop(const struct process *process, int signo, bool group);

/* Positive result of process_wait_status(). */
enum {
        PROCESS_UNREAPED = 1, /* there will be more to know once somebody has waited for it */
};

/*
 * How a process that is not our child ended, as waitpid(2) has it; its pidfd must have turned readable.
 * Returns 0, PROCESS_UNREAPED, or negative errno where it cannot be known: it was reaped, before Linux 6.15.
 */
int process_wait_status(const struct process *process, int *ret_wait_status);

/*
 * Stops us by @signo, or our whole group, as the shell sees it. Every signal must be blocked. Returns once we are
 * continued, which is told by a pending SIGCONT, or false at once if nobody could continue us.
 */
bool process_stop_self(int signo, bool group);

/* Ends us by the signal of @wait_status, without a core of our own; if it says exited, returns its exit status. */
int process_end_like(int wait_status);
