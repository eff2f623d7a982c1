#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "poold/cpus.h"

#define MSEC UINT64_C(1000)

/* The first CPU that this test may run on, and the second one if there is one. */
static size_t numbers[2];

/* A /proc/stat of our own, of these. */
struct fake {
        char path[64];
        struct cpus *cpus;
        uint64_t now;
        unsigned long long idle_msec[2];
};

static void write_stat(const struct fake *fake) {
        FILE *file = fopen(fake->path, "w");

        assert_non_null(file);
        fprintf(file, "cpu  1 2 3 4 5 6 7 8 9 10\n");
        for (int i = 0; i < 2; i++)
                fprintf(file, "cpu%zu 100 0 100 %llu 7 0 0 0 0 0\n", numbers[i], fake->idle_msec[i] / 10);
        fprintf(file, "intr 123 0 1\nctxt 5\ncpu%zu is not here\n", numbers[0]);
        assert_int_equal(fclose(file), 0);
}

static void set_up(struct fake *fake) {
        *fake = (struct fake){ .now = 1000 * MSEC };
        snprintf(fake->path, sizeof(fake->path), "test-cpus.%d", getpid());
        write_stat(fake);
        fake->cpus = cpus_new(fake->path);
        assert_non_null(fake->cpus);
}

static void tear_down(struct fake *fake) {
        assert_null(cpus_free(fake->cpus));
        unlink(fake->path);
}

/* Time passes, with the first CPU idle for @idle_msec of it. */
static void pass(struct fake *fake, unsigned msec, unsigned idle_msec) {
        fake->now += msec * MSEC;
        fake->idle_msec[0] += idle_msec;
        write_stat(fake);
}

static bool take(const struct fake *fake) {
        return cpus_take_idle(fake->cpus, fake->now);
}

static void test_idle_since_the_last_look(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake);
        assert_false(take(&fake)); /* nothing to compare with */
        pass(&fake, 50, 50);
        assert_true(take(&fake));
        assert_false(take(&fake)); /* it has been taken */
        pass(&fake, 50, 10);
        assert_false(take(&fake));
        pass(&fake, 50, 40);
        assert_true(take(&fake));
        tear_down(&fake);
}

static void test_asking_again_at_once_is_not_looking(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake);
        assert_false(take(&fake));
        for (int i = 0; i < 4; i++) {
                pass(&fake, 10, 10);
                assert_false(take(&fake));
        }
        pass(&fake, 10, 10);
        assert_true(take(&fake));
        tear_down(&fake);
}

static void test_long_ago_says_nothing_of_now(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake);
        assert_false(take(&fake));
        pass(&fake, 60000, 60000);
        assert_false(take(&fake));
        pass(&fake, 50, 50);
        assert_true(take(&fake));
        tear_down(&fake);
}

/* What a CPU that we have been given has idled in the past says nothing. */
static void test_other_cpus_are_looked_at_anew(void **state) {
        cpu_set_t before, one;
        struct fake fake;

        (void)state;
        sched_getaffinity(0, sizeof(before), &before);
        CPU_ZERO(&one);
        CPU_SET(numbers[1], &one);
        if (CPU_COUNT(&before) == 1)
                return; /* who has one CPU has no others */
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        set_up(&fake);
        assert_int_equal(cpus_count(fake.cpus), 1);
        assert_false(take(&fake));
        fake.idle_msec[0] = 1000000;
        assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
        pass(&fake, 50, 0);
        assert_false(take(&fake));
        assert_int_equal(cpus_count(fake.cpus), CPU_COUNT(&before));
        pass(&fake, 50, 50);
        assert_true(take(&fake));
        tear_down(&fake);
}

static void test_without_the_file_none_is_idle(void **state) {
        struct cpus *cpus = cpus_new("does-not-exist");

        (void)state;
        assert_non_null(cpus);
        assert_false(cpus_take_idle(cpus, 1000 * MSEC));
        assert_false(cpus_take_idle(cpus, 1050 * MSEC));
        assert_in_range(cpus_count(cpus), 1, (uintmax_t)sysconf(_SC_NPROCESSORS_ONLN));
        cpus_free(cpus);
}

static void find_numbers(void) {
        size_t n = 0;
        cpu_set_t ours;

        sched_getaffinity(0, sizeof(ours), &ours);
        for (size_t i = 0; i < CPU_SETSIZE && n < 2; i++)
                if (CPU_ISSET(i, &ours))
                        numbers[n++] = i;
        if (n == 1)
                numbers[1] = numbers[0] + 1;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_idle_since_the_last_look),
                cmocka_unit_test(test_asking_again_at_once_is_not_looking),
                cmocka_unit_test(test_long_ago_says_nothing_of_now),
                cmocka_unit_test(test_other_cpus_are_looked_at_anew),
                cmocka_unit_test(test_without_the_file_none_is_idle),
        };

        find_numbers();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
