#include "pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "demand.h"
#include "usec.h"
#include "warmup.h"

#define SEC_USEC UINT64_C(1000000)
#define MSEC_USEC UINT64_C(1000)
#define NEVER UINT64_MAX

/* Workers that end idle within this have modules that crash: that is a failed start, too. */
#define PROOF_USEC (10 * SEC_USEC)

/* The pause after a failed start; doubled with each further one. */
#define RETRY_FIRST_USEC (1 * SEC_USEC)
#define RETRY_LONGEST_USEC (60 * SEC_USEC)

/* After pool_retire(), others are started when all has been quiet for this long, and at the latest after that. */
#define RETIRE_QUIET_USEC (500 * MSEC_USEC)
#define RETIRE_PATIENCE_USEC (30 * SEC_USEC)

/* Between two workers that are given back: they were useful not long ago, and may be so again. */
#define SHRINK_PAUSE_USEC (2 * SEC_USEC)
#define SHRINK_PAUSE_TIGHT_USEC (500 * MSEC_USEC)

struct pool {
        const char *name;
        struct pool_settings settings;
        const struct pool_actions *actions;
        void *data;

        struct pool_worker_list workers[POOL_N_STATES];
        uint32_t n_workers[POOL_N_STATES];

        uint32_t size; /* how many are to be idle */
        uint32_t n_waiting;
        struct demand *demand; /* NULL: the size is fixed */
        struct warmup warmup;
        struct refill refill;
        uint64_t last_shrink_usec;

        uint64_t n_failed_starts; /* ever */
        uint32_t n_failures;      /* failed starts since the last good one */
        uint32_t n_crashes;       /* workers that ended soon after they were ready, since one proved to be good */
        uint64_t retry_usec;      /* no start before this */
        uint64_t retired_since_usec; /* the first pool_retire() of those that came in a row */
        uint64_t retired_usec;       /* the last one */
        char *last_error;
        bool draining;
};

static const char *const state_names[] = {
        [POOL_STARTING] = "starting",
        [POOL_IDLE] = "idle",
        [POOL_BUSY] = "busy",
        [POOL_DYING] = "dying",
};

const char *pool_worker_state_name(enum pool_worker_state state) {
        return state_names[state];
}

/* Remembers demand as far as the settings ask for it, and keeps the size within their bounds. */
static int set_size(struct pool *pool) {
        const struct pool_settings *settings = &pool->settings;
        struct demand *demand = NULL;

        if (settings->min_idle < settings->max_idle) {
                demand = demand_new(settings->max_idle);
                if (!demand)
                        return -ENOMEM;
                if (pool->demand)
                        demand_copy(demand, pool->demand);
        }
        demand_free(pool->demand);
        pool->demand = demand;
        pool->size = pool->size < settings->min_idle ? settings->min_idle : pool->size;
        pool->size = pool->size > settings->max_idle ? settings->max_idle : pool->size;
        return 0;
}

struct pool *pool_new(const char *name, const struct pool_settings *settings, const struct pool_actions *actions,
                      void *data) {
        struct pool *pool = calloc(1, sizeof(*pool));

        if (!pool)
                return NULL;
        pool->name = name;
        pool->settings = *settings;
        pool->actions = actions;
        pool->data = data;
        refill_init(&pool->refill);
        for (size_t i = 0; i < POOL_N_STATES; i++)
                TAILQ_INIT(&pool->workers[i]);
        return set_size(pool) == 0 ? pool : pool_free(pool);
}

struct pool *pool_free(struct pool *pool) {
        if (!pool)
                return NULL;
        for (size_t i = 0; i < POOL_N_STATES; i++)
                assert(TAILQ_EMPTY(&pool->workers[i]));
        demand_free(pool->demand);
        free(pool->last_error);
        free(pool);
        return NULL;
}

