#pragma once

/*
 * Workers that end one after the other. A worker's end is mostly the kernel's, which takes back the memory of all that
 * was imported: 10 ms for torch. Where the CPUs are shared evenly among sessions (autogroup, sched(7)), and each worker
 * leads one, several that end at once leave little to the runs that follow, however low their priorities.
 */

/* What must not run on while its process waits: to be called when the threads are those of the modules only. */
void turn_note_threads(void);

/*
 * Waits, half a second at most, until no other worker of this user's waits to end or ends, and has the turn until the
 * process is gone. Returns at once if it has more threads than were noted: the script's, which end with it.
 */
void turn_take(void);
