/* poold/watch with a real inotify, on folders of our own. */

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "poold/importable.h"
#include "poold/watch.h"

static char root[] = "/tmp/poold-watch-XXXXXX";
static struct loop *loop;
static struct watch *watch;
static uint64_t inodes; /* what workers see */

struct heard {
        struct watch_set *set;
        unsigned n;
        char path[512];
};

static void on_change(const char *path, void *data) {
        struct heard *heard = data;

        heard->n++;
        snprintf(heard->path, sizeof(heard->path), "%s", path ? path : "?");
}

static void stop(void *data) {
        loop_stop(data);
}

static int set_up(void **state) {
        (void)state;
        memcpy(root + sizeof(root) - 7, "XXXXXX", 7);
        loop = loop_new();
        watch = loop ? watch_new(loop, stop, loop) : NULL;
        return mkdtemp(root) && watch ? 0 : -1;
}

static int tear_down(void **state) {
        char command[64];

        (void)state;
        watch = watch_free(watch);
        loop = loop_free(loop);
        snprintf(command, sizeof(command), "rm -r %s", root);
        return system(command); /* NOLINT(cert-env33-c): a path of our own */
}

/* Below the root; one at a time. */
static const char *below(const char *name) {
        static char path[512];

        snprintf(path, sizeof(path), "%s/%s", root, name);
        return path;
}

static void put(const char *name, const char *text) {
        FILE *file = fopen(below(name), "w");

        assert_non_null(file);
        fputs(text, file);
        fclose(file);
}

static void move(const char *from, const char *to) {
        char path[512];

        snprintf(path, sizeof(path), "%s", below(from));
        assert_int_equal(rename(path, below(to)), 0);
}

static void hear(struct heard *heard) {
        *heard = (struct heard){ .set = watch_set_new(watch, on_change, heard) };
        assert_non_null(heard->set);
}

/* Lines that begin with '.' are places below the root. */
static int add(struct heard *heard, const char *const *modules, const char *const *lines, bool is_anew) {
        struct proto_files files;
        char *module_owned, *line_owned, *whole[16] = { 0 }, texts[16][256];
        int r;

        for (size_t i = 0; lines[i]; i++) {
                snprintf(texts[i], sizeof(texts[i]), "%s%s", lines[i][0] == '.' ? root : "",
                         lines[i] + (lines[i][0] == '.' ? 1 : 0));
                whole[i] = texts[i];
        }
        assert_int_equal(wire_strv_from_array((char *const *)modules, &files.modules, &module_owned), 0);
        assert_int_equal(wire_strv_from_array(whole, &files.places, &line_owned), 0);
        files.inodes = inodes;
        r = watch_set_add(heard->set, &files, is_anew);
        free(module_owned);
        free(line_owned);
        return r;
}

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NONE ((const char *const[]){ NULL })

/* How often the set has heard of something since it was last asked. */
static unsigned news(struct heard *heard) {
        unsigned n;

        watch_read(watch);
        n = heard->n;
        heard->n = 0;
        return n;
}

static void test_file(void **state) {
        struct heard heard;

        (void)state;
        put("mod.py", "1");
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST(".", "fmod.py"), false), 0);
        assert_int_equal(news(&heard), 0);
        put("other.py", "1");
        put("mod.pyx", "1");
        assert_int_equal(news(&heard), 0);
        put("mod.py", "2");
        assert_true(news(&heard) > 0);
        assert_string_equal(heard.path, below("mod.py"));
        assert_int_equal(chmod(below("mod.py"), 0600), 0);
        assert_true(news(&heard) > 0);
        move("other.py", "mod.py");
        assert_true(news(&heard) > 0);
        assert_int_equal(unlink(below("mod.py")), 0);
        assert_true(news(&heard) > 0);
        watch_set_free(heard.set);
        assert_int_equal(watch_count(watch), 0);
}

