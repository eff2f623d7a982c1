/* poold/metrics_page: what is written of each pool, and that a label cannot break the page. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "poold/metrics_page.h"

struct fixture {
        struct stats first, second;
        struct metrics_pool pools[2];
        char *page;
};

static int set_up(void **state) {
        struct fixture *fixture = calloc(1, sizeof(*fixture));

        if (!fixture)
                return -1;
        fixture->pools[0] = (struct metrics_pool){ .name = "first", .stats = &fixture->first };
        fixture->pools[1] = (struct metrics_pool){ .name = "second", .stats = &fixture->second };
        *state = fixture;
        return 0;
}

static int tear_down(void **state) {
        struct fixture *fixture = *state;

        stats_fini(&fixture->first);
        stats_fini(&fixture->second);
        free(fixture->page);
        free(fixture);
        return 0;
}

static void write_page(struct fixture *fixture) {
        const struct metrics_process process = { .started_sec = 1700000000.5, .cpu_sec = 0.25, .n_fds = 12 };
        size_t n_bytes;
        FILE *page;

        free(fixture->page);
        page = open_memstream(&fixture->page, &n_bytes);
        assert_non_null(page);
        metrics_page_write(page, &process, fixture->pools, 2);
        assert_int_equal(fclose(page), 0);
}

/* Is @line, without its end, a line of the page? */
static void assert_line(const struct fixture *fixture, const char *line) {
        const char *at = fixture->page;

        while ((at = strstr(at, line))) {
                if ((at == fixture->page || at[-1] == '\n') && at[strlen(line)] == '\n')
                        return;
                at++;
        }
        fail_msg("no line '%s' in:\n%s", line, fixture->page);
}

static void test_counters_and_gauges(void **state) {
        struct fixture *fixture = *state;

        stats_hit(&fixture->first, 120);
        stats_miss(&fixture->first, "empty");
        fixture->first.n_starts = UINT64_MAX;
        fixture->pools[0].n_workers[POOL_IDLE] = 3;
        fixture->pools[1].n_wanted = 4;
        fixture->pools[1].n_waiting = 5;
        fixture->pools[1].is_degraded = true;
        write_page(fixture);
        assert_line(fixture, "# TYPE poold_runs_total counter");
        assert_line(fixture, "poold_runs_total{pool=\"first\"} 2");
        assert_line(fixture, "poold_runs_total{pool=\"second\"} 0");
        assert_line(fixture, "poold_misses_total{pool=\"first\",reason=\"empty\"} 1");
        assert_line(fixture, "poold_worker_starts_total{pool=\"first\"} 18446744073709551615");
        assert_line(fixture, "poold_workers{pool=\"first\",state=\"idle\"} 3");
        assert_line(fixture, "poold_workers{pool=\"first\",state=\"busy\"} 0");
        assert_line(fixture, "poold_workers_target{pool=\"second\"} 4");
        assert_line(fixture, "poold_runs_waiting{pool=\"second\"} 5");
        assert_line(fixture, "poold_pool_degraded{pool=\"first\"} 0");
        assert_line(fixture, "poold_pool_degraded{pool=\"second\"} 1");
        assert_line(fixture, "process_start_time_seconds 1700000000.5");
        assert_line(fixture, "process_cpu_seconds_total 0.25");
        assert_line(fixture, "process_open_fds 12");
}

static void test_histogram(void **state) {
        struct fixture *fixture = *state;

        stats_hit(&fixture->first, 99);
        stats_hit(&fixture->first, 100);
        stats_hit(&fixture->first, 2000000);
        stats_hit(&fixture->first, UINT64_C(3600) * 1000000);
        write_page(fixture);
        assert_line(fixture, "# TYPE poold_handoff_seconds histogram");
        assert_line(fixture, "poold_handoff_seconds_bucket{pool=\"first\",le=\"5e-05\"} 0");
        assert_line(fixture, "poold_handoff_seconds_bucket{pool=\"first\",le=\"0.0001\"} 1");
        assert_line(fixture, "poold_handoff_seconds_bucket{pool=\"first\",le=\"0.00025\"} 2");
        assert_line(fixture, "poold_handoff_seconds_bucket{pool=\"first\",le=\"1.0\"} 2");
        assert_line(fixture, "poold_handoff_seconds_bucket{pool=\"first\",le=\"2.5\"} 3");
        assert_line(fixture, "poold_handoff_seconds_bucket{pool=\"first\",le=\"300.0\"} 3");
        assert_line(fixture, "poold_handoff_seconds_bucket{pool=\"first\",le=\"+Inf\"} 4");
        assert_line(fixture, "poold_handoff_seconds_count{pool=\"first\"} 4");
        assert_line(fixture, "poold_handoff_seconds_sum{pool=\"first\"} 3602.000199");
}

static void test_labels_are_escaped(void **state) {
        struct fixture *fixture = *state;

        stats_miss(&fixture->first, "a\"b\\c\nd\xff\x7f}");
        write_page(fixture);
        assert_line(fixture, "poold_misses_total{pool=\"first\",reason=\"a\\\"b\\\\c?d??}\"} 1");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_counters_and_gauges, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_histogram, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_labels_are_escaped, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
