#pragma once

/*
 * A pool with its processes: the policy decides, the workers are spawned, handed out, watched and reaped here.
 */

#include <sys/types.h>

#include "config.h"
#include "fit.h"
#include "groups.h"
#include "lib/channel.h"
#include "loop.h"
#include "pool.h"
#include "stats.h"
#include "watch.h"

struct live_pool;

/* Our own programs, by their paths. */
struct programs {
        char *keeper;
        char *script; /* which makes a worker of an interpreter */
};

struct live_pool_settings {
        struct loop *loop;
        struct config *config; /* of which @pool is a part */
        const struct config_pool *pool;
        const struct programs *programs;
        struct watch *watch;
        bool is_default; /* see struct fit_settings */
        struct groups *groups;
        bool may_be_nice; /* a worker that warms up */
        /* Something may be due: call live_pool_turn() of every pool. */
        void (*changed)(void *data);
        void *data;
};

/* What @settings points to is borrowed, but for the configuration, which it gets a share in. NULL: no memory. */
struct live_pool *live_pool_new(const struct live_pool_settings *settings);

/* It is to take the place of @from, and is to be as large as that is needed. */
void live_pool_inherit(struct live_pool *pool, const struct live_pool *from);

/*
 * Goes by @pool of @config from now on, whose workers are the same as those there are. Without memory for that, it
 * goes on as before.
 */
void live_pool_reconfigure(struct live_pool *live, struct config *config, const struct config_pool *pool,
                           bool is_default);

/* Idle workers see it and go; busy ones go on alone. Returns NULL. @pool may be NULL. */
struct live_pool *live_pool_free(struct live_pool *pool);

/* Does what is due, starting at most @n_spawns workers. Returns when to call it again at the latest. */
uint64_t live_pool_turn(struct live_pool *pool, struct pool_machine *machine, uint32_t n_spawns);

/* As fit_has_interpreter(). */
bool live_pool_has_interpreter(const struct live_pool *pool, const struct proto_run *run);

/* As fit_check(). */
int live_pool_check(const struct live_pool *pool, const struct fit_run *candidate, struct decline *ret_miss);

/* Would live_pool_assign() find a worker now? Returns 0, or POOL_EMPTY and why. */
int live_pool_check_idle(const struct live_pool *pool, struct decline *ret_miss);

/*
 * Gives a run to the worker that has been idle longest: @payload is that of RUN, @fds are its fds, and @client is the
 * client's channel, which is the worker's to speak on from then on. All are borrowed. A worker that cannot be reached is
 * replaced by the next.
 * Returns 0; or POOL_EMPTY; or negative errno (-ETOOMANYREFS, -ENOMEM ...), at the cost of one worker, if the run
 * cannot be sent.
 */
int live_pool_assign(struct live_pool *pool, struct channel *client, const struct wire_writer *payload,
                     struct fdset *fds);

/* A run that fits has found no worker, and does not wait for one. */
void live_pool_note_empty(struct live_pool *pool);

/* So many more, or less, runs wait for one of its workers. */
void live_pool_count_waiting(struct live_pool *pool, int n);
uint32_t live_pool_n_waiting(const struct live_pool *pool);

/* No worker is started any more, idle ones leave. */
void live_pool_drain(struct live_pool *pool);

/* Ends every run, as if its client had gone. */
void live_pool_end_runs(struct live_pool *pool);

/* How long its last worker took to start before it imported anything: no python3 is faster. 0: not known. */
uint64_t live_pool_interpreter_usec(const struct live_pool *pool);

const struct config_pool *live_pool_config(const struct live_pool *pool);

/* Sends @signo to the process group of the run whose pid is @pid. Returns whether there is such a run. */
bool live_pool_signal(struct live_pool *pool, pid_t pid, int signo);

/* The interpreter's path. */
const char *live_pool_python(const struct live_pool *pool);

const struct pool *live_pool_policy(const struct live_pool *pool);
struct stats *live_pool_stats(struct live_pool *pool);
/* The same, with what is known now of runs that have been declined after all. */
const struct stats *live_pool_stats_now(struct live_pool *pool);

/* Of a worker that is not dying: its process; since when it is in its state; what its warm-up took of the CPU. */
int member_pid(const struct pool_worker *policy);
uint64_t member_since_usec(const struct pool_worker *policy);
uint64_t member_warmup_cpu_usec(const struct pool_worker *policy);
