#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "poold/pool.h"

#define SEC UINT64_C(1000000)
#define MSEC UINT64_C(1000)

/* A pool whose workers are only entries here, and whose clock is whatever a test says. */
struct fake {
        struct pool *pool;
        struct pool_machine machine;
        uint64_t now;
        unsigned n_spawned, n_dismissed;
        int spawn_error;
        struct pool_worker *last_dismissed;
        unsigned n_idle_cpus;
};

static bool fake_take_idle_cpu(struct pool_machine *machine, uint64_t now_usec) {
        struct fake *fake = (struct fake *)((char *)machine - offsetof(struct fake, machine));

        assert_int_equal(now_usec, fake->now);
        if (!fake->n_idle_cpus)
                return false;
        fake->n_idle_cpus--;
        return true;
}

static int fake_spawn(struct pool *pool, void *data, uint64_t now_usec) {
        struct fake *fake = data;
        struct pool_worker *worker;

        if (fake->spawn_error)
                return fake->spawn_error;
        worker = calloc(1, sizeof(*worker));
        assert_non_null(worker);
        assert_int_equal(now_usec, fake->now);
        fake->n_spawned++;
        pool_add(pool, worker, now_usec);
        return 0;
}

static void fake_dismiss(struct pool_worker *worker, void *data) {
        struct fake *fake = data;

        assert_int_equal(worker->state, POOL_DYING);
        fake->n_dismissed++;
        fake->last_dismissed = worker;
}

static const struct pool_actions actions = { .spawn = fake_spawn, .dismiss = fake_dismiss };

static const struct pool_machine on_two_cpus = {
        .n_cpus = 2,
        .memory_look_usec = UINT64_MAX,
        .take_idle_cpu = fake_take_idle_cpu,
};

static void set_up_with(struct fake *fake, const struct pool_settings *settings) {
        *fake = (struct fake){ .now = 1000 * SEC, .machine = on_two_cpus };
        fake->pool = pool_new("test", settings, &actions, fake);
        assert_non_null(fake->pool);
}

static void set_up(struct fake *fake, uint32_t size, uint32_t max_workers) {
        set_up_with(fake, &(struct pool_settings){ .min_idle = size,
                                                   .max_idle = size,
                                                   .max_workers = max_workers,
                                                   .start_timeout_sec = 60 });
}

static void set_up_auto(struct fake *fake, uint32_t min_idle, uint32_t max_idle) {
        set_up_with(fake, &(struct pool_settings){ .min_idle = min_idle,
                                                   .max_idle = max_idle,
                                                   .max_workers = 64,
                                                   .start_timeout_sec = 60 });
}

static struct pool_worker *first(const struct fake *fake, enum pool_worker_state state) {
        return TAILQ_FIRST(pool_workers(fake->pool, state));
}

static void forget(struct fake *fake, struct pool_worker *worker, const char *error) {
        pool_remove(worker, error, fake->now);
        free(worker);
}

static void tear_down(struct fake *fake) {
        for (enum pool_worker_state state = POOL_STARTING; state < POOL_N_STATES; state++)
                while (first(fake, state))
                        forget(fake, first(fake, state), "");
        assert_null(pool_free(fake->pool));
}

static uint64_t run(struct fake *fake) {
        return pool_run(fake->pool, &fake->machine, 100, fake->now);
}

static void all_ready(struct fake *fake) {
        while (first(fake, POOL_STARTING))
                pool_ready(first(fake, POOL_STARTING), fake->now);
}

/* Starts what is due, and lets it take a second. */
static void make_ready(struct fake *fake) {
        run(fake);
        if (first(fake, POOL_STARTING))
                fake->now += SEC;
        all_ready(fake);
}

/* Lets a worker have a run that goes on. */
static struct pool_worker *take(struct fake *fake) {
        struct pool_worker *worker;

        assert_int_equal(pool_take(fake->pool, fake->now, &worker), 0);
        fake->machine.n_runs++;
        return worker;
}

/* Its run is over, its process gone. */
static void end_run(struct fake *fake, struct pool_worker *worker) {
        fake->machine.n_runs--;
        pool_remove(worker, "", fake->now);
        free(worker);
}

static void bury(struct fake *fake) {
        while (first(fake, POOL_DYING))
                forget(fake, first(fake, POOL_DYING), "");
}

/* Does what is due until @end, with workers that take @warmup to be ready. */
static void pass(struct fake *fake, uint64_t end, uint64_t warmup) {
        for (;;) {
                uint64_t next = run(fake);
                struct pool_worker *starting = first(fake, POOL_STARTING);

                if (starting && starting->spawned_usec + warmup < next)
                        next = starting->spawned_usec + warmup;
                assert_true(next > fake->now);
                if (next > end)
                        break;
                fake->now = next;
                while ((starting = first(fake, POOL_STARTING)) && fake->now >= starting->spawned_usec + warmup)
                        pool_ready(starting, fake->now);
        }
        bury(fake);
        fake->now = end;
}

