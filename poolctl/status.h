#pragma once

/* What poold says about itself: the answer to STATUS, whole, as a tree. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/channel.h"
#include "miss.h"

struct status_miss {
        char *reason;
        uint64_t count;
};

struct status_worker {
        pid_t pid;
        char *state;
        uint64_t age_usec, since_usec; /* how long it has been there; and in this state */
        uint64_t warmup_cpu_usec;      /* what it had used when it was ready */
};

/* The strings are its own. */
struct status_pool {
        char *name, *state, *python, *last_error;
        uint32_t size, max_workers, starting, idle, busy, waiting;
        bool is_auto;
        uint64_t hits, recycled;
        uint32_t warmup_p50_ms, warmup_p99_ms, handoff_p50_usec, handoff_p99_usec, wait_p50_usec, wait_p99_usec;
        size_t n_misses, n_workers;
        struct status_miss *misses; /* once it is complete: the most frequent first */
        struct status_worker *workers;
};

/* Zero-initialised is empty. */
struct status {
        pid_t pid;
        char *version, *socket, *state;
        uint64_t uptime_usec;
        size_t n_pools;
        struct status_pool *pools;
};

uint64_t status_count_misses(const struct status_pool *pool);

/* Drops all pools but the one of this name. Returns whether there is one. */
bool status_keep(struct status *status, const char *name);

void status_fini(struct status *status);
#define _cleanup_status_ __attribute__((cleanup(status_fini)))

/*
 * Asks poold. Returns 0 and *ret_status, to be ended with status_fini(); MISS and why, if it could not be asked; or
 * negative, and the person has been told.
 */
int status_ask(struct status *ret_status, struct miss *ret_miss);

/* Both as one, for a command: the person is told in any case. Returns 0 and *ret_status, or the exit status. */
int status_get(struct status *ret_status);