static void leave(struct pool_worker *worker) {
        struct pool *pool = worker->pool;

        TAILQ_REMOVE(&pool->workers[worker->state], worker, link);
        pool->n_workers[worker->state]--;
}

static void enter(struct pool_worker *worker, enum pool_worker_state state) {
        struct pool *pool = worker->pool;

        worker->state = state;
        TAILQ_INSERT_TAIL(&pool->workers[state], worker, link);
        pool->n_workers[state]++;
}

/* The only way from one state to another. */
static void move(struct pool_worker *worker, enum pool_worker_state from, enum pool_worker_state to) {
        assert(worker->state == from);
        leave(worker);
        enter(worker, to);
}

static void dismiss(struct pool_worker *worker) {
        move(worker, worker->state, POOL_DYING);
        worker->pool->actions->dismiss(worker, worker->pool->data);
}

/* Notes that a start has failed, and when the next may be. */
static void note_failure(struct pool *pool, const char *error, uint64_t now_usec) {
        uint64_t pause_usec = RETRY_LONGEST_USEC;

        if (pool->n_failures < 6)
                pause_usec = RETRY_FIRST_USEC << pool->n_failures;
        pool->n_failures++;
        pool->n_failed_starts++;
        pool->retry_usec = now_usec + (pause_usec < RETRY_LONGEST_USEC ? pause_usec : RETRY_LONGEST_USEC);
        free(pool->last_error);
        pool->last_error = strdup(error);
}

void pool_add(struct pool *pool, struct pool_worker *worker, uint64_t now_usec) {
        worker->pool = pool;
        worker->spawned_usec = now_usec;
        enter(worker, POOL_STARTING);
}

/* A worker has proved to be good. */
static void note_success(struct pool *pool) {
        pool->n_failures = 0;
        pool->n_crashes = 0;
        pool->retry_usec = 0;
        free(pool->last_error);
        pool->last_error = NULL;
}

void pool_ready(struct pool_worker *worker, uint64_t now_usec) {
        struct pool *pool = worker->pool;

        move(worker, POOL_STARTING, POOL_IDLE);
        worker->ready_usec = now_usec;
        warmup_note(&pool->warmup, now_usec - worker->spawned_usec);
        if (!pool->n_crashes)
                note_success(pool);
}

void pool_failed(struct pool_worker *worker, const char *error, uint64_t now_usec) {
        move(worker, POOL_STARTING, POOL_DYING);
        note_failure(worker->pool, error, now_usec);
}

void pool_finished(struct pool_worker *worker, uint64_t now_usec) {
        move(worker, POOL_BUSY, POOL_DYING);
        worker->pool->refill.last_run_usec = now_usec;
}

void pool_remove(struct pool_worker *worker, const char *error, uint64_t now_usec) {
        if (worker->state == POOL_STARTING)
                note_failure(worker->pool, error, now_usec);
        /* Once may be somebody's kill, again are modules that crash. */
        if (worker->state == POOL_IDLE && now_usec - worker->ready_usec < PROOF_USEC && worker->pool->n_crashes++)
                note_failure(worker->pool, error, now_usec);
        if (worker->state == POOL_BUSY)
                worker->pool->refill.last_run_usec = now_usec;
        leave(worker);
}

/* For how long a replacement is on its way. */
static uint64_t expected_warmup_usec(const struct pool *pool) {
        uint64_t usec = warmup_usec(&pool->warmup);

        return usec ? usec : SEC_USEC;
}

static void note_demand(struct pool *pool, uint64_t now_usec) {
        if (pool->demand)
                demand_note(pool->demand, expected_warmup_usec(pool), now_usec);
}

int pool_take(struct pool *pool, uint64_t now_usec, struct pool_worker **ret_worker) {
        struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_IDLE]);

        if (!worker)
                return POOL_EMPTY;
        move(worker, POOL_IDLE, POOL_BUSY);
        if (pool->n_crashes)
                note_success(pool);
        note_demand(pool, now_usec);
        refill_want(&pool->refill, now_usec);
        pool->refill.last_run_usec = now_usec;
        *ret_worker = worker;
        return 0;
}

