/* poold/cgroup against folders that look like mounted control groups. */

#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fd.h"
#include "poold/cgroup.h"

static char root[] = "/tmp/poold-cgroup-XXXXXX";

/* Writes a file below the root, with the folders that it takes. */
static void put(const char *path, const char *text) {
        char whole[512];
        FILE *file;

        snprintf(whole, sizeof(whole), "%s/%s", root, path);
        for (char *at = whole + sizeof(root); (at = strchr(at, '/')); at++) {
                *at = '\0';
                mkdir(whole, 0700);
                *at = '/';
        }
        file = fopen(whole, "w");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
}

static int make_root(void **state) {
        (void)state;
        memcpy(root + sizeof(root) - 7, "XXXXXX", 7);
        return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
        char command[64];

        (void)state;
        snprintf(command, sizeof(command), "rm -r %s", root);
        return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

static int compare(const char *ours, const char *theirs) {
        struct decline why = { .reason = "" };
        int r = cgroups_compare(root, ours, theirs, &why);

        assert_string_equal(why.reason, r ? "cgroup" : "");
        return r;
}

static void test_no_limits(void **state) {
        (void)state;
        put("a/memory.max", "max\n");
        put("b/cpu.max", "max 100000\n");
        assert_int_equal(compare("0::/a\n", "0::/b\n"), 0);
        assert_int_equal(compare("0::/a\n", "0::/\n"), 0);
        assert_int_equal(compare("0::/a\n", "0::/nonesuch/../x\n"), 0);
        assert_int_equal(compare("0::/a\n", ""), 0);
        assert_int_equal(compare("", "0::/a\n"), 0);
        assert_int_equal(compare("rubbish", "more:rubbish\n::\n:\n"), 0);
}

static void test_limits(void **state) {
        static const char *const rows[][2] = {
                { "memory.max", "1073741824\n" },
                { "memory.high", "1\n" },
                { "memory.swap.max", "0\n" },
                { "cpu.max", "50000 100000\n" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                char path[64];

                snprintf(path, sizeof(path), "slice%zu/job/%s", i, rows[i][0]);
                put(path, rows[i][1]);
                snprintf(path, sizeof(path), "0::/slice%zu/job\n", i);
                assert_int_equal(compare("0::/ours\n", path), DECLINED);
                assert_int_equal(compare(path, "0::/ours\n"), 0); /* ours alone is ours */
                snprintf(path, sizeof(path), "0::/slice%zu/job/task/deep\n", i);
                assert_int_equal(compare("0::/ours\n", path), DECLINED);
                snprintf(path, sizeof(path), "0::/slice%zu/jobs\n", i);
                assert_int_equal(compare("0::/ours\n", path), 0);
        }
}

/* One that holds for both of us is no difference; of two that differ the stricter one counts. */
static void test_shared_limits(void **state) {
        (void)state;
        put("job/memory.max", "1000\n");
        put("job/ours/memory.max", "500\n");
        put("job/same/memory.max", "500\n");
        put("job/less/memory.max", "400\n");
        put("job/more/memory.max", "600\n");
        put("job/cpu/cpu.max", "100 200\n");
        put("job/half/cpu.max", "1000 2000\n");
        put("job/third/cpu.max", "1000 3000\n");
        assert_int_equal(compare("0::/job/a\n", "0::/job/b\n"), 0);
        assert_int_equal(compare("0::/job\n", "0::/job/b\n"), 0);
        assert_int_equal(compare("0::/job/ours\n", "0::/job/same\n"), 0);
        assert_int_equal(compare("0::/job/ours\n", "0::/job/more/x\n"), 0);
        assert_int_equal(compare("0::/job/ours\n", "0::/job/less\n"), DECLINED);
        assert_int_equal(compare("0::/job/cpu\n", "0::/job/half\n"), 0);
        assert_int_equal(compare("0::/job/cpu\n", "0::/job/third\n"), DECLINED);
}

/* Version 1, and version 2 beside it. */
static void test_old_hierarchies(void **state) {
        const char *ours = "9:memory:/\n4:cpu,cpuacct:/\n0::/\n";

        (void)state;
        put("memory/none/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/job/memory.limit_in_bytes", "1000000\n");
        put("cpu/none/cpu.cfs_quota_us", "-1\n");
        put("cpu/job/cpu.cfs_quota_us", "5000\n");
        put("unified/job/memory.max", "1000000\n");
        put("job/memory.max", "1\n"); /* nothing is mounted there */
        assert_int_equal(compare(ours, "9:memory:/none\n4:cpu,cpuacct:/none\n0::/\n"), 0);
        assert_int_equal(compare(ours, "9:memory:/job\n4:cpu,cpuacct:/none\n0::/\n"), DECLINED);
        assert_int_equal(compare(ours, "9:memory:/none\n4:cpu,cpuacct:/job\n0::/\n"), DECLINED);
        assert_int_equal(compare(ours, "9:memory:/none\n4:cpuacct,cpux:/job\n0::/\n"), 0);
        assert_int_equal(compare(ours, "9:memory:/none\n4:cpu,cpuacct:/none\n0::/job\n"), DECLINED);
        assert_int_equal(compare(ours, "9:memory:/none\n4:pids,name=cpu:/job\n0::/none\n"), 0);
}

static void test_our_own_group(void **state) {
        struct cgroups *cgroups = cgroups_new(root);
        char ours[4096];
        struct decline why;

        (void)state;
        assert_non_null(cgroups);
        assert_true(fd_read_text(AT_FDCWD, "/proc/self/cgroup", ours, sizeof(ours)) > 0);
        assert_int_equal(cgroups_check(cgroups, ours, 1, &why), 0);
        assert_int_equal(cgroups_check(cgroups, "", 1, &why), 0); /* not known */
        assert_null(cgroups_free(cgroups));
}

/* What is known of a group is looked at again after 5 s. */
static void test_limits_change(void **state) {
        static const char theirs[] = "0::/a/group/that/nobody/has\n";
        struct cgroups *cgroups = cgroups_new(root);
        struct decline why = { .reason = "" };

        (void)state;
        assert_non_null(cgroups);
        put("a/group/that/memory.max", "1\n");
        assert_int_equal(cgroups_check(cgroups, theirs, 1, &why), DECLINED);
        assert_string_equal(why.reason, "cgroup");
        put("a/group/that/memory.max", "max\n");
        assert_int_equal(cgroups_check(cgroups, theirs, 4999999, &why), DECLINED);
        assert_int_equal(cgroups_check(cgroups, theirs, 5000001, &why), 0);
        assert_null(cgroups_free(cgroups));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_no_limits),       TEST(test_limits),        TEST(test_shared_limits),
                TEST(test_old_hierarchies), TEST(test_our_own_group), TEST(test_limits_change),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