static void assert_counts(const struct fake *fake, uint32_t starting, uint32_t idle, uint32_t busy,
                          uint32_t dying) {
        assert_int_equal(pool_count(fake->pool, POOL_STARTING), starting);
        assert_int_equal(pool_count(fake->pool, POOL_IDLE), idle);
        assert_int_equal(pool_count(fake->pool, POOL_BUSY), busy);
        assert_int_equal(pool_count(fake->pool, POOL_DYING), dying);
}

static void test_fills_to_size_and_then_sleeps(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 3, 10);
        assert_string_equal(pool_state_name(fake.pool), "warming");
        assert_int_equal(run(&fake), fake.now + 60 * SEC);
        assert_counts(&fake, 3, 0, 0, 0);
        fake.now += 842 * MSEC;
        all_ready(&fake);
        assert_counts(&fake, 0, 3, 0, 0);
        assert_string_equal(pool_state_name(fake.pool), "ready");
        assert_int_equal(pool_warmup_ms(fake.pool), 842);
        assert_true(run(&fake) == UINT64_MAX);
        tear_down(&fake);
}

static void test_takes_the_oldest_ready(void **state) {
        struct pool_worker *second, *taken;
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 10);
        run(&fake);
        second = TAILQ_NEXT(first(&fake, POOL_STARTING), link);
        pool_ready(second, ++fake.now);
        pool_ready(first(&fake, POOL_STARTING), ++fake.now);
        assert_int_equal(pool_take(fake.pool, fake.now, &taken), 0);
        assert_ptr_equal(taken, second);
        assert_int_equal(pool_take(fake.pool, fake.now, &taken), 0);
        assert_ptr_not_equal(taken, second);
        assert_int_equal(pool_take(fake.pool, fake.now, &taken), POOL_EMPTY);
        tear_down(&fake);
}

static void test_refills_when_the_run_is_over_and_all_is_quiet(void **state) {
        struct pool_worker *worker;
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 10);
        make_ready(&fake);
        worker = take(&fake);
        assert_in_range(run(&fake), fake.now + 1, fake.now + 100 * MSEC);
        assert_counts(&fake, 0, 1, 1, 0);

        fake.now += 2 * MSEC;
        end_run(&fake, worker);
        assert_in_range(run(&fake), fake.now + 10 * MSEC, fake.now + 50 * MSEC);
        assert_counts(&fake, 0, 1, 0, 0);
        fake.now = run(&fake);
        run(&fake);
        assert_counts(&fake, 1, 1, 0, 0);
        tear_down(&fake);
}

static void test_an_empty_pool_is_refilled_at_once_when_nothing_runs(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        end_run(&fake, take(&fake));
        run(&fake);
        assert_counts(&fake, 1, 0, 0, 0);
        tear_down(&fake);
}

static void test_refills_beside_a_run_on_an_idle_cpu(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 4, 10);
        make_ready(&fake);
        for (int i = 0; i < 3; i++)
                take(&fake);
        fake.n_idle_cpus = 1;
        run(&fake);
        assert_counts(&fake, 0, 1, 3, 0); /* they may be over in a moment */
        fake.now = run(&fake);
        run(&fake);
        assert_counts(&fake, 1, 1, 3, 0); /* one for the CPU that is idle */
        tear_down(&fake);
}

/* Lets a run of @duration use both CPUs, and returns for how long workers have warmed up beside it. */
static uint64_t warm_up_beside_run(uint64_t warmup, uint64_t duration) {
        struct fake fake;
        uint64_t sum = 0;

        set_up(&fake, 8, 64);
        run(&fake);
        fake.now += warmup;
        all_ready(&fake);
        fake.now += 1000 * SEC;
        for (int i = 0; i < 8; i++)
                take(&fake);
        fake.n_spawned = 0;
        pass(&fake, fake.now + duration, warmup);
        sum = fake.n_spawned * warmup;
        tear_down(&fake);
        return sum;
}

static void test_beside_runs_on_all_cpus_warm_ups_take_a_fortieth(void **state) {
        (void)state;
        assert_int_equal(warm_up_beside_run(SEC, 9 * SEC), 0);
        assert_int_equal(warm_up_beside_run(SEC, 45 * SEC), 2 * SEC);
        assert_in_range(warm_up_beside_run(30 * MSEC, 4 * SEC), 150 * MSEC, 200 * MSEC);
        assert_int_equal(warm_up_beside_run(20 * SEC, 190 * SEC), 0);
}

static void test_looks_for_cpus_less_often_as_time_passes(void **state) {
        unsigned n_wakeups = 0;
        struct fake fake;
        uint64_t end;

        (void)state;
        set_up(&fake, 1, 10);
        run(&fake);
        fake.now += 30 * SEC;
        all_ready(&fake);
        take(&fake);
        end = fake.now + 200 * SEC;
        for (; run(&fake) < end; n_wakeups++)
                fake.now = run(&fake);
        assert_in_range(n_wakeups, 100, 230);
        assert_counts(&fake, 0, 0, 1, 0);
        tear_down(&fake);
}