void pool_note_miss(struct pool *pool, uint64_t now_usec) {
        note_demand(pool, now_usec);
        refill_want(&pool->refill, now_usec);
        pool->refill.last_miss_usec = now_usec;
}

void pool_set_waiting(struct pool *pool, uint32_t n_waiting) {
        pool->n_waiting = n_waiting;
}

/* --- What is due --- */

static uint32_t count_spares(const struct pool *pool) {
        return pool->n_workers[POOL_IDLE] + pool->n_workers[POOL_STARTING];
}

static uint32_t count_living(const struct pool *pool) {
        return count_spares(pool) + pool->n_workers[POOL_BUSY];
}

/* When the time of the worker that has been starting longest is up. */
static uint64_t start_timeout_usec(const struct pool *pool) {
        const struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_STARTING]);

        return worker ? worker->spawned_usec + pool->settings.start_timeout_sec * SEC_USEC : NEVER;
}

/* When the oldest worker of a pool with crashes will have lived long enough. */
static uint64_t proof_usec(const struct pool *pool) {
        const struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_IDLE]);

        return pool->n_crashes && worker ? worker->ready_usec + PROOF_USEC : NEVER;
}

/* When the worker that has been idle longest is too old. */
static uint64_t aged_usec(const struct pool *pool) {
        const struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_IDLE]);

        if (!worker || !pool->settings.max_age_sec)
                return NEVER;
        return worker->ready_usec + pool->settings.max_age_sec * SEC_USEC;
}

/* When those may be started that pool_retire() has left to be. */
static uint64_t retire_due_usec(const struct pool *pool) {
        return earlier(pool->retired_usec + RETIRE_QUIET_USEC, pool->retired_since_usec + RETIRE_PATIENCE_USEC);
}

/* Follows demand. Returns when it may have changed by itself. */
static uint64_t resize(struct pool *pool, const struct pool_machine *machine, uint64_t now_usec) {
        uint64_t until_usec;

        if (!pool->demand)
                return NEVER;
        pool->size = demand_spares(pool->demand, expected_warmup_usec(pool), now_usec, &until_usec);
        if (pool->size <= pool->settings.min_idle) {
                pool->size = pool->settings.min_idle;
                until_usec = NEVER;
        }
        if (now_usec < machine->memory_scarce_until_usec) {
                pool->size = 0;
                until_usec = machine->memory_scarce_until_usec;
        }
        return until_usec;
}

/* How many workers are missing and allowed. After a failure one at a time is tried. */
static uint32_t count_missing(const struct pool *pool, uint64_t now_usec) {
        uint32_t n_wanted = pool->size + pool->n_waiting + (now_usec >= aged_usec(pool) ? 1 : 0);
        uint32_t n_spares = count_spares(pool), n_living = count_living(pool);
        uint32_t n_missing = n_wanted > n_spares ? n_wanted - n_spares : 0;
        uint32_t n_allowed = pool->settings.max_workers > n_living ? pool->settings.max_workers - n_living : 0;

        if (pool->n_failures) {
                n_missing = n_missing ? 1 : 0;
                n_allowed = pool->n_workers[POOL_STARTING] ? 0 : n_allowed;
        }
        return n_missing < n_allowed ? n_missing : n_allowed;
}

/* May one more be started? Returns 0, or when to ask again. Those that wait for it have no run to be slowed down. */
static uint64_t ask_refill(const struct pool *pool, struct pool_machine *machine, uint64_t now_usec) {
        const uint64_t barred_until_usec = later(pool->retry_usec, retire_due_usec(pool));

        if (now_usec < barred_until_usec)
                return barred_until_usec;
        if (pool->n_waiting > pool->n_workers[POOL_STARTING])
                return 0;
        return refill_ask(&pool->refill, machine, warmup_usec(&pool->warmup), !count_spares(pool), now_usec);
}