static void test_modules(void **state) {
        static const char *const concern[] = { "json.py",  "json.cpython-311-x86_64-linux-gnu.so",
                                               "json",     "part.pyc",
                                               "more.pth", "thing-1.0.dist-info" };
        static const char *const nothing[] = { "log",    "jsonx.py",     "json.txt",
                                               "sub.py", ".json.py.swp", "__pycache__" };
        struct heard heard;

        (void)state;
        hear(&heard);
        assert_int_equal(add(&heard, LIST("json"), LIST(".", "ipart", "p"), false), 0);
        for (size_t i = 0; i < N_ELEMENTS(concern); i++) {
                put(concern[i], "");
                assert_int_equal(news(&heard), 1);
                put(concern[i], "what is in it counts only if it was loaded");
                assert_int_equal(news(&heard), 0);
                assert_int_equal(unlink(below(concern[i])), 0);
                assert_int_equal(news(&heard), 1);
        }
        for (size_t i = 0; i < N_ELEMENTS(nothing); i++) {
                put(nothing[i], "");
                assert_int_equal(unlink(below(nothing[i])), 0);
                assert_int_equal(news(&heard), 0);
        }
        watch_set_free(heard.set);
}

/* A folder that is on nobody's path has modules of its own only. */
static void test_modules_of_a_package(void **state) {
        struct heard heard;

        (void)state;
        hear(&heard);
        assert_int_equal(add(&heard, LIST("json"), LIST(".", "ipart"), false), 0);
        put("json.py", "");
        put("more.pth", "");
        assert_int_equal(news(&heard), 0);
        put("part.py", "");
        assert_int_equal(news(&heard), 1);
        watch_set_free(heard.set);
}

static void test_missing(void **state) {
        struct heard heard;

        (void)state;
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST(".", "mvenv"), false), 0);
        put("else", "");
        assert_int_equal(news(&heard), 0);
        assert_int_equal(mkdir(below("venv"), 0700), 0);
        assert_int_equal(news(&heard), 1);
        watch_set_free(heard.set);
}

static void test_place_itself(void **state) {
        struct heard heard;

        (void)state;
        assert_int_equal(mkdir(below("a"), 0700), 0);
        assert_int_equal(mkdir(below("a/b"), 0700), 0);
        assert_int_equal(symlink("a", below("link")), 0);
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST("./a", "./a/b", "./link", "l"), false), 0);
        put("a/file", "");
        put("a/b/file", "");
        assert_int_equal(chmod(below("a"), 0755), 0);
        assert_int_equal(news(&heard), 0);
        move("a", "c");
        assert_int_equal(news(&heard), 1);
        assert_int_equal(symlink("c", below("new")), 0);
        move("new", "link");
        assert_true(news(&heard) > 0);
        assert_int_equal(unlink(below("c/b/file")), 0);
        assert_int_equal(rmdir(below("c/b")), 0);
        assert_int_equal(news(&heard), 1);
        watch_set_free(heard.set);
        assert_int_equal(watch_count(watch), 0);
}

static void test_other_name_of_a_file(void **state) {
        struct heard heard;
        char path[512];

        (void)state;
        put("mod.py", "1");
        assert_int_equal(mkdir(below("cache"), 0700), 0);
        snprintf(path, sizeof(path), "%s", below("mod.py"));
        assert_int_equal(link(path, below("cache/x")), 0);
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST("./mod.py", "c"), false), 0);
        assert_int_equal(link(path, below("cache/y")), 0); /* one more name is no other content */
        assert_int_equal(unlink(below("cache/y")), 0);
        assert_int_equal(news(&heard), 0);
        put("cache/x", "2");
        assert_true(news(&heard) > 0);
        watch_set_free(heard.set);
}

/* Sets share what they have in common, and each hears only of its own. */
static void test_sets(void **state) {
        struct heard one, other;

        (void)state;
        put("a.py", "");
        put("b.py", "");
        hear(&one);
        hear(&other);
        assert_int_equal(add(&one, NONE, LIST("/", "/tmp", ".", "fa.py"), false), 0);
        assert_int_equal(add(&other, NONE, LIST("/", "/tmp", ".", "fb.py"), false), 0);
        assert_int_equal(watch_count(watch), 3);
        put("a.py", "1");
        assert_true(news(&one) > 0);
        assert_int_equal(other.n, 0);
        watch_set_free(one.set);
        assert_int_equal(watch_count(watch), 3);
        put("a.py", "2");
        put("b.py", "2");
        assert_true(news(&other) > 0);
        watch_set_free(other.set);
        assert_int_equal(watch_count(watch), 0);
}

