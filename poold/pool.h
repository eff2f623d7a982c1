#pragma once

/*
 * The policy of one pool, and nothing but policy: how many workers there should be, which one a run gets, when to start
 * another and when to give one up. It knows no processes and no clock: the time comes in with each call, and what is to
 * be done goes out through `struct pool_actions`, so that its every decision can be tested without a process.
 *
 * A worker is on the list that its state names, and one function moves it between them:
 *
 *     starting -> idle -> busy -> dying -> (forgotten)        any of them -> dying
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "refill.h"

struct pool;

enum pool_worker_state {
        POOL_STARTING, /* spawned, its preload not over */
        POOL_IDLE,     /* waits for a run */
        POOL_BUSY,     /* has a run */
        POOL_DYING,    /* of no more use, its process not reaped */
        POOL_N_STATES,
};

const char *pool_worker_state_name(enum pool_worker_state state);

/* What the policy knows of a worker; embedded in whatever stands for the process. */
struct pool_worker {
        struct pool *pool;
        enum pool_worker_state state;
        uint64_t spawned_usec, ready_usec;
        TAILQ_ENTRY(pool_worker) link;
};
TAILQ_HEAD(pool_worker_list, pool_worker);

struct pool_actions {
        /* Start a worker and pool_add() it. Returns 0, or negative errno, which counts as a failed start. */
        int (*spawn)(struct pool *pool, void *data, uint64_t now_usec);
        /* End a worker that serves no run: it is dying already; pool_remove() it when its process is reaped. */
        void (*dismiss)(struct pool_worker *worker, void *data);
};

struct pool_settings {
        uint32_t min_idle, max_idle; /* workers kept idle: as many as demand asks for in between; equal: so many */
        uint32_t max_workers;        /* cap on starting + idle + busy */
        uint32_t start_timeout_sec;
        uint32_t max_age_sec; /* idle workers older than this are replaced; 0: none is for its age */
};

/* A positive result of pool_take(): there is no idle worker. */
#define POOL_EMPTY 1

/* @name and @actions are borrowed. Returns NULL for lack of memory. */
struct pool *pool_new(const char *name, const struct pool_settings *settings, const struct pool_actions *actions,
                      void *data);
/* The pool must have no workers left. Returns NULL. */
struct pool *pool_free(struct pool *pool);

/* A new worker, now starting. */
void pool_add(struct pool *pool, struct pool_worker *worker, uint64_t now_usec);
/* Its preload is over: now idle. */
void pool_ready(struct pool_worker *worker, uint64_t now_usec);
/* It did not become ready, because of @error (a text for the user, copied): now dying; the next try waits longer. */
void pool_failed(struct pool_worker *worker, const char *error, uint64_t now_usec);
/* Its run is over: now dying. */
void pool_finished(struct pool_worker *worker, uint64_t now_usec);
/*
 * Its process is gone, for whatever reason: forgotten. If it was still starting, or idle since a moment ago, that is a
 * failed start, too, because of @error.
 */
void pool_remove(struct pool_worker *worker, const char *error, uint64_t now_usec);

/* Takes the worker that has been idle longest: now busy. Returns 0, or POOL_EMPTY and no worker. */
int pool_take(struct pool *pool, uint64_t now_usec, struct pool_worker **ret_worker);

/* A run that fits gets no worker, since none is idle, or was while it waited. It is demand all the same. */
void pool_note_miss(struct pool *pool, uint64_t now_usec);

/*
 * So many runs wait for a worker. Those are started for them beyond the pool's size, and without delay.
 */
void pool_set_waiting(struct pool *pool, uint32_t n_waiting);

/*
 * When a worker that is starting can be expected to be idle, for a run with @n_ahead others waiting before it. That may be
 * past, if it takes longer than those before it. UINT64_MAX: none is starting for it, or how long that takes is not known.
 */
uint64_t pool_expected_usec(const struct pool *pool, uint32_t n_ahead);

/*
 * What the workers have loaded has changed: idle and starting ones are dismissed, and others started when this has not
 * been called for a moment. A failing start is tried again then, too: its cause may be gone.
 */
void pool_retire(struct pool *pool, uint64_t now_usec);

/* It is to take the place of @from, and begins with what that knows of demand, if both follow it. */
void pool_inherit(struct pool *pool, const struct pool *from);

/* Other settings hold from now on. */
void pool_reconfigure(struct pool *pool, const struct pool_settings *settings, uint64_t now_usec);

/*
 * Does what is due: gives up workers that take too long to start, starts those that are missing, at most @n_spawns, and
 * gives back those that are too many. Returns when it wants to be called again at the latest, or UINT64_MAX.
 */
uint64_t pool_run(struct pool *pool, struct pool_machine *machine, uint32_t n_spawns, uint64_t now_usec);

/* From now on no worker is started; idle and starting ones are dismissed. */
void pool_drain(struct pool *pool);

const char *pool_name(const struct pool *pool);
/* "ready", "warming", "degraded" (the last start failed) or "stopping". */
const char *pool_state_name(const struct pool *pool);
bool pool_is_failing(const struct pool *pool);
/* How many starts have failed since the last good one. */
uint32_t pool_failures(const struct pool *pool);
bool pool_is_draining(const struct pool *pool);
/* How many workers it wants idle at present, not counting those that runs wait for. */
uint32_t pool_size(const struct pool *pool);
uint32_t pool_count(const struct pool *pool, enum pool_worker_state state);
/* Those in one state, in the order in which they entered it. */
const struct pool_worker_list *pool_workers(const struct pool *pool, enum pool_worker_state state);
/* From spawn to ready, the median of the last few workers; 0 as long as there was none. */
uint32_t pool_warmup_ms(const struct pool *pool);
/* How many starts have failed so far. */
uint64_t pool_failed_starts(const struct pool *pool);
/* Why the last start failed; "" if it did not. */
const char *pool_last_error(const struct pool *pool);