/* Starts what is missing. Returns when to go on. */
static uint64_t fill(struct pool *pool, struct pool_machine *machine, uint32_t n_spawns, uint64_t now_usec) {
        uint32_t n_missing = count_missing(pool, now_usec);

        if (n_missing && now_usec >= aged_usec(pool))
                refill_want(&pool->refill, now_usec);
        for (; n_missing && n_spawns; n_missing--, n_spawns--) {
                uint64_t again_usec = ask_refill(pool, machine, now_usec);
                int r;

                if (again_usec)
                        return again_usec;
                r = pool->actions->spawn(pool, pool->data, now_usec);
                if (r < 0) {
                        note_failure(pool, strerror(-r), now_usec);
                        return pool->retry_usec;
                }
                pool->refill.last_start_usec = now_usec;
        }
        if (count_spares(pool) >= pool->size)
                refill_done(&pool->refill);
        return NEVER; /* if some are still missing: a worker that is starting makes room when it is ready or gone */
}

/* A worker that is too old goes when its replacement is there, or at once if there is no room for both. */
static void replace_aged(struct pool *pool, uint64_t now_usec) {
        const bool has_room = count_living(pool) < pool->settings.max_workers;
        const bool is_replaced = pool->n_workers[POOL_IDLE] > pool->size + pool->n_waiting;

        if (now_usec >= aged_usec(pool) &&
            (is_replaced || (!has_room && !pool->n_failures && !pool->n_workers[POOL_STARTING])))
                dismiss(TAILQ_FIRST(&pool->workers[POOL_IDLE]));
}

/*
 * When the next idle worker may be given back: because there are too many of them, or because memory is tight. Pools
 * that have just had a run are spared then, those that follow no demand always.
 */
static uint64_t shrink_due_usec(const struct pool *pool, const struct pool_machine *machine, uint64_t now_usec) {
        uint32_t n_idle = pool->n_workers[POOL_IDLE];

        if (n_idle && pool->demand && now_usec < machine->memory_scarce_until_usec)
                return now_usec < machine->memory_tight_until_usec
                               ? later(pool->last_shrink_usec + SHRINK_PAUSE_TIGHT_USEC,
                                       pool->refill.last_run_usec + SHRINK_PAUSE_USEC)
                               : NEVER;
        return n_idle > pool->size + pool->n_waiting ? pool->last_shrink_usec + SHRINK_PAUSE_USEC : NEVER;
}

/* Gives back what is too much, one by one. Returns when to go on. */
static uint64_t shrink(struct pool *pool, const struct pool_machine *machine, uint64_t now_usec) {
        if (now_usec >= shrink_due_usec(pool, machine, now_usec)) {
                dismiss(TAILQ_FIRST(&pool->workers[POOL_IDLE]));
                pool->last_shrink_usec = now_usec;
        }
        return shrink_due_usec(pool, machine, now_usec);
}

uint64_t pool_run(struct pool *pool, struct pool_machine *machine, uint32_t n_spawns, uint64_t now_usec) {
        uint64_t next_usec;

        if (pool->draining)
                return NEVER;
        if (now_usec >= proof_usec(pool))
                note_success(pool);
        while (now_usec >= start_timeout_usec(pool)) {
                note_failure(pool, "the modules were not imported within start_timeout", now_usec);
                dismiss(TAILQ_FIRST(&pool->workers[POOL_STARTING]));
        }
        next_usec = resize(pool, machine, now_usec);
        replace_aged(pool, now_usec);
        next_usec = earlier(next_usec, shrink(pool, machine, now_usec));
        next_usec = earlier(next_usec, fill(pool, machine, n_spawns, now_usec));
        if (now_usec < aged_usec(pool))
                next_usec = earlier(next_usec, aged_usec(pool));
        if (pool->demand && pool->n_workers[POOL_IDLE])
                next_usec = earlier(next_usec, machine->memory_look_usec);
        return earlier(next_usec, earlier(start_timeout_usec(pool), proof_usec(pool)));
}

