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
};

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

static void set_up(struct fake *fake, uint32_t size, uint32_t max_workers) {
        const struct pool_settings settings = {
                .min_idle = size, .max_idle = size, .max_workers = max_workers, .start_timeout_sec = 60
        };

        *fake = (struct fake){ .now = 1000 * SEC };
        fake->pool = pool_new("test", &settings, &actions, fake);
        assert_non_null(fake->pool);
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

static void make_ready(struct fake *fake) {
        run(fake);
        while (first(fake, POOL_STARTING))
                pool_ready(first(fake, POOL_STARTING), fake->now);
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
        make_ready(&fake);
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
        uint64_t due;

        (void)state;
        set_up(&fake, 2, 10);
        make_ready(&fake);
        pool_take(fake.pool, fake.now, &worker);
        due = run(&fake);
        assert_true(due > fake.now && due != UINT64_MAX);
        assert_counts(&fake, 0, 1, 1, 0);

        fake.now += 2 * MSEC;
        pool_finished(worker, fake.now);
        forget(&fake, worker, "");
        assert_true(run(&fake) < due);
        assert_counts(&fake, 0, 1, 0, 0);
        fake.now = run(&fake);
        run(&fake);
        assert_counts(&fake, 1, 1, 0, 0);
        tear_down(&fake);
}

static void test_refills_beside_a_long_run(void **state) {
        struct pool_worker *worker;
        struct fake fake;

        (void)state;
        set_up(&fake, 1, 10);
        make_ready(&fake);
        pool_take(fake.pool, fake.now, &worker);
        fake.now = run(&fake);
        run(&fake);
        assert_counts(&fake, 1, 0, 1, 0);
        tear_down(&fake);
}

static void test_runs_in_a_row_do_not_put_the_refill_off_for_ever(void **state) {
        struct fake fake;
        uint64_t begin;

        (void)state;
        set_up(&fake, 200, 400);
        make_ready(&fake);
        begin = fake.now;
        while (!first(&fake, POOL_STARTING)) {
                struct pool_worker *worker;

                assert_int_equal(pool_take(fake.pool, fake.now, &worker), 0);
                fake.now += 5 * MSEC;
                forget(&fake, worker, "");
                run(&fake);
        }
        assert_in_range(fake.now - begin, 100 * MSEC, 500 * MSEC);
        tear_down(&fake);
}

static void test_max_workers_caps_all_that_live(void **state) {
        struct pool_worker *worker;
        struct fake fake;

        (void)state;
        set_up(&fake, 2, 3);
        make_ready(&fake);
        pool_take(fake.pool, fake.now, &worker);
        pool_take(fake.pool, fake.now, &worker);
        fake.now += SEC;
        make_ready(&fake);
        assert_counts(&fake, 0, 1, 2, 0);
        forget(&fake, worker, "");
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

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fills_to_size_and_then_sleeps),
                cmocka_unit_test(test_takes_the_oldest_ready),
                cmocka_unit_test(test_refills_when_the_run_is_over_and_all_is_quiet),
                cmocka_unit_test(test_refills_beside_a_long_run),
                cmocka_unit_test(test_runs_in_a_row_do_not_put_the_refill_off_for_ever),
                cmocka_unit_test(test_max_workers_caps_all_that_live),
                cmocka_unit_test(test_starts_no_more_than_allowed),
                cmocka_unit_test(test_failing_preload_backs_off_and_recovers),
                cmocka_unit_test(test_worker_that_dies_starting_is_a_failure),
                cmocka_unit_test(test_idle_worker_that_dies_is_replaced_at_once),
                cmocka_unit_test(test_workers_that_crash_when_ready_are_failures),
                cmocka_unit_test(test_a_run_proves_a_worker_good),
                cmocka_unit_test(test_start_timeout),
                cmocka_unit_test(test_spawn_error_is_a_failure),
                cmocka_unit_test(test_drain_dismisses_all_but_the_busy),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
