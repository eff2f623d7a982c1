#pragma once

#include <stdbool.h>

/*
 * Whether this process lets others go first. A worker that warms up is patient: it is SCHED_BATCH with a long time
 * slice, so that whatever else wakes up (a run, for one) preempts it, where Linux 6.12 and later know of slices. No
 * privilege is needed for that, nor for the way back, as it would be from SCHED_IDLE (sched(7)). @nice is the nice value
 * that goes with it, for which there may be no way back: see niceness.h.
 */
void patience_set(bool patient, int nice);

/*
 * Likewise of the calling thread, with no way back. SCHED_IDLE counts only among the processes of one session where
 * those share the CPUs evenly (autogroup, sched(7)); the slice counts among them all, and stays.
 */
void patience_set_for_good(void);