/* --- Orders --- */

static void dismiss_all(struct pool *pool) {
        while (!TAILQ_EMPTY(&pool->workers[POOL_IDLE]))
                dismiss(TAILQ_FIRST(&pool->workers[POOL_IDLE]));
        while (!TAILQ_EMPTY(&pool->workers[POOL_STARTING]))
                dismiss(TAILQ_FIRST(&pool->workers[POOL_STARTING]));
}

void pool_retire(struct pool *pool, uint64_t now_usec) {
        if (now_usec >= retire_due_usec(pool))
                pool->retired_since_usec = now_usec;
        pool->retired_usec = now_usec;
        pool->retry_usec = 0;
        refill_want(&pool->refill, now_usec);
        dismiss_all(pool);
}

void pool_inherit(struct pool *pool, const struct pool *from) {
        if (!pool->demand || !from->demand)
                return;
        demand_copy(pool->demand, from->demand);
        pool->size = from->size < pool->settings.min_idle ? pool->settings.min_idle : from->size;
        pool->size = pool->size > pool->settings.max_idle ? pool->settings.max_idle : pool->size;
}

void pool_reconfigure(struct pool *pool, const struct pool_settings *settings, uint64_t now_usec) {
        pool->settings = *settings;
        pool->retry_usec = 0; /* whoever asks for it may have removed what made workers fail */
        set_size(pool);       /* without memory for demand, the size stays what it is within the bounds */
        if (count_spares(pool) < pool->size)
                refill_want(&pool->refill, now_usec);
        while (count_spares(pool) > settings->max_idle + pool->n_waiting ||
               (count_spares(pool) && count_living(pool) > settings->max_workers)) {
                struct pool_worker *worker = TAILQ_LAST(&pool->workers[POOL_STARTING], pool_worker_list);

                dismiss(worker ? worker : TAILQ_FIRST(&pool->workers[POOL_IDLE]));
        }
}

void pool_drain(struct pool *pool) {
        pool->draining = true;
        dismiss_all(pool);
}

/* --- Questions --- */

uint64_t pool_expected_usec(const struct pool *pool, uint32_t n_ahead) {
        const struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_STARTING]);
        uint64_t usec = warmup_usec(&pool->warmup);

        while (worker && n_ahead--)
                worker = TAILQ_NEXT(worker, link);
        return worker && usec && !pool->n_failures ? worker->spawned_usec + usec : NEVER;
}

const char *pool_name(const struct pool *pool) {
        return pool->name;
}

const char *pool_state_name(const struct pool *pool) {
        if (pool->draining)
                return "stopping";
        if (pool->n_failures)
                return "degraded";
        return pool->n_workers[POOL_IDLE] || !pool->size ? "ready" : "warming";
}

bool pool_is_failing(const struct pool *pool) {
        return pool->n_failures > 0;
}

uint32_t pool_failures(const struct pool *pool) {
        return pool->n_failures;
}

bool pool_is_draining(const struct pool *pool) {
        return pool->draining;
}

uint32_t pool_size(const struct pool *pool) {
        return pool->size;
}

uint32_t pool_count(const struct pool *pool, enum pool_worker_state state) {
        return pool->n_workers[state];
}

const struct pool_worker_list *pool_workers(const struct pool *pool, enum pool_worker_state state) {
        return &pool->workers[state];
}

uint32_t pool_warmup_ms(const struct pool *pool) {
        return (uint32_t)(warmup_usec(&pool->warmup) / MSEC_USEC);
}

uint64_t pool_failed_starts(const struct pool *pool) {
        return pool->n_failed_starts;
}

const char *pool_last_error(const struct pool *pool) {
        return pool->last_error ? pool->last_error : "";
}
