#pragma once

/*
 * A worker's life: import what it is told to, wait, become the client's process, run, end. How the interpreter was
 * started is no matter here: it is running, and the calling thread, the only one so far, holds the GIL.
 */

#include <stdint.h>

/*
 * Lives that life, with the fds of keeper.h, which are taken; @started_usec is when the process began
 * (CLOCK_MONOTONIC). Returns the wait status with which the process is to end at once, by job_die(); a child that
 * the script has forked may return from here as well.
 */
int job_main(uint64_t started_usec);

/* Ends the process with @wait_status, as waitpid(2) has it, and without any of C's or Python's own endings. */
_Noreturn void job_die(int wait_status);

/* CLOCK_MONOTONIC in microseconds. */
uint64_t job_now_usec(void);
