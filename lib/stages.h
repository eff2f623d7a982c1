#pragma once

/*
 * When a run reached which stage, for whoever measures that. A client whose $POOLD_TRACE is the absolute path of a file
 * has it and its worker append lines there, NAME NANOSECONDS PID, of CLOCK_MONOTONIC; poold's stages, which travel with
 * the run, are among the worker's. What one process passes to another is noted before it is sent, and after it is
 * received. Where nobody asks, nothing is noted. There is one run to a process, so there is one list of stages.
 */

#include <stdbool.h>
#include <stdint.h>

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t stages_now(void);

/* Stages are noted from now on if @path, borrowed until stages_end(), is absolute. NULL is nobody's wish. */
void stages_begin(const char *path);
bool stages_are_noted(void);

/* @name is borrowed as well. */
void stages_note(const char *name);
void stages_note_at(const char *name, uint64_t nsec);

/* Appends what was noted to the file; nothing is noted any more. That this fails is nobody's concern. */
void stages_end(void);
