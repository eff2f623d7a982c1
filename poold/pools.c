#include "pools.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "pool.h"
#include "watch.h"

struct slot {
        struct live_pool *pool;
        bool superseded; /* until the one before it with the same name has a worker that is ready */
        bool draining;
};

struct pools {
        struct pools_settings settings;
        struct config *config;
        struct machine *machine;
        struct watch *watch;
        struct loop_source *timer;
        struct slot *slots;
        size_t n_slots;
        size_t first_turn; /* of the slots: the one behind the last that has started a worker */
        bool draining;
};

static void on_timer(void *data, unsigned events) {
        struct pools *pools = data;

        (void)events;
        pools->settings.changed(pools->settings.data);
}

struct pools *pools_new(const struct pools_settings *settings) {
        struct pools *pools = calloc(1, sizeof(*pools));

        if (!pools)
                return NULL;
        pools->settings = *settings;
        pools->timer = loop_add_timer(settings->loop, on_timer, pools);
        pools->machine = machine_new(settings->loop, settings->changed, settings->data);
        pools->watch = watch_new(settings->loop, settings->changed, settings->data);
        return pools->timer && pools->machine && pools->watch ? pools : pools_free(pools);
}

struct pools *pools_free(struct pools *pools) {
        if (!pools)
                return NULL;
        for (size_t i = 0; i < pools->n_slots; i++)
                live_pool_free(pools->slots[i].pool);
        free(pools->slots);
        watch_free(pools->watch);
        loop_source_free(pools->timer);
        machine_free(pools->machine);
        config_unref(pools->config);
        free(pools);
        return NULL;
}

/* --- A new configuration --- */

/* What python3 is for a client without an activated environment: the first pool's interpreter that is of none. */
static const struct interpreter *default_interpreter(const struct config *config) {
        for (size_t i = 0; i < config->n_pools; i++)
                if (!config->pools[i].python.is_environment)
                        return &config->pools[i].python;
        return NULL;
}

static bool is_default(const struct config *config, const struct config_pool *pool) {
        const struct interpreter *of_default = default_interpreter(config);

        return of_default && interpreter_is_same(&pool->python, of_default);
}

static struct live_pool *make_pool(struct pools *pools, struct config *config, const struct config_pool *pool) {
        return live_pool_new(&(struct live_pool_settings){
                .loop = pools->settings.loop,
                .config = config,
                .pool = pool,
                .programs = pools->settings.programs,
                .groups = pools->settings.groups,
                .may_be_nice = pools->settings.may_be_nice,
                .watch = pools->watch,
                .is_default = is_default(config, pool),
                .changed = pools->settings.changed,
                .data = pools->settings.data,
        });
}

static bool is_called(const struct slot *slot, const char *name) {
        return slot->pool && !slot->draining && strcmp(pool_name(live_pool_policy(slot->pool)), name) == 0;
}

/* The slot of a pool whose workers are what @pool wants, or NULL. */
static struct slot *find_same(struct pools *pools, const struct config_pool *pool) {
        for (struct slot *slot = pools->slots; slot < pools->slots + pools->n_slots; slot++)
                if (is_called(slot, pool->name) && config_pool_same_workers(live_pool_config(slot->pool), pool))
                        return slot;
        return NULL;
}

static void drain(struct slot *slot) {
        slot->draining = true;
        live_pool_drain(slot->pool);
}

/* Fills @slots with the pools of @config, new ones where there is no same one. Returns how many, or -ENOMEM. */
static int make_slots(struct pools *pools, struct config *config, struct slot *slots) {
        for (size_t i = 0; i < config->n_pools; i++) {
                const struct config_pool *pool = &config->pools[i];

                if (find_same(pools, pool))
                        continue;
                slots[i].pool = make_pool(pools, config, pool);
                if (slots[i].pool)
                        continue;
                while (i-- > 0)
                        slots[i].pool = live_pool_free(slots[i].pool);
                return -ENOMEM;
        }
        return 0;
}

/* Moves the old slots of the name of @newest to the end of @slots: they serve until that is ready. */
static size_t supersede(struct pools *pools, struct live_pool *newest, struct slot *slots) {
        const char *name = pool_name(live_pool_policy(newest));
        size_t n = 0;

        for (struct slot *slot = pools->slots; slot < pools->slots + pools->n_slots; slot++) {
                if (!is_called(slot, name))
                        continue;
                if (!slot->superseded)
                        live_pool_inherit(newest, slot->pool);
                slot->superseded = true;
                slots[n++] = *slot;
                slot->pool = NULL;
        }
        return n;
}

int pools_configure(struct pools *pools, struct config *config, struct pools_changes *ret_changes) {
        struct slot *fresh = calloc(config->n_pools, sizeof(*fresh));
        struct slot *slots = calloc(config->n_pools + pools->n_slots, sizeof(*slots));
        struct pools_changes changes = { 0 };
        size_t n = 0;

        if (!fresh || !slots || make_slots(pools, config, fresh) < 0) {
                free(fresh);
                free(slots);
                return -ENOMEM;
        }
        for (size_t i = 0; i < config->n_pools; i++) {
                const struct config_pool *pool = &config->pools[i];
                struct slot *same = fresh[i].pool ? NULL : find_same(pools, pool);
                size_t n_older;

                if (same) {
                        slots[n++] = (struct slot){ .pool = same->pool };
                        same->pool = NULL;
                        live_pool_reconfigure(slots[n - 1].pool, config, pool, is_default(config, pool));
                        changes.n_kept++;
                } else {
                        slots[n++] = fresh[i];
                }
                n_older = supersede(pools, slots[n - 1].pool, slots + n);
                n += n_older;
                changes.n_renewed += !same && n_older ? 1 : 0;
                changes.n_new += !same && !n_older ? 1 : 0;
        }
        for (struct slot *slot = pools->slots; slot < pools->slots + pools->n_slots; slot++) {
                if (!slot->pool)
                        continue;
                if (!slot->draining) {
                        drain(slot);
                        changes.n_removed += slot->superseded ? 0 : 1;
                }
                slots[n++] = *slot;
        }
        free(fresh);
        free(pools->slots);
        pools->slots = slots;
        pools->n_slots = n;
        config_unref(pools->config);
        pools->config = config_ref(config);
        *ret_changes = changes;
        return 0;
}