static void test_added_and_anew(void **state) {
        struct heard heard;

        (void)state;
        assert_int_equal(mkdir(below("sub"), 0700), 0);
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST(".", "fa.py"), false), 0);
        assert_int_equal(add(&heard, NONE, LIST("./sub", "fb.py"), false), 0);
        put("a.py", "");
        assert_true(news(&heard) > 0);
        put("sub/b.py", "");
        assert_true(news(&heard) > 0);
        assert_int_equal(add(&heard, NONE, LIST("./sub", "fc.py"), true), 0);
        assert_int_equal(watch_count(watch), 1);
        put("a.py", "2");
        put("sub/b.py", "2");
        assert_int_equal(news(&heard), 0);
        put("sub/c.py", "");
        assert_true(news(&heard) > 0);
        watch_set_free(heard.set);
}

/* What is written to standard error goes to a file from now on. */
static int capture_begin(void) {
        int saved = dup(STDERR_FILENO), fd = open("log", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(saved >= 0 && fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
        close(fd);
        return saved;
}

/* Returns how many bytes that were. */
static int64_t capture_end(int saved) {
        struct stat st;

        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
        close(saved);
        return st.st_size;
}

/* Another folder is at the path, and no event has told: as while somebody has the old one open, or has mounted on it. */
static int replace_unseen(const char *name) {
        int fd = open(below(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(rmdir(below(name)), 0);
        assert_int_equal(mkdir(below(name), 0700), 0);
        return fd;
}

static void test_the_same_again(void **state) {
        struct heard heard;
        int old;

        (void)state;
        inodes = 1;
        assert_int_equal(mkdir(below("folder"), 0700), 0);
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST("./folder", "fmod.py"), false), 0);
        old = replace_unseen("folder");
        assert_int_equal(news(&heard), 0);
        /* Who sees the same as before costs nothing. */
        assert_int_equal(add(&heard, NONE, LIST("./folder", "fmod.py"), false), 0);
        put("folder/mod.py", "");
        assert_int_equal(news(&heard), 0);
        inodes = 2;
        assert_int_equal(add(&heard, NONE, LIST("./folder", "fmod.py"), false), 0);
        put("folder/mod.py", "2");
        assert_true(news(&heard) > 0);
        close(old);
        news(&heard);

        /* After a change it is looked at, whatever they say: one inode's number may be another's now. */
        assert_int_equal(add(&heard, NONE, LIST("./folder", "fmod.py"), false), 0);
        move("folder", "gone");
        assert_int_equal(mkdir(below("folder"), 0700), 0);
        assert_true(news(&heard) > 0);
        assert_int_equal(add(&heard, NONE, LIST("./folder", "fmod.py"), false), 0);
        put("folder/mod.py", "");
        assert_true(news(&heard) > 0);

        /* And if there is anything else to be watched. */
        assert_int_equal(add(&heard, NONE, LIST("./folder", "fmod.py"), false), 0);
        assert_int_equal(add(&heard, LIST("json"), LIST("./folder", "p"), false), 0);
        put("folder/json.py", "");
        assert_true(news(&heard) > 0);
        watch_set_free(heard.set);
        assert_int_equal(watch_count(watch), 0);
}

#define NOBODY 65534

/* What is not watched only because we may not list it has to be tried again. */
static void test_folder_that_may_be_listed_later(void **state) {
        const uid_t user = geteuid();
        struct heard heard;

        (void)state;
        if (user == 0) { /* who may list everything */
                assert_int_equal(chown(root, NOBODY, (gid_t)-1), 0);
                assert_int_equal(seteuid(NOBODY), 0);
        }
        assert_int_equal(mkdir(below("closed"), 0300), 0);
        assert_int_equal(mkdir(below("closed/lib"), 0700), 0);
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST("./closed", "./closed/lib", "fmod.py"), false), 0);
        assert_int_equal(watch_count(watch), 1);
        assert_int_equal(chmod(below("closed"), 0700), 0);
        assert_int_equal(add(&heard, NONE, LIST("./closed", "./closed/lib", "fmod.py"), false), 0);
        assert_int_equal(watch_count(watch), 2);
        watch_set_free(heard.set);
        assert_int_equal(seteuid(user), 0);
}