/* Runs that find no worker are python3's, and use the CPUs as well. */
static void test_a_pool_that_is_always_empty_does_not_start_one_for_each_miss(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 10);
        make_ready(&fake);
        fake.n_spawned = 0;
        for (int i = 0; i < 6000; i++) { /* a minute */
                struct pool_worker *worker;

                if (pool_take(fake.pool, fake.now, &worker) == 0)
                        forget(&fake, worker, "");
                else
                        pool_note_miss(fake.pool, fake.now);
                pass(&fake, fake.now + 10 * MSEC, SEC);
        }
        assert_in_range(fake.n_spawned, 2, 4);
        tear_down(&fake);
}

static void test_the_first_start_is_not_delayed(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 10);
        fake.machine.n_runs = 4;
        run(&fake);
        assert_counts(&fake, 2, 0, 0, 0);
        tear_down(&fake);
}

static void test_max_workers_caps_all_that_live(void **state) {
        struct pool_worker *worker;
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 3);
        make_ready(&fake);
        worker = take(&fake);
        take(&fake);
        fake.n_idle_cpus = 9;
        pool_set_waiting(fake.pool, 7);
        fake.now += SEC;
        make_ready(&fake);
        make_ready(&fake);
        assert_counts(&fake, 0, 1, 2, 0);
        end_run(&fake, worker);
        fake.now += SEC;
        run(&fake);
        assert_counts(&fake, 1, 1, 1, 0);
        tear_down(&fake);
}

static void test_starts_no_more_than_allowed(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 5, 10);
        pool_run(fake.pool, &fake.machine, 2, fake.now);
        assert_counts(&fake, 2, 0, 0, 0);
        pool_run(fake.pool, &fake.machine, 0, fake.now);
        assert_counts(&fake, 2, 0, 0, 0);
        tear_down(&fake);
}

static void test_failing_preload_backs_off_and_recovers(void **state) {
        uint64_t pause, last_pause = 0;
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 10);
        run(&fake);
        forget(&fake, first(&fake, POOL_STARTING), "died");
        for (int i = 0; i < 10; i++) {
                pool_failed(first(&fake, POOL_STARTING), "no module named x", fake.now);
                assert_string_equal(pool_state_name(fake.pool), "degraded");
                assert_string_equal(pool_last_error(fake.pool), "no module named x");
                forget(&fake, first(&fake, POOL_DYING), "");
                pause = run(&fake) - fake.now;
                assert_counts(&fake, 0, 0, 0, 0);
                assert_true(pause >= last_pause);
                assert_in_range(pause, 1 * SEC, 60 * SEC);
                last_pause = pause;
                fake.now += pause;
                run(&fake);
                assert_counts(&fake, 1, 0, 0, 0); /* one at a time while it fails */
        }
        assert_int_equal(last_pause, 60 * SEC);
        pool_ready(first(&fake, POOL_STARTING), fake.now);
        assert_string_equal(pool_state_name(fake.pool), "ready");
        assert_string_equal(pool_last_error(fake.pool), "");
        run(&fake);
        assert_counts(&fake, 1, 1, 0, 0);
        tear_down(&fake);
}

static void test_other_settings_end_the_pause_after_a_failure(void **state) {
        const struct pool_settings settings = {
                .min_idle = 1, .max_idle = 1, .max_workers = 8, .start_timeout_sec = 60
        };
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 8);
        run(&fake);
        for (int i = 0; i < 6; i++) {
                pool_failed(first(&fake, POOL_STARTING), "no module named x", fake.now);
                forget(&fake, first(&fake, POOL_DYING), "");
                if (i < 5)
                        pass(&fake, run(&fake), 3600 * SEC);
        }
        run(&fake);
        assert_counts(&fake, 0, 0, 0, 0);
        pool_reconfigure(fake.pool, &settings, fake.now);
        run(&fake);
        assert_counts(&fake, 1, 0, 0, 0);
        tear_down(&fake);
}

static void test_worker_that_dies_starting_is_a_failure(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        run(&fake);
        forget(&fake, first(&fake, POOL_STARTING), "died by signal 11");
        assert_string_equal(pool_state_name(fake.pool), "degraded");
        assert_string_equal(pool_last_error(fake.pool), "died by signal 11");
        assert_true(run(&fake) > fake.now);
        tear_down(&fake);
}

static void test_idle_worker_that_dies_is_replaced_at_once(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        fake.now += 60 * SEC;
        forget(&fake, first(&fake, POOL_IDLE), "killed");
        assert_string_equal(pool_last_error(fake.pool), "");
        run(&fake);
        assert_counts(&fake, 1, 0, 0, 0);
        tear_down(&fake);
}

