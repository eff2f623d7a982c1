/*
 * A simulated day of a developer's machine, on a fake clock: nothing but a cron job every minute at night, single runs and
 * bursts of them (make -j, test suites) in office hours. It prints how many of the runs found a worker, and what memory
 * the idle workers took, for pools of fixed sizes and for those that follow demand.
 */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "poold/pool.h"

#define SEC UINT64_C(1000000)
#define MINUTE (60 * SEC)
#define HOUR (60 * MINUTE)

#define N_CPUS 8
#define MAX_STARTING 2
#define WARMUP_USEC (3 * SEC / 2) /* torch's */
#define MAX_RUNS 20000

/* --- The runs of the day --- */

struct run {
        uint64_t come_usec, duration_usec;
};

struct day {
        struct run runs[MAX_RUNS];
        size_t n_runs;
        uint64_t seed;
};

/* A number between 0 and 1, the same ones each time. */
static double draw(struct day *day) {
        day->seed = day->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return ((double)(day->seed >> 11) + 0.5) / (double)(UINT64_C(1) << 53);
}

/* The time until the next event of those that come @mean_usec apart, each by itself. */
static uint64_t draw_pause(struct day *day, uint64_t mean_usec) {
        return 1 + (uint64_t)(-log(draw(day)) * (double)mean_usec);
}

static void add_run(struct day *day, uint64_t come_usec, uint64_t mean_usec) {
        assert_true(day->n_runs < MAX_RUNS);
        day->runs[day->n_runs++] = (struct run){ come_usec, draw_pause(day, mean_usec) };
}

static void add_cron_job(struct day *day) {
        for (uint64_t at = MINUTE; at < 24 * HOUR; at += MINUTE)
                add_run(day, at, SEC / 2);
}

static void add_single_runs(struct day *day, uint64_t begin, uint64_t end, uint64_t mean_pause) {
        for (uint64_t at = begin + draw_pause(day, mean_pause); at < end; at += draw_pause(day, mean_pause))
                add_run(day, at, 2 * SEC);
}

/* Each of 5 to 20 runs in a second. */
static void add_bursts(struct day *day, uint64_t begin, uint64_t end, uint64_t mean_pause) {
        for (uint64_t at = begin + draw_pause(day, mean_pause); at < end; at += draw_pause(day, mean_pause)) {
                unsigned n = 5 + (unsigned)(draw(day) * 16);

                for (unsigned i = 0; i < n; i++)
                        add_run(day, at + (uint64_t)(draw(day) * SEC), SEC);
        }
}

static int compare_runs(const void *a, const void *b) {
        const struct run *left = a, *right = b;

        return (left->come_usec > right->come_usec) - (left->come_usec < right->come_usec);
}

static void make_day(struct day *day, uint64_t seed) {
        *day = (struct day){ .seed = seed };
        add_cron_job(day);
        add_single_runs(day, 8 * HOUR, 12 * HOUR, 40 * SEC);
        add_bursts(day, 8 * HOUR, 12 * HOUR, 12 * MINUTE);
        add_single_runs(day, 13 * HOUR, 18 * HOUR, 40 * SEC);
        add_bursts(day, 13 * HOUR, 18 * HOUR, 12 * MINUTE);
        add_single_runs(day, 18 * HOUR, 22 * HOUR, 10 * MINUTE);
        qsort(day->runs, day->n_runs, sizeof(day->runs[0]), compare_runs);
}

/* --- A pool that serves them --- */

struct member {
        struct pool_worker worker; /* first: a pool_worker is a member */
        uint64_t done_usec;        /* when its run is over */
};

struct result {
        unsigned n_hits, n_starts, n_unused;
        double idle_hours;
};

struct simulation {
        struct pool_machine machine;
        struct pool *pool;
        uint64_t now;
        uint64_t missed_done[MAX_RUNS]; /* when python3 is done with those that found no worker */
        size_t n_missed, n_missed_over;
        struct result result;
};