const struct config *pools_config(const struct pools *pools) {
        return pools->config;
}

size_t pools_count(const struct pools *pools) {
        return pools->n_slots;
}

struct live_pool *pools_at(const struct pools *pools, size_t index) {
        return pools->slots[index].pool;
}

uint32_t pools_count_workers(const struct pools *pools, enum pool_worker_state state) {
        uint32_t n = 0;

        for (size_t i = 0; i < pools->n_slots; i++)
                n += pool_count(live_pool_policy(pools->slots[i].pool), state);
        return n;
}

void pools_look_at_files(struct pools *pools) {
        watch_read(pools->watch);
}

/* --- Turns --- */

static bool is_over(const struct slot *slot) {
        const struct pool *policy = live_pool_policy(slot->pool);

        for (enum pool_worker_state state = POOL_STARTING; state < POOL_N_STATES; state++)
                if (pool_count(policy, state))
                        return false;
        return slot->draining;
}

static void free_later(void *pool) {
        live_pool_free(pool);
}

/* Does it serve, as far as it is to? Those who wait may take each of its workers at once. */
static bool has_come_up(const struct slot *slot) {
        const struct pool *policy = live_pool_policy(slot->pool);

        return pool_count(policy, POOL_IDLE) || pool_count(policy, POOL_BUSY) || !pool_size(policy);
}

/* Forgets the pools that are over. */
static void sweep(struct pools *pools) {
        size_t n = 0;

        for (size_t i = 0; i < pools->n_slots; i++) {
                if (!pools->draining && is_over(&pools->slots[i]))
                        loop_defer_free(pools->settings.loop, free_later, pools->slots[i].pool);
                else
                        pools->slots[n++] = pools->slots[i];
        }
        pools->n_slots = n;
}

/* Ends the pools that others have taken the place of. Returns whether there are any. */
static bool end_superseded(struct pools *pools) {
        const struct slot *newest = NULL;
        bool any = false;

        for (struct slot *slot = pools->slots; slot < pools->slots + pools->n_slots; slot++) {
                if (!slot->superseded) {
                        newest = slot;
                } else if (!slot->draining && newest && has_come_up(newest)) {
                        drain(slot);
                        any = true;
                }
        }
        return any;
}

/*
 * Lets a pool start as many workers as may be starting beside those that are, @n_starting in all pools. Returns when it
 * is to go on.
 */
static uint64_t take_turn(struct pools *pools, size_t at, struct pool_machine *machine, uint32_t max_starting,
                          uint32_t *n_starting) {
        struct live_pool *pool = pools->slots[at].pool;
        const uint32_t n_before = pool_count(live_pool_policy(pool), POOL_STARTING);
        const uint64_t next_usec =
                live_pool_turn(pool, machine, *n_starting < max_starting ? max_starting - *n_starting : 0);
        const uint32_t n_after = pool_count(live_pool_policy(pool), POOL_STARTING);

        if (n_after > n_before)
                pools->first_turn = at + 1;
        *n_starting += n_after - n_before;
        return next_usec;
}

/* Those that have nothing get one first, so that none waits for another that takes long. */
static void fill_empty(struct pools *pools, size_t first, struct pool_machine *machine, uint32_t *n_starting) {
        for (size_t i = 0; i < pools->n_slots && *n_starting < pools->config->max_starting; i++) {
                const size_t at = (first + i) % pools->n_slots;
                const struct pool *policy = live_pool_policy(pools->slots[at].pool);

                if (!pool_count(policy, POOL_IDLE) && !pool_count(policy, POOL_STARTING))
                        take_turn(pools, at, machine, *n_starting + 1, n_starting);
        }
}

void pools_turn(struct pools *pools) {
        struct pool_machine *machine =
                machine_look(pools->machine, pools_count_workers(pools, POOL_BUSY), loop_now_usec());
        const size_t first = pools->first_turn; /* in turn, so that none that is always short starves the others */
        uint32_t n_starting;
        uint64_t next_usec;

        sweep(pools);
        /* Runs may wait for one of them: it stays until they have had another turn. */
        next_usec = end_superseded(pools) ? 0 : LOOP_NEVER;
        n_starting = pools_count_workers(pools, POOL_STARTING);
        fill_empty(pools, first, machine, &n_starting);
        for (size_t i = 0; i < pools->n_slots; i++) {
                const uint64_t pool_usec = take_turn(pools, (first + i) % pools->n_slots, machine,
                                                     pools->config->max_starting, &n_starting);

                next_usec = pool_usec < next_usec ? pool_usec : next_usec;
        }
        loop_set_deadline(pools->timer, next_usec);
}

void pools_drain(struct pools *pools) {
        pools->draining = true;
        for (size_t i = 0; i < pools->n_slots; i++)
                drain(&pools->slots[i]);
}

void pools_end_runs(struct pools *pools) {
        for (size_t i = 0; i < pools->n_slots; i++)
                live_pool_end_runs(pools->slots[i].pool);
}
