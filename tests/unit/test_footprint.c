/* poold/footprint on folders of our own. */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/proto.h"
#include "poold/footprint.h"
#include "poold/trace.h"

static char root[] = "/tmp/poold-footprint-XXXXXX";
static struct footprint *footprint;

static int set_up(void **state) {
        (void)state;
        memcpy(root + sizeof(root) - 7, "XXXXXX", 7);
        footprint = footprint_new();
        return mkdtemp(root) && footprint ? 0 : -1;
}

static int tear_down(void **state) {
        char command[64];

        (void)state;
        footprint = footprint_free(footprint);
        snprintf(command, sizeof(command), "rm -r %s", root);
        return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

/* Below the root; the last eight stay. */
static const char *below(const char *name) {
        static char paths[8][512];
        static size_t next;
        char *path = paths[next++ % N_ELEMENTS(paths)];

        snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
        return path;
}

static void put(const char *name, const char *text) {
        FILE *file = fopen(below(name), "w");

        assert_non_null(file);
        fputs(text, file);
        fclose(file);
}

static void make_folder(const char *name) {
        assert_int_equal(mkdir(below(name), 0700), 0);
}

/* What poold is told. It lies in @payload. */
static struct proto_files put_files(struct wire_writer *payload) {
        struct proto_files files;
        struct wire_reader reader;

        assert_int_equal(footprint_put(footprint, payload), 0);
        wire_reader_init(&reader, payload->data, payload->n_bytes);
        assert_int_equal(proto_get_files(&reader, &files), 0);
        return files;
}

/* The lines below the root, joined by blanks, and those for all of sys.path before them. */
static void expect_places(const char *expected) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        const struct proto_files files = put_files(&payload);
        char text[2048] = "";
        const char *line;
        bool is_below = false;

        line = files.modules.data;
        for (uint32_t i = 0; i < files.modules.count; i++, line = wire_strv_next(line))
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", line);
        line = files.places.data;
        for (uint32_t i = 0; i < files.places.count; i++, line = wire_strv_next(line)) {
                if (line[0] == '/')
                        is_below = strncmp(line, root, strlen(root)) == 0;
                if (is_below)
                        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ",
                                 line[0] == '/' ? line + strlen(root) : line);
        }
        assert_string_equal(text, expected);
}

static void test_file(void **state) {
        (void)state;
        make_folder("a");
        put("a/mod.py", "");
        footprint_add(footprint, below("a/mod.py"));
        footprint_add(footprint, below("a//./../a/mod.py"));
        footprint_add(footprint, "relative.py");
        expect_places(" /a fmod.py ");
}

static uint64_t inodes(void) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        return put_files(&payload).inodes;
}

/* The lines stay the same, but what they are about does not. */
static void test_inodes(void **state) {
        uint64_t at_first, then;

        (void)state;
        make_folder("a");
        put("a/mod.py", "");
        put("a/new.py", "");
        make_folder("b");
        footprint_add(footprint, below("a/mod.py"));
        footprint_add_folder(footprint, below("b"));
        at_first = inodes();
        put("a/mod.py", "2");
        assert_true(inodes() == at_first);
        assert_int_equal(rename(below("a/new.py"), below("a/mod.py")), 0);
        then = inodes();
        assert_true(then != at_first);
        assert_int_equal(rename(below("b"), below("c")), 0);
        make_folder("b");
        assert_true(inodes() != then && inodes() != at_first);
        expect_places(" /a fmod.py /b p ");
}

static void test_missing(void **state) {
        (void)state;
        footprint_add(footprint, below("not/there/yet"));
        put("file", "");
        footprint_add(footprint, below("file/inside")); /* of an archive */
        expect_places(" ffile mnot ");
}

static void test_links(void **state) {
        (void)state;
        make_folder("release-1");
        put("release-1/real.py", "");
        assert_int_equal(symlink("real.py", below("release-1/mod.py")), 0);
        assert_int_equal(symlink("release-1/", below("current")), 0);
        assert_int_equal(symlink(below("current"), below("absolute")), 0);
        assert_int_equal(symlink("loop", below("loop")), 0);
        footprint_add(footprint, below("absolute/mod.py"));
        footprint_add(footprint, below("loop/mod.py"));
        expect_places(" /absolute l /current l /loop l /release-1 freal.py /release-1/mod.py l ");
}