static void test_workers_that_crash_when_ready_are_failures(void **state) {
        uint64_t pause, last_pause = 0;
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        forget(&fake, first(&fake, POOL_IDLE), "killed");
        for (int i = 0; i < 5; i++) {
                make_ready(&fake);
                assert_int_equal(i == 0, strcmp(pool_state_name(fake.pool), "ready") == 0);
                fake.now += 100 * MSEC;
                forget(&fake, first(&fake, POOL_IDLE), "died by signal 11");
                assert_string_equal(pool_state_name(fake.pool), "degraded");
                assert_string_equal(pool_last_error(fake.pool), "died by signal 11");
                pause = run(&fake) - fake.now;
                assert_true(pause > last_pause);
                last_pause = pause;
                fake.now += pause;
        }
        make_ready(&fake);
        assert_string_equal(pool_state_name(fake.pool), "degraded");
        assert_int_equal(run(&fake), fake.now + 10 * SEC);
        fake.now += 10 * SEC;
        assert_true(run(&fake) == UINT64_MAX);
        assert_string_equal(pool_state_name(fake.pool), "ready");
        tear_down(&fake);
}

static void test_a_run_proves_a_worker_good(void **state) {
        struct pool_worker *worker;
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        forget(&fake, first(&fake, POOL_IDLE), "killed");
        make_ready(&fake);
        forget(&fake, first(&fake, POOL_IDLE), "killed");
        assert_string_equal(pool_last_error(fake.pool), "killed");
        fake.now = run(&fake);
        make_ready(&fake);
        assert_int_equal(pool_take(fake.pool, fake.now, &worker), 0);
        assert_string_equal(pool_last_error(fake.pool), "");
        tear_down(&fake);
}

static void test_start_timeout(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        run(&fake);
        fake.now += 60 * SEC - 1;
        assert_int_equal(run(&fake), fake.now + 1);
        assert_counts(&fake, 1, 0, 0, 0);
        fake.now += 1;
        run(&fake);
        assert_counts(&fake, 0, 0, 0, 1);
        assert_int_equal(fake.n_dismissed, 1);
        assert_string_equal(pool_state_name(fake.pool), "degraded");
        tear_down(&fake);
}

static void test_spawn_error_is_a_failure(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        fake.spawn_error = -EAGAIN;
        assert_true(run(&fake) > fake.now);
        assert_string_equal(pool_state_name(fake.pool), "degraded");
        fake.spawn_error = 0;
        fake.now = run(&fake);
        run(&fake);
        assert_counts(&fake, 1, 0, 0, 0);
        tear_down(&fake);
}

static void test_drain_dismisses_all_but_the_busy(void **state) {
        struct pool_worker *busy;
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 10);
        make_ready(&fake);
        pool_take(fake.pool, fake.now, &busy);
        fake.now += SEC;
        run(&fake);
        assert_counts(&fake, 1, 1, 1, 0);
        pool_drain(fake.pool);
        assert_counts(&fake, 0, 0, 1, 2);
        assert_int_equal(fake.n_dismissed, 2);
        assert_true(run(&fake) == UINT64_MAX);
        assert_int_equal(busy->state, POOL_BUSY);
        tear_down(&fake);
}

static void test_waiting_runs_get_workers_beyond_the_size_and_at_once(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        take(&fake);
        for (uint32_t n = 1; n <= 3; n++) {
                pool_note_miss(fake.pool, fake.now);
                pool_set_waiting(fake.pool, n);
                run(&fake);
                assert_counts(&fake, n, 0, 1, 0); /* though no CPU is idle */
        }
        assert_int_equal(pool_size(fake.pool), 1);
        for (uint32_t n = 3; n > 0; n--) {
                pool_ready(first(&fake, POOL_STARTING), fake.now);
                take(&fake);
                pool_set_waiting(fake.pool, n - 1);
        }
        run(&fake);
        assert_counts(&fake, 0, 0, 4, 0); /* the refill still has to wait */
        tear_down(&fake);
}

static void test_workers_that_nobody_waits_for_any_more_are_given_back(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        take(&fake);
        pool_set_waiting(fake.pool, 3);
        run(&fake);
        pool_set_waiting(fake.pool, 0);
        all_ready(&fake);
        pass(&fake, fake.now + 60 * SEC, SEC);
        assert_counts(&fake, 0, 1, 1, 0);
        assert_true(run(&fake) == UINT64_MAX);
        tear_down(&fake);
}

static void test_expects_workers_in_the_order_they_were_started(void **state) {
        static const uint64_t warmups[] = { 2000, 900, 1000, 30000, 1100 };
        uint64_t began;
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        run(&fake);
        assert_true(pool_expected_usec(fake.pool, 0) == UINT64_MAX); /* nobody knows yet how long it takes */
        for (size_t i = 0; i < sizeof(warmups) / sizeof(warmups[0]); i++) {
                run(&fake);
                fake.now += warmups[i] * MSEC;
                all_ready(&fake);
                end_run(&fake, take(&fake));
        }
        assert_int_equal(pool_warmup_ms(fake.pool), 1100); /* the median */
        assert_true(pool_expected_usec(fake.pool, 0) == UINT64_MAX);
        began = fake.now;
        run(&fake);
        fake.machine.n_runs = 1;
        fake.now += 300 * MSEC;
        pool_note_miss(fake.pool, fake.now);
        pool_set_waiting(fake.pool, 2);
        run(&fake);
        assert_int_equal(pool_expected_usec(fake.pool, 0), began + 1100 * MSEC);
        assert_int_equal(pool_expected_usec(fake.pool, 1), began + 1400 * MSEC);
        assert_true(pool_expected_usec(fake.pool, 2) == UINT64_MAX);
        pool_failed(first(&fake, POOL_STARTING), "no", fake.now);
        assert_true(pool_expected_usec(fake.pool, 0) == UINT64_MAX); /* why should that one do better? */
        tear_down(&fake);
}

