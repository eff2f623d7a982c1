#include "pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SEC_USEC UINT64_C(1000000)
#define MSEC_USEC UINT64_C(1000)
#define NEVER UINT64_MAX

/*
 * Replacements are not started while the run that took the worker may still be short: a warm-up would take its CPU.
 * They wait until no run has come or gone for REFILL_QUIET and none goes on, at most REFILL_PATIENCE.
 */
#define REFILL_QUIET_USEC (20 * MSEC_USEC)
#define REFILL_PATIENCE_USEC (250 * MSEC_USEC)

/* Workers that end idle within this have modules that crash: that is a failed start, too. */
#define PROOF_USEC (10 * SEC_USEC)

/* The pause after a failed start; doubled with each further one. */
#define RETRY_FIRST_USEC (1 * SEC_USEC)
#define RETRY_LONGEST_USEC (60 * SEC_USEC)

struct pool {
        const char *name;
        struct pool_settings settings;
        const struct pool_actions *actions;
        void *data;

        struct pool_worker_list workers[POOL_N_STATES];
        uint32_t n_workers[POOL_N_STATES];

        uint64_t wanting_since_usec; /* the first run that took a worker not yet replaced; NEVER: none */
        uint64_t last_run_usec;      /* when a run last came or went */
        uint64_t n_failed_starts;    /* ever */
        uint32_t n_failures;         /* failed starts since the last good one */
        uint32_t n_crashes;  /* workers that ended soon after they were ready, since one proved to be good */
        uint64_t retry_usec; /* no start before this */
        uint32_t warmup_ms;
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

struct pool *pool_new(const char *name, const struct pool_settings *settings, const struct pool_actions *actions,
                      void *data) {
        struct pool *pool = calloc(1, sizeof(*pool));

        if (!pool)
                return NULL;
        pool->name = name;
        pool->settings = *settings;
        pool->actions = actions;
        pool->data = data;
        pool->wanting_since_usec = NEVER;
        for (size_t i = 0; i < POOL_N_STATES; i++)
                TAILQ_INIT(&pool->workers[i]);
        return pool;
}

struct pool *pool_free(struct pool *pool) {
        if (!pool)
                return NULL;
        for (size_t i = 0; i < POOL_N_STATES; i++)
                assert(TAILQ_EMPTY(&pool->workers[i]));
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
        pool->warmup_ms = (uint32_t)((now_usec - worker->spawned_usec) / MSEC_USEC);
        if (!pool->n_crashes)
                note_success(pool);
}

void pool_failed(struct pool_worker *worker, const char *error, uint64_t now_usec) {
        move(worker, POOL_STARTING, POOL_DYING);
        note_failure(worker->pool, error, now_usec);
}

void pool_finished(struct pool_worker *worker, uint64_t now_usec) {
        move(worker, POOL_BUSY, POOL_DYING);
        worker->pool->last_run_usec = now_usec;
}

void pool_remove(struct pool_worker *worker, const char *error, uint64_t now_usec) {
        if (worker->state == POOL_STARTING)
                note_failure(worker->pool, error, now_usec);
        /* Once may be somebody's kill, again are modules that crash. */
        if (worker->state == POOL_IDLE && now_usec - worker->ready_usec < PROOF_USEC && worker->pool->n_crashes++)
                note_failure(worker->pool, error, now_usec);
        if (worker->state == POOL_BUSY)
                worker->pool->last_run_usec = now_usec;
        leave(worker);
}

int pool_take(struct pool *pool, uint64_t now_usec, struct pool_worker **ret_worker) {
        struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_IDLE]);

        if (!worker)
                return POOL_EMPTY;
        move(worker, POOL_IDLE, POOL_BUSY);
        if (pool->n_crashes)
                note_success(pool);
        pool->last_run_usec = now_usec;
        if (pool->wanting_since_usec == NEVER)
                pool->wanting_since_usec = now_usec;
        *ret_worker = worker;
        return 0;
}

/* When the time of the worker that has been starting longest is up. */
static uint64_t start_timeout_usec(const struct pool *pool) {
        const struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_STARTING]);

        return worker ? worker->spawned_usec + pool->settings.start_timeout_sec * SEC_USEC : NEVER;
}

/* When missing workers may be started. */
static uint64_t refill_due_usec(const struct pool *pool) {
        uint64_t due_usec = 0;

        if (pool->wanting_since_usec != NEVER) {
                due_usec = pool->wanting_since_usec + REFILL_PATIENCE_USEC;
                if (!pool->n_workers[POOL_BUSY] && pool->last_run_usec + REFILL_QUIET_USEC < due_usec)
                        due_usec = pool->last_run_usec + REFILL_QUIET_USEC;
        }
        return due_usec > pool->retry_usec ? due_usec : pool->retry_usec;
}