static bool take_idle_cpu(struct pool_machine *machine, uint64_t now_usec) {
        const struct simulation *simulation = (const struct simulation *)machine;
        size_t n_used = pool_count(simulation->pool, POOL_STARTING) + pool_count(simulation->pool, POOL_BUSY);

        for (size_t i = 0; i < simulation->n_missed; i++)
                n_used += simulation->missed_done[i] > now_usec;
        return n_used < N_CPUS;
}

static int spawn(struct pool *pool, void *data, uint64_t now_usec) {
        struct simulation *simulation = data;
        struct member *member = calloc(1, sizeof(*member));

        assert_non_null(member);
        simulation->result.n_starts++;
        pool_add(pool, &member->worker, now_usec);
        return 0;
}

static void dismiss(struct pool_worker *worker, void *data) {
        struct simulation *simulation = data;

        simulation->result.n_unused++;
        assert_true(worker->ready_usec); /* it was of use to nobody, but it could have been */
}

static const struct pool_actions actions = { .spawn = spawn, .dismiss = dismiss };

static void forget_all(struct simulation *simulation, enum pool_worker_state state) {
        struct pool_worker *worker;

        while ((worker = TAILQ_FIRST(pool_workers(simulation->pool, state)))) {
                pool_remove(worker, "", simulation->now);
                free(worker);
        }
}

/* The run that is over first, or NULL. */
static struct member *first_done(const struct simulation *simulation) {
        struct pool_worker *worker;
        struct member *first = NULL;

        TAILQ_FOREACH(worker, pool_workers(simulation->pool, POOL_BUSY), link) {
                struct member *member = (struct member *)worker;

                if (!first || member->done_usec < first->done_usec)
                        first = member;
        }
        return first;
}

static uint64_t ready_usec(const struct simulation *simulation) {
        const struct pool_worker *worker = TAILQ_FIRST(pool_workers(simulation->pool, POOL_STARTING));

        return worker ? worker->spawned_usec + WARMUP_USEC : UINT64_MAX;
}

static void advance(struct simulation *simulation, uint64_t to_usec) {
        double n_idle = pool_count(simulation->pool, POOL_IDLE);

        simulation->result.idle_hours += n_idle * (double)(to_usec - simulation->now) / (double)HOUR;
        simulation->now = to_usec;
}

/* Lets the pool do what is due now. Returns when it is to be called again. */
static uint64_t turn(struct simulation *simulation) {
        uint32_t n_starting = pool_count(simulation->pool, POOL_STARTING);
        uint64_t next_usec;

        simulation->machine.n_runs = pool_count(simulation->pool, POOL_BUSY);
        next_usec = pool_run(simulation->pool, &simulation->machine,
                             n_starting < MAX_STARTING ? MAX_STARTING - n_starting : 0, simulation->now);
        forget_all(simulation, POOL_DYING);
        return next_usec;
}

static void pass(struct simulation *simulation, uint64_t until_usec) {
        for (;;) {
                uint64_t next_usec = turn(simulation);
                struct member *done = first_done(simulation);

                next_usec = done && done->done_usec < next_usec ? done->done_usec : next_usec;
                next_usec = ready_usec(simulation) < next_usec ? ready_usec(simulation) : next_usec;
                if (next_usec > until_usec)
                        break;
                assert_true(next_usec >= simulation->now);
                advance(simulation, next_usec);
                if (ready_usec(simulation) <= next_usec)
                        pool_ready(TAILQ_FIRST(pool_workers(simulation->pool, POOL_STARTING)), next_usec);
                if (done && done->done_usec <= next_usec) {
                        pool_remove(&done->worker, "", next_usec);
                        free(done);
                }
        }
        advance(simulation, until_usec);
}

static void come(struct simulation *simulation, const struct run *run) {
        struct pool_worker *worker;

        if (pool_take(simulation->pool, simulation->now, &worker) == 0) {
                ((struct member *)worker)->done_usec = simulation->now + run->duration_usec;
                simulation->result.n_hits++;
        } else {
                pool_note_miss(simulation->pool, simulation->now);
                simulation->missed_done[simulation->n_missed++] =
                        simulation->now + WARMUP_USEC + run->duration_usec;
        }
}