static void test_retired_workers_go_at_once_and_others_come_when_it_is_quiet(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 3, 10);
        make_ready(&fake);
        end_run(&fake, take(&fake));
        fake.now = run(&fake);
        run(&fake);
        assert_counts(&fake, 1, 2, 0, 0);
        for (int i = 0; i < 10; i++) {
                pool_retire(fake.pool, fake.now);
                assert_counts(&fake, 0, 0, 0, 3);
                assert_int_equal(run(&fake), fake.now + 500 * MSEC);
                fake.now += 400 * MSEC;
                run(&fake);
        }
        assert_counts(&fake, 0, 0, 0, 3);
        assert_string_equal(pool_state_name(fake.pool), "warming");
        fake.now += 100 * MSEC;
        run(&fake);
        assert_counts(&fake, 3, 0, 0, 3);
        tear_down(&fake);
}

static void test_files_that_never_stop_changing_leave_a_pool_empty_for_half_a_minute(void **state) {
        struct fake fake;
        uint64_t begin;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        for (int round = 0; round < 2; round++) {
                begin = fake.now;
                while (!first(&fake, POOL_STARTING)) {
                        pool_retire(fake.pool, fake.now);
                        fake.now += 100 * MSEC;
                        run(&fake);
                }
                assert_in_range(fake.now - begin, 29 * SEC, 31 * SEC);
                all_ready(&fake);
                fake.now += 3600 * SEC;
        }
        tear_down(&fake);
}

static void test_a_change_ends_the_pause_after_a_failure(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        for (int i = 0; i < 8; i++) {
                fake.now = i ? run(&fake) : fake.now;
                run(&fake);
                pool_failed(first(&fake, POOL_STARTING), "no module named x", fake.now);
        }
        assert_int_equal(run(&fake), fake.now + 60 * SEC);
        pool_retire(fake.pool, fake.now);
        assert_int_equal(run(&fake), fake.now + 500 * MSEC);
        assert_string_equal(pool_state_name(fake.pool), "degraded");
        fake.now += 500 * MSEC;
        make_ready(&fake);
        assert_string_equal(pool_state_name(fake.pool), "ready");
        tear_down(&fake);
}

static void test_a_run_is_not_slowed_by_what_replaces_retired_workers(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 10);
        make_ready(&fake);
        take(&fake);
        pool_retire(fake.pool, fake.now);
        pass(&fake, fake.now + 5 * SEC, SEC);
        assert_counts(&fake, 0, 0, 1, 0);
        tear_down(&fake);
}

static void test_old_workers_are_replaced_one_by_one_and_never_missed(void **state) {
        struct fake fake;
        uint64_t end;

        (void)state;
        set_up_with(&fake, &(struct pool_settings){ 3, 3, 10, 60, .max_age_sec = 600 });
        make_ready(&fake);
        end = fake.now + 600 * SEC;
        pass(&fake, end - 1, SEC);
        assert_int_equal(fake.n_spawned, 3);
        fake.now = end;
        while (fake.now < end + 10 * SEC) {
                run(&fake);
                assert_true(pool_count(fake.pool, POOL_IDLE) >= 3);
                assert_true(pool_count(fake.pool, POOL_STARTING) <= 1);
                fake.now += SEC;
                all_ready(&fake);
                bury(&fake);
        }
        assert_int_equal(fake.n_spawned, 6);
        assert_int_equal(fake.n_dismissed, 3);
        assert_counts(&fake, 0, 3, 0, 0);
        assert_in_range(run(&fake), end + 600 * SEC, end + 610 * SEC);
        tear_down(&fake);
}

static void test_where_there_is_no_room_an_old_worker_goes_first(void **state) {
        struct fake fake;

        (void)state;
        set_up_with(&fake, &(struct pool_settings){ 2, 2, 2, 60, .max_age_sec = 600 });
        make_ready(&fake);
        fake.now += 600 * SEC;
        run(&fake);
        assert_counts(&fake, 1, 1, 0, 1);
        run(&fake);
        assert_counts(&fake, 1, 1, 0, 1);
        make_ready(&fake);
        run(&fake);
        assert_counts(&fake, 1, 1, 0, 2);
        tear_down(&fake);
}

