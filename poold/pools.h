#pragma once

/*
 * All pools, in the configuration's order, and what they share: how many workers may warm up at once, and what a new
 * configuration does to them. A pool whose workers would be others is made anew, and serves beside the old one until
 * it has a worker that is ready; one that is not to be any more ends with its last run.
 */

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "live_pool.h"

struct pools;

struct pools_settings {
        struct loop *loop;
        const struct programs *programs;
        struct groups *groups;
        bool may_be_nice; /* a worker that warms up */
        /* Something may be due: call pools_turn(). */
        void (*changed)(void *data);
        void *data;
};

/* What @settings points to is borrowed. Returns NULL for lack of memory. */
struct pools *pools_new(const struct pools_settings *settings);
/* Idle workers see it and go; busy ones go on alone. Returns NULL. @pools may be NULL. */
struct pools *pools_free(struct pools *pools);

/* What pools_configure() has done. */
struct pools_changes {
        size_t n_kept, n_renewed, n_new, n_removed;
};

/* From now on the pools are those of @config. Returns 0, or -ENOMEM, and all is as it was. */
int pools_configure(struct pools *pools, struct config *config, struct pools_changes *ret_changes);

const struct config *pools_config(const struct pools *pools);

/* The number of those there are, and one of them, in the order in which they are tried. */
size_t pools_count(const struct pools *pools);
struct live_pool *pools_at(const struct pools *pools, size_t index);

uint32_t pools_count_workers(const struct pools *pools, enum pool_worker_state state);

/* Gives up the workers whose files have changed up to now. To be called before one is chosen. */
void pools_look_at_files(struct pools *pools);

/* Lets every pool do what is due. Calls `changed` again when it is time. */
void pools_turn(struct pools *pools);

/* No worker is started any more, idle ones leave. */
void pools_drain(struct pools *pools);
/* Ends every run, as if its client had gone. */
void pools_end_runs(struct pools *pools);
