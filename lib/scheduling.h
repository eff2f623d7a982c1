#pragma once

/* When a thread runs: its scheduling policy and priorities, see sched(7). */

#include <stdint.h>
#include <sys/types.h>

struct scheduling {
        uint32_t policy;   /* with SCHED_RESET_ON_FORK, as sched_getscheduler(2) has it */
        uint32_t priority; /* of a real-time policy */
        int32_t nice;
};

/* Of @thread, 0 for the calling one. Both return 0 or negative errno. */
int scheduling_get(pid_t thread, struct scheduling *ret_scheduling);

/*
 * Only a policy of normal threads has use for @slice_nsec, how long the thread runs at a time; 0 is the kernel's own
 * choice, as are those before Linux 6.12.
 */
int scheduling_set(pid_t thread, const struct scheduling *scheduling, uint64_t slice_nsec);