static void test_an_old_worker_is_better_than_none(void **state) {
        struct fake fake;

        (void)state;
        set_up_with(&fake, &(struct pool_settings){ 1, 1, 1, 60, .max_age_sec = 600 });
        make_ready(&fake);
        fake.spawn_error = -EAGAIN;
        fake.now += 600 * SEC;
        run(&fake); /* makes room, but the start fails */
        assert_counts(&fake, 0, 0, 0, 1);
        tear_down(&fake);

        set_up_with(&fake, &(struct pool_settings){ 1, 1, 2, 60, .max_age_sec = 600 });
        make_ready(&fake);
        fake.spawn_error = -EAGAIN;
        fake.now += 600 * SEC;
        run(&fake);
        assert_counts(&fake, 0, 1, 0, 0);
        assert_string_equal(pool_state_name(fake.pool), "degraded");
        tear_down(&fake);
}

static void test_other_sizes_hold_for_the_living(void **state) {
        struct pool_settings settings = { 2, 2, 10, 60, 0 };
        struct fake fake;

        (void)state;
        set_up_with(&fake, &settings);
        make_ready(&fake);
        settings.min_idle = settings.max_idle = 5;
        pool_reconfigure(fake.pool, &settings, fake.now);
        make_ready(&fake);
        assert_counts(&fake, 0, 5, 0, 0);
        assert_int_equal(fake.n_dismissed, 0);
        take(&fake);
        settings.min_idle = settings.max_idle = 1;
        pool_reconfigure(fake.pool, &settings, fake.now);
        assert_counts(&fake, 0, 1, 1, 3);
        settings.min_idle = 0;
        settings.max_idle = 4;
        pool_reconfigure(fake.pool, &settings, fake.now);
        assert_int_equal(pool_size(fake.pool), 1);
        settings.max_workers = 1;
        pool_reconfigure(fake.pool, &settings, fake.now);
        assert_counts(&fake, 0, 0, 1, 4);
        tear_down(&fake);
}

/* --- Size by demand --- */

static void test_auto_starts_with_the_least(void **state) {
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 1, 8);
        make_ready(&fake);
        assert_counts(&fake, 0, 1, 0, 0);
        assert_true(run(&fake) == UINT64_MAX);
        tear_down(&fake);
}

static void test_auto_at_zero_starts_one_for_the_first_miss(void **state) {
        struct pool_worker *worker;
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 0, 8);
        assert_true(run(&fake) == UINT64_MAX);
        assert_string_equal(pool_state_name(fake.pool), "ready");
        assert_int_equal(pool_take(fake.pool, fake.now, &worker), POOL_EMPTY);
        pool_note_miss(fake.pool, fake.now);
        pass(&fake, fake.now + 10 * SEC, SEC);
        assert_counts(&fake, 0, 1, 0, 0);
        tear_down(&fake);
}

/* So many runs at once, in a pool with workers that take @warmup. Returns how many found a worker. */
static unsigned burst(struct fake *fake, unsigned n, uint64_t warmup) {
        unsigned n_hits = 0;

        for (unsigned i = 0; i < n; i++) {
                if (pool_count(fake->pool, POOL_IDLE)) {
                        end_run(fake, take(fake));
                        n_hits++;
                } else
                        pool_note_miss(fake->pool, fake->now);
                fake->now += MSEC;
        }
        pass(fake, fake->now + 20 * SEC, warmup);
        return n_hits;
}

static void test_auto_grows_for_bursts_and_keeps_up_between_them(void **state) {
        struct fake fake;
        uint64_t end;

        (void)state;
        set_up_auto(&fake, 0, 8);
        assert_int_equal(burst(&fake, 5, SEC), 0);
        assert_counts(&fake, 0, 5, 0, 0);
        assert_int_equal(burst(&fake, 6, SEC), 5);
        assert_counts(&fake, 0, 6, 0, 0);
        assert_int_equal(burst(&fake, 20, SEC), 6);
        assert_counts(&fake, 0, 8, 0, 0); /* max_idle */
        fake.n_spawned = fake.n_dismissed = 0;
        for (int i = 0; i < 10; i++) {
                assert_int_equal(burst(&fake, 8, SEC), 8);
                pass(&fake, fake.now + 200 * SEC, SEC);
        }
        assert_int_equal(fake.n_spawned, 80); /* none for nothing */
        assert_int_equal(fake.n_dismissed, 0);

        fake.n_spawned = 0;
        end = fake.now + 7200 * SEC;
        while (pool_count(fake.pool, POOL_IDLE)) {
                uint32_t n_idle = pool_count(fake.pool, POOL_IDLE);
                uint64_t next = run(&fake);

                assert_in_range(n_idle - pool_count(fake.pool, POOL_IDLE), 0, 1); /* slowly */
                bury(&fake);
                assert_true(next > fake.now);
                if (pool_count(fake.pool, POOL_IDLE))
                        fake.now = next;
                assert_true(fake.now < end);
        }
        assert_int_equal(fake.n_spawned, 0);
        assert_true(run(&fake) == UINT64_MAX);
        tear_down(&fake);
}