/* How many workers are missing and allowed. After a failure one at a time is tried. */
static uint32_t count_missing(const struct pool *pool) {
        uint32_t n_spares = pool->n_workers[POOL_IDLE] + pool->n_workers[POOL_STARTING];
        uint32_t n_all = n_spares + pool->n_workers[POOL_BUSY];
        uint32_t wanted = pool->settings.max_idle > n_spares ? pool->settings.max_idle - n_spares : 0;
        uint32_t allowed = pool->settings.max_workers > n_all ? pool->settings.max_workers - n_all : 0;

        if (pool->n_failures) {
                wanted = wanted ? 1 : 0;
                allowed = pool->n_workers[POOL_STARTING] ? 0 : allowed;
        }
        return wanted < allowed ? wanted : allowed;
}

static uint64_t refill(struct pool *pool, uint32_t n_spawns, uint64_t now_usec) {
        uint32_t n_missing = count_missing(pool);

        if (n_missing && now_usec < refill_due_usec(pool))
                return refill_due_usec(pool);
        for (; n_missing && n_spawns; n_missing--, n_spawns--) {
                int r = pool->actions->spawn(pool, pool->data, now_usec);

                if (r < 0) {
                        note_failure(pool, strerror(-r), now_usec);
                        return pool->retry_usec;
                }
        }
        if (!n_missing)
                pool->wanting_since_usec = NEVER;
        return NEVER; /* if some are still missing: a worker that is starting makes room when it is ready or gone */
}

/* When the oldest worker of a pool with crashes will have lived long enough. */
static uint64_t proof_usec(const struct pool *pool) {
        const struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_IDLE]);

        return pool->n_crashes && worker ? worker->ready_usec + PROOF_USEC : NEVER;
}

static uint64_t earlier(uint64_t a_usec, uint64_t b_usec) {
        return a_usec < b_usec ? a_usec : b_usec;
}

uint64_t pool_run(struct pool *pool, struct pool_machine *machine, uint32_t n_spawns, uint64_t now_usec) {
        uint64_t refill_usec;

        (void)machine;
        if (pool->draining)
                return NEVER;
        if (now_usec >= proof_usec(pool))
                note_success(pool);
        while (now_usec >= start_timeout_usec(pool)) {
                note_failure(pool, "the modules were not imported within start_timeout", now_usec);
                dismiss(TAILQ_FIRST(&pool->workers[POOL_STARTING]));
        }
        refill_usec = refill(pool, n_spawns, now_usec);
        return earlier(refill_usec, earlier(start_timeout_usec(pool), proof_usec(pool)));
}

void pool_note_miss(struct pool *pool, uint64_t now_usec) {
        (void)pool;
        (void)now_usec;
}

void pool_set_waiting(struct pool *pool, uint32_t n_waiting) {
        (void)pool;
        (void)n_waiting;
}

uint64_t pool_expected_usec(const struct pool *pool, uint32_t n_ahead) {
        const struct pool_worker *worker = TAILQ_FIRST(&pool->workers[POOL_STARTING]);

        while (worker && n_ahead--)
                worker = TAILQ_NEXT(worker, link);
        if (!worker || !pool->warmup_ms)
                return NEVER;
        return worker->spawned_usec + pool->warmup_ms * MSEC_USEC;
}

static void dismiss_all(struct pool *pool) {
        while (!TAILQ_EMPTY(&pool->workers[POOL_IDLE]))
                dismiss(TAILQ_FIRST(&pool->workers[POOL_IDLE]));
        while (!TAILQ_EMPTY(&pool->workers[POOL_STARTING]))
                dismiss(TAILQ_FIRST(&pool->workers[POOL_STARTING]));
}

void pool_retire(struct pool *pool, uint64_t now_usec) {
        pool->retry_usec = now_usec;
        dismiss_all(pool);
}

void pool_reconfigure(struct pool *pool, const struct pool_settings *settings, uint64_t now_usec) {
        (void)now_usec;
        pool->settings = *settings;
}

void pool_drain(struct pool *pool) {
        pool->draining = true;
        dismiss_all(pool);
}

const char *pool_name(const struct pool *pool) {
        return pool->name;
}

const char *pool_state_name(const struct pool *pool) {
        if (pool->draining)
                return "stopping";
        if (pool->n_failures)
                return "degraded";
        return pool->n_workers[POOL_IDLE] || !pool->settings.max_idle ? "ready" : "warming";
}

bool pool_is_failing(const struct pool *pool) {
        return pool->n_failures > 0;
}

bool pool_is_draining(const struct pool *pool) {
        return pool->draining;
}

uint32_t pool_size(const struct pool *pool) {
        return pool->settings.max_idle;
}

uint32_t pool_count(const struct pool *pool, enum pool_worker_state state) {
        return pool->n_workers[state];
}

const struct pool_worker_list *pool_workers(const struct pool *pool, enum pool_worker_state state) {
        return &pool->workers[state];
}

uint32_t pool_warmup_ms(const struct pool *pool) {
        return pool->warmup_ms;
}

uint64_t pool_failed_starts(const struct pool *pool) {
        return pool->n_failed_starts;
}

const char *pool_last_error(const struct pool *pool) {
        return pool->last_error ? pool->last_error : "";
}
