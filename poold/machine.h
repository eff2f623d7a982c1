#pragma once

/*
 * What pools have to know of the machine: CPUs that are idle, memory that is tight. It is looked at when a pool asks,
 * and the kernel says by itself when memory gets tight: an idle poold has no wake-ups for it.
 */

#include "loop.h"
#include "pool.h"

struct machine;

/* @changed is called when memory has become tight. Returns NULL for lack of memory. */
struct machine *machine_new(struct loop *loop, void (*changed)(void *data), void *data);
/* Returns NULL. @machine may be NULL. */
struct machine *machine_free(struct machine *machine);

/* The machine as it is now, with @n_runs going on. It is @machine's own, and good for one round of pool_run(). */
struct pool_machine *machine_look(struct machine *machine, uint32_t n_runs, uint64_t now_usec);