static void test_names_of_a_file(void **state) {
        (void)state;
        put("mod.py", "");
        assert_int_equal(link(below("mod.py"), below("cached")), 0);
        footprint_add(footprint, below("mod.py"));
        expect_places(" fmod.py /mod.py c ");
}

static void test_modules(void **state) {
        (void)state;
        make_folder("lib");
        make_folder("lib/package");
        put("lib/some.pth", "");
        put("lib/some.txt", "");
        footprint_add_folder(footprint, below("lib"));
        footprint_add_module(footprint, NULL, "json");
        footprint_add_module(footprint, NULL, "abc");
        footprint_add_module(footprint, NULL, "json");
        footprint_add_module(footprint, below("lib/package"), "part");
        expect_places("abc json  /lib fsome.pth p /lib/package ipart ");
}

static uint64_t now_nsec(void) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What changes from now on is later than what was before. A file's time may be one tick ahead of the coarse clock. */
static void let_time_pass(void) {
        for (int ticks = 0; ticks < 3; ticks++)
                for (uint64_t began_nsec = now_nsec(); now_nsec() == began_nsec;)
                        usleep(1000);
}

static void expect_settled(uint64_t since_nsec, bool is_unwatched, const char *changed) {
        const char *path = NULL;

        assert_int_equal(footprint_settle(footprint, since_nsec, is_unwatched, &path),
                         changed ? FOOTPRINT_CHANGED : 0);
        if (changed)
                assert_string_equal(path, changed);
        else
                assert_null(path);
}

static void look(void) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        assert_int_equal(footprint_put(footprint, &payload), 0);
}

static void test_settled(void **state) {
        uint64_t since_nsec;

        (void)state;
        put("mod.py", "");
        footprint_add(footprint, below("mod.py"));
        let_time_pass();
        since_nsec = now_nsec();
        look();
        expect_settled(since_nsec, false, NULL);
        put("mod.py", "2");
        assert_null(footprint_find_change(footprint)); /* poold's to find */
}

static void test_changed_since(void **state) {
        uint64_t since_nsec;

        (void)state;
        put("mod.py", "");
        footprint_add(footprint, below("mod.py"));
        let_time_pass();
        since_nsec = now_nsec();
        put("mod.py", "2");
        look();
        expect_settled(since_nsec, false, below("mod.py"));
}

static void test_moved_between_the_looks(void **state) {
        uint64_t since_nsec;

        (void)state;
        make_folder("one");
        make_folder("other");
        put("one/mod.py", "");
        put("other/mod.py", "");
        assert_int_equal(symlink("one", below("link")), 0);
        footprint_add(footprint, below("link/mod.py"));
        let_time_pass();
        since_nsec = now_nsec();
        look();
        assert_int_equal(unlink(below("link")), 0);
        assert_int_equal(symlink("other", below("link")), 0);
        expect_settled(since_nsec, false, below("link"));
}

static void test_gone_between_the_looks(void **state) {
        (void)state;
        make_folder("lib");
        put("lib/mod.py", "");
        footprint_add(footprint, below("lib/mod.py"));
        look();
        assert_int_equal(unlink(below("lib/mod.py")), 0);
        expect_settled(0, false, below("lib"));
}

static void test_module_that_has_come(void **state) {
        uint64_t since_nsec;

        (void)state;
        make_folder("lib");
        footprint_add_folder(footprint, below("lib"));
        footprint_add_module(footprint, NULL, "optional");
        let_time_pass();
        since_nsec = now_nsec();
        look();
        put("lib/log", "");
        put("lib/another.py", "");
        expect_settled(since_nsec, false, NULL);
}

