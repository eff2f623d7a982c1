#pragma once

/* What poold says about itself: the answer to STATUS, whole, as a tree. */

#include <stdint.h>

#include "lib/channel.h"

struct status_miss {
        char *reason;
        uint64_t count;
};

struct status_worker {
        uint32_t pid;
        char *state;
        uint64_t age_usec;
};

/* The strings are its own. */
struct status_pool {
        char *name, *state, *last_error;
        uint32_t size, starting, idle, busy, warmup_ms, handoff_p50_usec, handoff_p99_usec;
        uint64_t hits;
        size_t n_misses, n_workers;
        struct status_miss *misses;
        struct status_worker *workers;
};

/* Zero-initialised is empty. */
struct status {
        uint32_t pid;
        char *version, *socket, *state;
        uint64_t uptime_usec;
        size_t n_pools;
        struct status_pool *pools;
};

void status_fini(struct status *status);
#define _cleanup_status_ __attribute__((cleanup(status_fini)))

/* Positive result of status_add(). */
enum {
        STATUS_COMPLETE = 1,
};

/*
 * Adds what @message (borrowed) says. Returns 0, STATUS_COMPLETE for DONE, -EPROTO if it is no part of an answer
 * or comes out of order, or -ENOMEM.
 */
int status_add(struct status *status, struct message *message);
