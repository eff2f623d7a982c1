#pragma once

/*
 * Workers whose run has ended go one after the other. Most of it is the kernel's work, which takes back the memory of all
 * that was imported: 10 ms for torch. Where the CPUs are shared evenly among sessions (autogroup, sched(7)), and each
 * worker leads one, several that end at once leave little to the runs that follow, however low their priorities.
 *
 * Waits, a tenth of a second at most, until no other worker of this user's ends, and has the turn until the process is
 * gone. Other threads must have been stopped. Signals stay blocked, and the process is in the root folder. Somebody who
 * takes the address, which has no owner, delays an end by as much, and no more.
 */
void turn_take(void);
