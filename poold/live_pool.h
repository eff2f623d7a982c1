#pragma once

/*
 * A pool with its processes: the policy decides, the workers are spawned, handed out, watched and reaped here.
 */

#include "config.h"
#include "fit.h"
#include "lib/channel.h"
#include "loop.h"
#include "pool.h"
#include "stats.h"

struct live_pool;

/* Our own programs, by their paths. */
struct programs {
        char *keeper;
        char *script; /* which makes a worker of an interpreter */
};

struct live_pool_settings {
        struct loop *loop;
        const struct config_pool *config;
        const struct programs *programs;
        bool is_default; /* see struct fit_settings */
        /* Something may be due: call live_pool_turn() of every pool. */
        void (*changed)(void *data);
        void *data;
};

/* What @settings points to is borrowed. Returns NULL for lack of memory. */
struct live_pool *live_pool_new(const struct live_pool_settings *settings);

/* Idle workers see it and go; busy ones go on alone. Returns NULL. @pool may be NULL. */
struct live_pool *live_pool_free(struct live_pool *pool);

/* Does what is due, starting at most @n_spawns workers. Returns when to call it again at the latest. */
uint64_t live_pool_turn(struct live_pool *pool, struct pool_machine *machine, uint32_t n_spawns);

/* As fit_has_interpreter(). */
bool live_pool_has_interpreter(const struct live_pool *pool, const struct proto_run *run);

/* As fit_check(). */
int live_pool_check(const struct live_pool *pool, const struct proto_run *run, struct decline *ret_miss);

/* Would live_pool_assign() find a worker now? Returns 0, or POOL_EMPTY and why. */
int live_pool_check_idle(const struct live_pool *pool, struct decline *ret_miss);

/*
 * Gives a run to the worker that has been idle longest: @payload is that of RUN, @fds are its fds, and @client is the
 * client's channel, which is the worker's to speak on from then on. All are borrowed. A worker that cannot be reached is
 * replaced by the next.
 * Returns 0; or POOL_EMPTY and why; or negative errno (-ETOOMANYREFS, -ENOMEM ...), at the cost of one worker, if the
 * run cannot be sent.
 */
int live_pool_assign(struct live_pool *pool, struct channel *client, const struct wire_writer *payload,
                     struct fdset *fds, struct decline *ret_miss);

/* No worker is started any more, idle ones leave. */
void live_pool_drain(struct live_pool *pool);

/* Ends every run, as if its client had gone. */
void live_pool_end_runs(struct live_pool *pool);

/* The interpreter's path. */
const char *live_pool_python(const struct live_pool *pool);

const struct pool *live_pool_policy(const struct live_pool *pool);
struct stats *live_pool_stats(struct live_pool *pool);
/* The same, with what is known now of runs that have been declined after all. */
const struct stats *live_pool_stats_now(struct live_pool *pool);
int member_pid(const struct pool_worker *policy);
