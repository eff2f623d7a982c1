#pragma once

/*
 * When a worker may be started in place of one that a run has taken, so that its warm-up does not slow down any run. It
 * takes a CPU that nobody uses: all of them may be, once the runs are over for a moment, else one that is seen to be
 * idle. While there is none it waits; but a machine that is never idle must not leave a pool empty for ever, so a
 * fortieth of the CPU time is for warm-ups even then.
 */

#include <stdbool.h>
#include <stdint.h>

/* What a pool has to know of the machine it is on, as of now. */
struct pool_machine {
        uint32_t n_cpus;                   /* that we may use, at least 1 */
        uint32_t n_runs;                   /* that go on, of all pools together */
        uint64_t memory_tight_until_usec;  /* until then idle workers are given back */
        uint64_t memory_scarce_until_usec; /* until then none is started to be idle */
        uint64_t memory_look_usec; /* when somebody has to look whether it is; UINT64_MAX: the kernel will tell */
        /* Is a CPU idle? If so it is taken, and not idle for the next one who asks. */
        bool (*take_idle_cpu)(struct pool_machine *machine, uint64_t now_usec);
};

struct refill {
        uint64_t
                wanted_usec; /* since when one that was taken, or would have been, is missing; UINT64_MAX: none is */
        uint64_t last_run_usec;   /* when a run last came or went */
        uint64_t last_miss_usec;  /* when one last found no worker; nobody tells us of its end */
        uint64_t last_start_usec; /* of a warm-up */
};

void refill_init(struct refill *refill);

/* A run has taken a worker, or would have: one is wanted. */
void refill_want(struct refill *refill, uint64_t now_usec);
/* None is missing any more. */
void refill_done(struct refill *refill);

/*
 * May a warm-up that takes about @warmup_usec (0: not known) start now, in a pool that @is_empty or not? Returns 0 if so,
 * or when to ask again.
 */
uint64_t refill_ask(const struct refill *refill, struct pool_machine *machine, uint64_t warmup_usec, bool is_empty,
                    uint64_t now_usec);
