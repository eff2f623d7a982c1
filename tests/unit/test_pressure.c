#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "poold/pressure.h"

#define SEC UINT64_C(1000000)

/* Files of our own, which have no triggers: as on a kernel that does not tell. */
struct fake {
        char psi[64], meminfo[64];
        struct pressure *pressure;
        uint64_t now;
};

static void write_file(const char *path, const char *text) {
        FILE *file = fopen(path, "w");

        assert_non_null(file);
        fputs(text, file);
        assert_int_equal(fclose(file), 0);
}

static void set_up(struct fake *fake) {
        *fake = (struct fake){ .now = 1000 * SEC };
        snprintf(fake->psi, sizeof(fake->psi), "test-psi.%d", getpid());
        snprintf(fake->meminfo, sizeof(fake->meminfo), "test-meminfo.%d", getpid());
        fake->pressure = pressure_new(&(struct pressure_paths){ fake->psi, fake->meminfo });
        assert_non_null(fake->pressure);
        assert_int_equal(pressure_fd(fake->pressure), -1);
}

static void tear_down(struct fake *fake) {
        assert_null(pressure_free(fake->pressure));
        unlink(fake->psi);
        unlink(fake->meminfo);
}

static void say(const struct fake *fake, double percent) {
        char text[256];

        snprintf(
                text, sizeof(text),
                "some avg10=%.2f avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
                percent);
        write_file(fake->psi, text);
}

static bool is_tight(struct fake *fake) {
        pressure_look(fake->pressure, fake->now);
        return fake->now < pressure_tight_until_usec(fake->pressure);
}

static bool is_scarce(const struct fake *fake) {
        return fake->now < pressure_scarce_until_usec(fake->pressure);
}

static void test_averages(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake);
        say(&fake, 1.5);
        assert_false(is_tight(&fake));
        assert_false(is_scarce(&fake));
        say(&fake, 25);
        assert_false(is_tight(&fake)); /* it has only just been looked at */
        fake.now += SEC;
        assert_true(is_tight(&fake));
        say(&fake, 0.3);
        fake.now += 10 * SEC;
        assert_false(is_tight(&fake));
        assert_true(is_scarce(&fake));
        fake.now += 60 * SEC;
        assert_false(is_scarce(&fake));
        assert_in_range(pressure_next_look_usec(fake.pressure), fake.now - 60 * SEC, fake.now + 10 * SEC);
        tear_down(&fake);
}

/* For how long memory is scarce when it is tight for a moment. */
static uint64_t scarce_time(struct fake *fake) {
        say(fake, 50);
        assert_true(is_tight(fake));
        say(fake, 0);
        return pressure_scarce_until_usec(fake->pressure) - fake->now;
}

static void test_scarce_for_longer_each_time_that_it_comes_back(void **state) {
        uint64_t last = 0, first;
        struct fake fake;

        (void)state;
        set_up(&fake);
        first = scarce_time(&fake);
        assert_in_range(first, 30 * SEC, 120 * SEC);
        fake.now += 10 * SEC;
        assert_int_equal(scarce_time(&fake), first); /* nothing was started meanwhile that could be the cause */
        for (int i = 0; i < 10; i++) {
                uint64_t time;

                fake.now = pressure_scarce_until_usec(fake.pressure) + 5 * SEC;
                time = scarce_time(&fake);
                assert_true(time >= last);
                last = time;
        }
        assert_in_range(last, 600 * SEC, 1800 * SEC);
        fake.now += 7200 * SEC;
        assert_int_equal(scarce_time(&fake), first);
        tear_down(&fake);
}

static void test_available_memory_where_there_is_no_psi(void **state) {
        struct fake fake;

        (void)state;
        set_up(&fake);
        assert_false(is_tight(&fake)); /* nor anything else */
        write_file(fake.meminfo,
                   "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    1000000 kB\n");
        fake.now += SEC;
        assert_false(is_tight(&fake));
        write_file(fake.meminfo,
                   "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:     700000 kB\n");
        fake.now += SEC;
        assert_true(is_tight(&fake));
        tear_down(&fake);
}

static void use_cpu(void) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
                ;
}

/* The kernel's own trigger, on what can be had too little of without doing harm: CPU time. */
static void test_the_kernel_tells(void **state) {
        struct pressure *pressure =
                pressure_new(&(struct pressure_paths){ "/proc/pressure/cpu", "/proc/meminfo" });
        pid_t pids[64];
        long n = 2 * sysconf(_SC_NPROCESSORS_ONLN);

        (void)state;
        assert_non_null(pressure);
        if (pressure_fd(pressure) < 0) { /* before Linux 6.5 it does not */
                assert_int_not_equal(pressure_next_look_usec(pressure), UINT64_MAX);
                pressure_free(pressure);
                return;
        }
        n = n > 64 ? 64 : n;
        assert_true(pressure_next_look_usec(pressure) == UINT64_MAX);
        for (long i = 0; i < n; i++) {
                pids[i] = fork();
                assert_true(pids[i] >= 0);
                if (pids[i] == 0)
                        use_cpu();
        }
        assert_int_equal(poll(&(struct pollfd){ .fd = pressure_fd(pressure), .events = POLLIN }, 1, 60000), 1);
        for (long i = 0; i < n; i++) {
                kill(pids[i], SIGKILL);
                waitpid(pids[i], NULL, 0);
        }
        pressure_notice(pressure, 1000 * SEC);
        assert_in_range(pressure_tight_until_usec(pressure), 1001 * SEC, 1010 * SEC);
        assert_true(pressure_fd(pressure) >= 0);
        pressure_free(pressure);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_averages),
                cmocka_unit_test(test_scarce_for_longer_each_time_that_it_comes_back),
                cmocka_unit_test(test_available_memory_where_there_is_no_psi),
                cmocka_unit_test(test_the_kernel_tells),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
