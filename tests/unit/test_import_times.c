#include "unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "poolctl/import_times.h"

#define HEADING "import time: self [us] | cumulative | imported package\n"
#define LINE(usec, name) "import time:         1 | " #usec " | " name "\n"

struct passed {
        char data[16384];
        size_t n;
};

static void pass(const char *data, size_t n, void *user) {
        struct passed *passed = user;

        assert_true(n > 0 && passed->n + n < sizeof(passed->data));
        memcpy(passed->data + passed->n, data, n);
        passed->n += n;
        passed->data[passed->n] = '\0';
}

/* Takes it in pieces of @n_piece bytes. */
static struct import_times take(const char *text, size_t n_piece, struct passed *ret_passed) {
        struct import_times times = { 0 };
        size_t n;

        *ret_passed = (struct passed){ 0 };
        for (const char *at = text; *at; at += n) {
                n = strnlen(at, n_piece);
                assert_int_equal(import_times_take(&times, at, n, pass, ret_passed), 0);
        }
        assert_int_equal(import_times_take(&times, "", 0, pass, ret_passed), 0);
        return times;
}

static void check_passed(const char *text, const char *expected, size_t n_entries) {
        static const size_t pieces[] = { 1, 2, 3, 7, 13, 65536 };

        for (size_t i = 0; i < N_ELEMENTS(pieces); i++) {
                struct passed passed;
                _cleanup_import_times_ struct import_times times = take(text, pieces[i], &passed);

                assert_string_equal(passed.data, expected);
                assert_int_equal(times.n_entries, n_entries);
        }
}

static void test_the_scripts_own_passes(void **state) {
        (void)state;
        check_passed("", "", 0);
        check_passed("a\nb", "a\nb", 0);
        check_passed(HEADING LINE(5, "json"), "", 1);
        check_passed("one\n" LINE(5, "json") "two\n", "one\ntwo\n", 1);
        check_passed("> " LINE(5, "json") "two", "> two", 1);
        check_passed("import import time" LINE(5, "json") "import time:", "import import timeimport time:", 1);
        /* Alike, and yet the script's. */
        check_passed("import time: 5\n", "import time: 5\n", 0);
        check_passed("import time: 5 | x | json\n", "import time: 5 | x | json\n", 0);
        check_passed("import time: 5 | 6 | no module\n", "import time: 5 | 6 | no module\n", 0);
        check_passed("import time: 5 | 6 | \n", "import time: 5 | 6 | \n", 0);
        check_passed("import time: 5 | 6 |\n", "import time: 5 | 6 |\n", 0);
}

static void test_what_cannot_be_a_line_passes_at_once(void **state) {
        struct import_times times = { 0 };
        struct passed passed = { 0 };

        (void)state;
        assert_int_equal(import_times_take(&times, "name? im", 8, pass, &passed), 0);
        assert_string_equal(passed.data, "name? ");
        assert_int_equal(import_times_take(&times, "possible", 8, pass, &passed), 0);
        assert_string_equal(passed.data, "name? impossible");
        import_times_fini(&times);
}

static void test_a_line_without_end_is_not_kept(void **state) {
        struct import_times times = { 0 };
        struct passed passed = { 0 };
        char line[8192];

        (void)state;
        memset(line, 'x', sizeof(line));
        *stpcpy(line, "import time:") = 'x';
        assert_int_equal(import_times_take(&times, line, sizeof(line), pass, &passed), 0);
        assert_int_equal(passed.n, sizeof(line));
        import_times_fini(&times);
}

static void test_entries(void **state) {
        struct passed passed;
        _cleanup_import_times_ struct import_times times =
                take(LINE(12345, "    a.b.c") LINE(7, "  a.b") LINE(99, "a"), 65536, &passed);

        (void)state;
        assert_int_equal(times.n_entries, 3);
        assert_string_equal(times.entries[0].name, "a.b.c");
        assert_int_equal(times.entries[0].usec, 12345);
        assert_int_equal(times.entries[0].level, 2);
        assert_int_equal(times.entries[1].level, 1);
        assert_string_equal(times.entries[2].name, "a");
        assert_int_equal(times.entries[2].level, 0);
}

static bool begins_with_my(const char *name, void *user) {
        (void)user;
        return strncmp(name, "my", 2) == 0;
}

/* @expected: "name=usec" of each choice, "(name)=usec" of local ones. */
static void check_choice(const char *text, const char *expected, uint64_t total) {
        struct passed passed;
        _cleanup_import_times_ struct import_times times = take(text, 65536, &passed);
        struct import_choice *choices;
        char found[512] = "";
        size_t n;

        assert_string_equal(passed.data, "");
        assert_int_equal(import_times_total(&times), total);
        assert_int_equal(import_times_choose(&times, 100, begins_with_my, NULL, &choices, &n), 0);
        for (size_t i = 0; i < n; i++)
                snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%s%s%s=%d", i ? " " : "",
                         choices[i].is_local ? "(" : "", choices[i].name, choices[i].is_local ? ")" : "",
                         (int)choices[i].usec);
        assert_string_equal(found, expected);
        free(choices);
}

static void test_choice(void **state) {
        (void)state;
        check_choice("", "", 0);
        check_choice(LINE(99, "json"), "", 99);
        /* The start of the interpreter is every worker's; a later `site` is a child's. */
        check_choice(LINE(900, "encodings") LINE(500, "  slow_pth") LINE(900, "site") LINE(200, "json")
                             LINE(200, "  slow_pth") LINE(300, "site"),
                     "json=200", 200);
        /* What another one imported first is covered by it. */
        check_choice(LINE(200, "  numpy") LINE(900, "torch") LINE(150, "numpy.linalg"),
                     "torch=900 numpy.linalg=150", 1050);
        /* A package that takes nearly all of the time stands for its module. */
        check_choice(LINE(950, "  torch") LINE(1000, "torch.nn"), "torch=1000", 1000);
        check_choice(LINE(100, "  scipy") LINE(900, "scipy.stats"), "scipy.stats=900", 900);
        check_choice(LINE(950, "    torch") LINE(980, "  torch.nn") LINE(1000, "torch.nn.x"), "torch=1000", 1000);
        check_choice(LINE(950, "  torchy") LINE(1000, "torch.nn"), "torch.nn=1000", 1000);
        /* A child process has imported the same once more. */
        check_choice(LINE(400, "json") LINE(300, "json"), "json=400", 400);
}

static void test_choice_below_local_modules(void **state) {
        (void)state;
        check_choice(LINE(300, "  numpy") LINE(900, "    torch._C") LINE(950, "  torch") LINE(50, "  json")
                             LINE(1500, "my_app"),
                     "numpy=300 torch=950 (my_app)=250", 1500);
        check_choice(LINE(950, "    torch") LINE(990, "  my_lib") LINE(1000, "my_app"), "torch=950", 1000);
        check_choice(LINE(200, "json") LINE(200, "  json") LINE(350, "my_app"), "json=200 (my_app)=350", 550);
        /* Threads that import at once mix their lines. */
        check_choice(LINE(900, "  numpy") LINE(200, "my_app"), "numpy=900", 200);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(test_the_scripts_own_passes),
                UNIT_TEST(test_what_cannot_be_a_line_passes_at_once),
                UNIT_TEST(test_a_line_without_end_is_not_kept),
                UNIT_TEST(test_entries),
                UNIT_TEST(test_choice),
                UNIT_TEST(test_choice_below_local_modules),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