static void test_auto_counts_the_runs_of_a_burst_also_when_there_are_no_others(void **state) {
        (void)state;
        for (uint32_t max_idle = 1; max_idle <= 17; max_idle++) {
                for (uint32_t n = 1; n <= max_idle; n++) {
                        struct fake fake;

                        set_up_auto(&fake, 0, max_idle);
                        assert_int_equal(burst(&fake, n, SEC), 0);
                        assert_int_equal(pool_size(fake.pool), n);
                        tear_down(&fake);
                }
        }
}

static void test_auto_follows_littles_law(void **state) {
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 0, 64);
        for (int i = 0; i < 3000; i++) { /* four a second, and warm-ups of two seconds */
                if (pool_count(fake.pool, POOL_IDLE))
                        end_run(&fake, take(&fake));
                else
                        pool_note_miss(fake.pool, fake.now);
                fake.n_idle_cpus = 2;
                pass(&fake, fake.now + 250 * MSEC, 2 * SEC);
        }
        assert_in_range(pool_size(fake.pool), 8, 9);
        tear_down(&fake);
}

static void test_auto_begins_with_what_the_one_before_it_knows(void **state) {
        struct fake fake, heir;

        (void)state;
        set_up_auto(&fake, 0, 8);
        assert_int_equal(burst(&fake, 5, SEC), 0);
        set_up_auto(&heir, 0, 4);
        heir.now = fake.now;
        pool_inherit(heir.pool, fake.pool);
        assert_int_equal(pool_size(heir.pool), 4); /* at once */
        tear_down(&fake);
        run(&heir);
        assert_int_equal(pool_size(heir.pool), 4);
        pass(&heir, heir.now + 7200 * SEC, SEC);
        assert_counts(&heir, 0, 0, 0, 0);
        set_up(&fake, 5, 8);
        pool_inherit(fake.pool, heir.pool);
        assert_int_equal(pool_size(fake.pool), 5);
        tear_down(&fake);
        tear_down(&heir);
}

static void test_what_comes_back_is_kept_over_its_gaps(void **state) {
        unsigned n_hits = 0;
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 0, 8);
        for (int i = 0; i < 12; i++) {
                n_hits += burst(&fake, 1, SEC);
                pass(&fake, fake.now + 1500 * SEC, SEC); /* longer than one run alone is remembered */
        }
        assert_int_equal(n_hits, 10);
        pass(&fake, fake.now + 3600 * SEC, SEC);
        assert_counts(&fake, 0, 0, 0, 0);
        tear_down(&fake);
}

static void test_a_run_that_waits_is_one_run(void **state) {
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 0, 8);
        pool_set_waiting(fake.pool, 1);
        fake.now += 10 * MSEC;
        run(&fake);
        all_ready(&fake);
        end_run(&fake, take(&fake));
        pool_set_waiting(fake.pool, 0);
        run(&fake);
        assert_int_equal(pool_size(fake.pool), 1);
        assert_counts(&fake, 1, 0, 0, 0);
        tear_down(&fake);
}

/* --- Memory --- */

static void make_tight(struct fake *fake, uint64_t usec) {
        fake->machine.memory_tight_until_usec = fake->now + usec;
        fake->machine.memory_scarce_until_usec = fake->now + usec + 60 * SEC;
}

static void test_idle_workers_are_given_back_while_memory_is_tight(void **state) {
        struct fake fake;
        uint64_t begin;

        (void)state;
        set_up_auto(&fake, 2, 8);
        make_ready(&fake);
        burst(&fake, 4, SEC);
        fake.now += SEC;
        make_tight(&fake, SEC);
        run(&fake);
        assert_counts(&fake, 0, 3, 0, 1); /* one by one */
        pass(&fake, fake.now + 20 * SEC, SEC);
        assert_counts(&fake, 0, 2, 0, 0); /* and no more than it takes */
        make_tight(&fake, 20 * SEC);
        begin = fake.now;
        pass(&fake, begin + 79 * SEC, SEC);
        assert_counts(&fake, 0, 0, 0, 0); /* below min_idle as well */
        assert_int_equal(pool_size(fake.pool), 0);
        pass(&fake, begin + 90 * SEC, SEC);
        assert_counts(&fake, 0, 4, 0, 0);
        tear_down(&fake);
}

static void test_a_pool_that_has_just_had_a_run_gives_back_later(void **state) {
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 2, 8);
        make_ready(&fake);
        end_run(&fake, take(&fake));
        make_tight(&fake, 60 * SEC);
        assert_in_range(run(&fake), fake.now + SEC, fake.now + 3 * SEC);
        assert_counts(&fake, 0, 1, 0, 0); /* and is not refilled */
        fake.now = run(&fake);
        run(&fake);
        assert_counts(&fake, 0, 0, 0, 1);
        tear_down(&fake);
}