static void test_what_cannot_be_watched(void **state) {
        struct heard heard;
        int said;

        (void)state;
        hear(&heard);
        said = capture_begin();
        assert_int_equal(add(&heard, NONE, LIST("./nonesuch", ".", "fa.py"), false), WATCH_INCOMPLETE);
        assert_int_equal(capture_end(said), 0); /* it has only just gone, and the worker sees that, too */
        put("a.py", "");
        assert_true(news(&heard) > 0);
        watch_set_free(heard.set);
}

static void test_nonsense(void **state) {
        struct heard heard;

        (void)state;
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST("fa.py"), false), -EPROTO);
        assert_int_equal(add(&heard, NONE, LIST(".", "?"), false), -EPROTO);
        assert_int_equal(add(&heard, NONE, LIST(".", ""), false), -EPROTO);
        assert_int_equal(watch_count(watch), 0);
        watch_set_free(heard.set);
}

/* Workers that each have names of their own, such as those of temporary files. */
static void test_overgrown(void **state) {
        struct heard heard;
        char name[32];
        unsigned n = 0;
        int r = 0;

        (void)state;
        hear(&heard);
        for (; r == 0 && n < 10000; n++) {
                snprintf(name, sizeof(name), "f%u", n);
                r = add(&heard, NONE, LIST(".", name), false);
        }
        assert_int_equal(r, WATCH_OVERGROWN);
        assert_int_equal(add(&heard, NONE, LIST(".", "fa.py"), true), 0);
        assert_int_equal(add(&heard, NONE, LIST(".", "fb.py"), false), 0);
        watch_set_free(heard.set);
}

/* More than inotify keeps: whoever watches anything has to take it for changed. */
static void test_overflow(void **state) {
        struct heard heard;
        char name[16];

        (void)state;
        assert_int_equal(mkdir(below("sub"), 0700), 0);
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST("./sub", "fa.py", "."), false), 0);
        for (unsigned i = 0; i < 20000; i++) {
                snprintf(name, sizeof(name), "sub/%u", i % 64);
                put(name, "");
        }
        assert_true(news(&heard) > 0);
        assert_string_equal(heard.path, "?");
        watch_set_free(heard.set);
}

/* The loop is told, and goes back to sleep for a while. */
static void test_loop(void **state) {
        struct heard heard;

        (void)state;
        hear(&heard);
        assert_int_equal(add(&heard, NONE, LIST(".", "fa.py"), false), 0);
        put("a.py", "");
        assert_int_equal(loop_run(loop), 0);
        assert_true(heard.n > 0);
        watch_set_free(heard.set);
}

static void test_names(void **state) {
        size_t length = 0;

        (void)state;
        assert_int_equal(importable_kind("mod.cpython-311-x86_64-linux-gnu.so", &length), IMPORTABLE_MODULE);
        assert_int_equal(length, 3);
        assert_int_equal(importable_kind("package", &length), IMPORTABLE_MODULE);
        assert_int_equal(length, 7);
        assert_int_equal(importable_kind("a.py", &length), IMPORTABLE_MODULE);
        assert_int_equal(importable_kind("distutils-precedence.pth", &length), IMPORTABLE_METADATA);
        assert_int_equal(importable_kind("numpy-1.24.dist-info", &length), IMPORTABLE_METADATA);
        assert_int_equal(importable_kind(".py", &length), IMPORTABLE_NOT);
        assert_int_equal(importable_kind(".hidden.py", &length), IMPORTABLE_NOT);
        assert_int_equal(importable_kind("a.py~", &length), IMPORTABLE_NOT);
        assert_int_equal(importable_kind("a.so.1", &length), IMPORTABLE_NOT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_file),
                TEST(test_modules),
                TEST(test_modules_of_a_package),
                TEST(test_missing),
                TEST(test_place_itself),
                TEST(test_other_name_of_a_file),
                TEST(test_sets),
                TEST(test_folder_that_may_be_listed_later),
                TEST(test_the_same_again),
                TEST(test_added_and_anew),
                TEST(test_what_cannot_be_watched),
                TEST(test_nonsense),
                TEST(test_overgrown),
                TEST(test_overflow),
                TEST(test_loop),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
