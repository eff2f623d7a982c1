#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "poold/stats.h"

static int set_up(void **state) {
        *state = calloc(1, sizeof(struct stats));
        return *state ? 0 : -1;
}

static int tear_down(void **state) {
        stats_fini(*state);
        free(*state);
        return 0;
}

static void test_runs_are_hits_and_misses(void **state) {
        struct stats *stats = *state;

        stats_hit(stats, 100);
        stats_hit(stats, 120);
        stats_miss(stats, "empty");
        stats_miss(stats, "env");
        stats_miss(stats, "empty");
        assert_int_equal(stats->n_hits, 2);
        assert_int_equal(stats->n_misses, 2);
        assert_string_equal(stats->misses[0].reason, "empty");
        assert_int_equal(stats->misses[0].count, 2);
        assert_int_equal(stats->misses[1].count, 1);
        assert_int_equal(stats_runs(stats), 5);
}

static void test_declined_run_stays_one_run(void **state) {
        struct stats *stats = *state;

        stats_hit(stats, 100);
        stats_unhit(stats, "options");
        assert_int_equal(stats->n_hits, 0);
        assert_int_equal(stats->misses[0].count, 1);
        assert_int_equal(stats_runs(stats), 1);
}

static void test_too_many_reasons_are_other(void **state) {
        struct stats *stats = *state;
        char reason[16];

        for (int round = 0; round < 2; round++)
                for (int i = 0; i < STATS_N_REASONS + 10; i++) {
                        snprintf(reason, sizeof(reason), "reason-%d", i);
                        stats_miss(stats, reason);
                }
        assert_int_equal(stats->n_misses, STATS_N_REASONS);
        for (int i = 0; i < STATS_N_REASONS - 1; i++)
                assert_int_equal(stats->misses[i].count, 2);
        assert_string_equal(stats->misses[STATS_N_REASONS - 1].reason, "other");
        assert_int_equal(stats->misses[STATS_N_REASONS - 1].count, 22);
}

static void test_percentiles(void **state) {
        struct stats *stats = *state;

        assert_int_equal(stats_handoff_usec(stats, 50), 0);
        assert_int_equal(stats_warmup_ms(stats, 50), 0);
        for (uint64_t i = 0; i < 100; i++)
                stats_hit(stats, i < 90 ? 100 : 40000);
        assert_in_range(stats_handoff_usec(stats, 50), 95, 105);
        assert_in_range(stats_handoff_usec(stats, 99), 38000, 42000);
        stats_wait(stats, 5000);
        assert_in_range(stats_wait_usec(stats, 50), 4750, 5250);
        histogram_add(&stats->warmup, 842000);
        assert_in_range(stats_warmup_ms(stats, 50), 800, 884);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_runs_are_hits_and_misses, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_declined_run_stays_one_run, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_too_many_reasons_are_other, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_percentiles, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