static void test_a_run_that_waits_gets_a_worker_though_memory_is_scarce(void **state) {
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 0, 8);
        make_tight(&fake, 10 * SEC);
        pool_note_miss(fake.pool, fake.now);
        pass(&fake, fake.now + 5 * SEC, SEC);
        assert_counts(&fake, 0, 0, 0, 0);
        pool_set_waiting(fake.pool, 1);
        run(&fake);
        assert_counts(&fake, 1, 0, 0, 0);
        tear_down(&fake);
}

static void test_a_fixed_size_is_fixed(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake, 3, 10);
        make_ready(&fake);
        make_tight(&fake, 60 * SEC);
        assert_true(run(&fake) == UINT64_MAX);
        assert_counts(&fake, 0, 3, 0, 0);
        tear_down(&fake);
}

static void test_memory_is_looked_at_where_the_kernel_does_not_tell(void **state) {
        struct fake fake;

        (void)state;
        set_up_auto(&fake, 0, 8);
        fake.machine.memory_look_usec = fake.now + 10 * SEC;
        assert_true(run(&fake) == UINT64_MAX); /* nothing to give back */
        fake.machine.memory_look_usec = UINT64_MAX;
        burst(&fake, 1, SEC);
        fake.machine.memory_look_usec = fake.now + 10 * SEC;
        assert_int_equal(run(&fake), fake.now + 10 * SEC);
        tear_down(&fake);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fills_to_size_and_then_sleeps),
                cmocka_unit_test(test_takes_the_oldest_ready),
                cmocka_unit_test(test_refills_when_the_run_is_over_and_all_is_quiet),
                cmocka_unit_test(test_an_empty_pool_is_refilled_at_once_when_nothing_runs),
                cmocka_unit_test(test_refills_beside_a_run_on_an_idle_cpu),
                cmocka_unit_test(test_beside_runs_on_all_cpus_warm_ups_take_a_fortieth),
                cmocka_unit_test(test_looks_for_cpus_less_often_as_time_passes),
                cmocka_unit_test(test_a_pool_that_is_always_empty_does_not_start_one_for_each_miss),
                cmocka_unit_test(test_the_first_start_is_not_delayed),
                cmocka_unit_test(test_max_workers_caps_all_that_live),
                cmocka_unit_test(test_starts_no_more_than_allowed),
                cmocka_unit_test(test_failing_preload_backs_off_and_recovers),
                cmocka_unit_test(test_other_settings_end_the_pause_after_a_failure),
                cmocka_unit_test(test_worker_that_dies_starting_is_a_failure),
                cmocka_unit_test(test_idle_worker_that_dies_is_replaced_at_once),
                cmocka_unit_test(test_workers_that_crash_when_ready_are_failures),
                cmocka_unit_test(test_a_run_proves_a_worker_good),
                cmocka_unit_test(test_start_timeout),
                cmocka_unit_test(test_spawn_error_is_a_failure),
                cmocka_unit_test(test_drain_dismisses_all_but_the_busy),
                cmocka_unit_test(test_waiting_runs_get_workers_beyond_the_size_and_at_once),
                cmocka_unit_test(test_workers_that_nobody_waits_for_any_more_are_given_back),
                cmocka_unit_test(test_expects_workers_in_the_order_they_were_started),
                cmocka_unit_test(test_retired_workers_go_at_once_and_others_come_when_it_is_quiet),
                cmocka_unit_test(test_files_that_never_stop_changing_leave_a_pool_empty_for_half_a_minute),
                cmocka_unit_test(test_a_change_ends_the_pause_after_a_failure),
                cmocka_unit_test(test_a_run_is_not_slowed_by_what_replaces_retired_workers),
                cmocka_unit_test(test_old_workers_are_replaced_one_by_one_and_never_missed),
                cmocka_unit_test(test_where_there_is_no_room_an_old_worker_goes_first),
                cmocka_unit_test(test_an_old_worker_is_better_than_none),
                cmocka_unit_test(test_other_sizes_hold_for_the_living),
                cmocka_unit_test(test_auto_starts_with_the_least),
                cmocka_unit_test(test_auto_at_zero_starts_one_for_the_first_miss),
                cmocka_unit_test(test_auto_grows_for_bursts_and_keeps_up_between_them),
                cmocka_unit_test(test_auto_counts_the_runs_of_a_burst_also_when_there_are_no_others),
                cmocka_unit_test(test_auto_follows_littles_law),
                cmocka_unit_test(test_auto_begins_with_what_the_one_before_it_knows),
                cmocka_unit_test(test_what_comes_back_is_kept_over_its_gaps),
                cmocka_unit_test(test_a_run_that_waits_is_one_run),
                cmocka_unit_test(test_idle_workers_are_given_back_while_memory_is_tight),
                cmocka_unit_test(test_a_pool_that_has_just_had_a_run_gives_back_later),
                cmocka_unit_test(test_a_run_that_waits_gets_a_worker_though_memory_is_scarce),
                cmocka_unit_test(test_a_fixed_size_is_fixed),
                cmocka_unit_test(test_memory_is_looked_at_where_the_kernel_does_not_tell),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