static void test_module_that_has_come_and_counts(void **state) {
        uint64_t since_nsec;

        (void)state;
        make_folder("lib");
        footprint_add_folder(footprint, below("lib"));
        footprint_add_module(footprint, NULL, "optional");
        let_time_pass();
        since_nsec = now_nsec();
        look();
        put("lib/optional.py", "");
        expect_settled(since_nsec, false, below("lib/optional.py"));
}

static void settle_unwatched(void) {
        make_folder("lib");
        put("lib/mod.py", "1");
        assert_int_equal(symlink("mod.py", below("lib/link.py")), 0);
        footprint_add(footprint, below("lib/mod.py"));
        footprint_add(footprint, below("lib/link.py"));
        footprint_add(footprint, below("lib/missing.cfg"));
        footprint_add_folder(footprint, below("lib"));
        footprint_add_module(footprint, NULL, "json");
        look();
        expect_settled(0, true, NULL);
        assert_null(footprint_find_change(footprint));
        let_time_pass();
}

static void expect_change(const char *name) {
        const char *path = footprint_find_change(footprint);

        assert_string_equal(path ? path : "", name ? below(name) : "");
}

static void test_unwatched_file(void **state) {
        (void)state;
        settle_unwatched();
        put("lib/mod.py", "2");
        expect_change("lib/mod.py");
}

static void test_unwatched_file_replaced(void **state) {
        (void)state;
        settle_unwatched();
        put("new", "1");
        assert_int_equal(rename(below("new"), below("lib/mod.py")), 0);
        expect_change("lib/mod.py");
}

static void test_unwatched_file_gone(void **state) {
        (void)state;
        settle_unwatched();
        assert_int_equal(unlink(below("lib/mod.py")), 0);
        expect_change("lib/mod.py");
}

static void test_unwatched_link(void **state) {
        (void)state;
        settle_unwatched();
        assert_int_equal(unlink(below("lib/link.py")), 0);
        assert_int_equal(symlink("../else", below("lib/link.py")), 0);
        expect_change("lib/link.py");
}

static void test_unwatched_missing(void **state) {
        (void)state;
        settle_unwatched();
        put("lib/missing.cfg", "");
        expect_change("lib/missing.cfg");
}

static void test_unwatched_folder(void **state) {
        (void)state;
        settle_unwatched();
        put("lib/log", "");
        put("lib/unrelated.py", "");
        expect_change(NULL);
        put("lib/json.py", "");
        expect_change("lib");
}

static void test_file_systems(void **state) {
        (void)state;
        assert_true(trace_is_local(0xef53));      /* ext4 */
        assert_true(trace_is_local(0x58465342));  /* xfs */
        assert_true(trace_is_local(0x9123683e));  /* btrfs */
        assert_true(trace_is_local(0x01021994));  /* tmpfs */
        assert_true(trace_is_local(0x794c7630));  /* overlayfs */
        assert_false(trace_is_local(0x6969));     /* nfs */
        assert_false(trace_is_local(0xff534d42)); /* cifs */
        assert_false(trace_is_local(0xfe534d42)); /* smb2 */
        assert_false(trace_is_local(0x65735546)); /* fuse */
        assert_false(trace_is_local(0x01021997)); /* 9p */
        assert_false(trace_is_local(0x0bd00bd0)); /* lustre */
        assert_false(trace_is_local(0x47504653)); /* gpfs */
        assert_false(trace_is_local(0x00c36400)); /* ceph */
        assert_false(trace_is_local(0x9fa0));     /* proc */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_inodes),
                TEST(test_file),
                TEST(test_missing),
                TEST(test_links),
                TEST(test_names_of_a_file),
                TEST(test_modules),
                TEST(test_settled),
                TEST(test_changed_since),
                TEST(test_moved_between_the_looks),
                TEST(test_gone_between_the_looks),
                TEST(test_module_that_has_come),
                TEST(test_module_that_has_come_and_counts),
                TEST(test_unwatched_file),
                TEST(test_unwatched_file_replaced),
                TEST(test_unwatched_file_gone),
                TEST(test_unwatched_link),
                TEST(test_unwatched_missing),
                TEST(test_unwatched_folder),
                cmocka_unit_test(test_file_systems),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
