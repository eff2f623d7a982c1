#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "poold/histogram.h"

#define SEC UINT64_C(1000000)

static void test_empty(void **state) {
        const struct histogram histogram = { 0 };

        (void)state;
        assert_int_equal(histogram_percentile(&histogram, 0), 0);
        assert_int_equal(histogram_percentile(&histogram, 100), 0);
        assert_int_equal(histogram_count(&histogram, 0, SEC), 0);
}

static void test_one_is_found_within_five_percent(void **state) {
        (void)state;
        for (uint64_t usec = 0; usec < 10000 * SEC; usec += usec / 97 + 1) {
                struct histogram histogram = { 0 };

                histogram_add(&histogram, usec);
                assert_int_equal(histogram.n, 1);
                assert_int_equal(histogram.sum_usec, usec);
                for (unsigned percentile = 0; percentile <= 100; percentile += 50) {
                        double found = (double)histogram_percentile(&histogram, percentile);

                        assert_true(fabs(found - (double)usec) <= 0.05 * (double)usec);
                }
        }
}

static void test_percentiles_are_in_order(void **state) {
        struct histogram histogram = { 0 };

        (void)state;
        for (uint64_t i = 1; i <= 1000; i++)
                histogram_add(&histogram, i * 1000);
        assert_in_range(histogram_percentile(&histogram, 0), 950, 1050);
        assert_in_range(histogram_percentile(&histogram, 50), 475000, 525000);
        assert_in_range(histogram_percentile(&histogram, 99), 940500, 1039500);
        assert_in_range(histogram_percentile(&histogram, 100), 950000, 1050000);
}

static void test_count_is_exact_at_two_digits(void **state) {
        static const uint64_t bounds[] = { 1, 9, 10, 25, 99, 100, 250, 1000, 2500, SEC, 25 * SEC, 100 * SEC };
        struct histogram histogram = { 0 };

        (void)state;
        for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
                histogram_add(&histogram, bounds[i] - 1);
                histogram_add(&histogram, bounds[i]);
        }
        for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
                uint64_t n = 0;

                for (size_t j = 0; j < sizeof(bounds) / sizeof(bounds[0]); j++)
                        n += (bounds[j] - 1 < bounds[i]) + (bounds[j] < bounds[i]);
                assert_int_equal(histogram_count(&histogram, 0, bounds[i]), n);
                if (bounds[i] >= 25)
                        assert_int_equal(histogram_count(&histogram, 0, 25) +
                                                 histogram_count(&histogram, 25, bounds[i]),
                                         n);
        }
}

static void test_too_long_counts_as_the_longest(void **state) {
        struct histogram histogram = { 0 };

        (void)state;
        histogram_add(&histogram, UINT64_MAX / 2);
        histogram_add(&histogram, 10000 * SEC);
        assert_int_equal(histogram.counts[HISTOGRAM_N_BUCKETS - 1], 2);
        assert_in_range(histogram_percentile(&histogram, 50), 9900 * SEC, 10000 * SEC);
        assert_int_equal(histogram_count(&histogram, 0, 1000 * SEC), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_one_is_found_within_five_percent),
                cmocka_unit_test(test_percentiles_are_in_order),
                cmocka_unit_test(test_count_is_exact_at_two_digits),
                cmocka_unit_test(test_too_long_counts_as_the_longest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