static struct result simulate(const struct day *day, uint32_t min_idle, uint32_t max_idle) {
        const struct pool_settings settings = { min_idle, max_idle, 64, 60, 0 };
        struct simulation *simulation = calloc(1, sizeof(*simulation));
        struct result result;

        assert_non_null(simulation);
        simulation->now = HOUR; /* the day's midnight */
        simulation->machine = (struct pool_machine){
                .n_cpus = N_CPUS,
                .memory_look_usec = UINT64_MAX,
                .take_idle_cpu = take_idle_cpu,
        };
        simulation->pool = pool_new("day", &settings, &actions, simulation);
        assert_non_null(simulation->pool);
        for (size_t i = 0; i < day->n_runs; i++) {
                pass(simulation, HOUR + day->runs[i].come_usec);
                come(simulation, &day->runs[i]);
        }
        pass(simulation, 25 * HOUR);
        for (enum pool_worker_state state = POOL_STARTING; state < POOL_N_STATES; state++)
                forget_all(simulation, state);
        assert_null(pool_free(simulation->pool));
        result = simulation->result;
        free(simulation);
        return result;
}

/* --- What comes out --- */

static const struct policy {
        const char *name;
        uint32_t min_idle, max_idle;
        bool is_auto;
        double most_misses; /* of those that a fixed size has which takes as much memory */
} policies[] = {
        { "1", 1, 1, false, 0 },
        { "2", 2, 2, false, 0 },
        { "4", 4, 4, false, 0 },
        { "8", 8, 8, false, 0 },
        { "16", 16, 16, false, 0 },
        { "auto, 1 to 8", 1, 8, true, 0.8 }, /* most bursts are larger */
        { "auto, 0 to 16", 0, 16, true, 0.67 },
        { "auto, 0 to 32", 0, 32, true, 0.67 },
};
#define N_POLICIES (sizeof(policies) / sizeof(policies[0]))

static double hit_rate(const struct day *day, const struct result *result) {
        return 100.0 * result->n_hits / (double)day->n_runs;
}

static void print(const struct day *day, const struct result results[N_POLICIES]) {
        printf("%zu runs\n%-14s %8s %18s %8s %18s\n", day->n_runs, "size", "hits", "idle worker-hours", "starts",
               "dismissed unused");
        for (size_t i = 0; i < N_POLICIES; i++)
                printf("%-14s %6.1f %% %18.1f %8u %18u\n", policies[i].name, hit_rate(day, &results[i]),
                       results[i].idle_hours, results[i].n_starts, results[i].n_unused);
}

/* What a pool of a fixed size would hit that holds as much memory, between the sizes that were tried. */
static double fixed_hit_rate(const struct day *day, const struct result results[N_POLICIES], double idle_hours) {
        double last_hits = 0, last_hours = 0;

        for (size_t i = 0; i < N_POLICIES && !policies[i].is_auto; i++) {
                double hits = hit_rate(day, &results[i]), hours = results[i].idle_hours;

                if (hours >= idle_hours)
                        return last_hits + (hits - last_hits) * (idle_hours - last_hours) / (hours - last_hours);
                last_hits = hits;
                last_hours = hours;
        }
        return last_hits;
}

static void test_day(void **state) {
        (void)state;
        for (uint64_t seed = 1; seed <= 3; seed++) {
                struct day *day = calloc(1, sizeof(*day));
                struct result results[N_POLICIES];

                assert_non_null(day);
                make_day(day, seed);
                for (size_t i = 0; i < N_POLICIES; i++)
                        results[i] = simulate(day, policies[i].min_idle, policies[i].max_idle);
                print(day, results);
                for (size_t i = 0; i < N_POLICIES; i++) {
                        if (!policies[i].is_auto)
                                continue;
                        assert_true(100 - hit_rate(day, &results[i]) <
                                    (100 - fixed_hit_rate(day, results, results[i].idle_hours)) *
                                            policies[i].most_misses);
                        /* Few are started for nothing. */
                        assert_true(results[i].n_unused * 10 < results[i].n_starts);
                }
                free(day);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_day),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
