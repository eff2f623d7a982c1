/* What poolctl shows: tables that fit, text that no terminal obeys, numbers that a person reads. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "poolctl/human.h"
#include "poolctl/table.h"
#include "poolctl/text.h"

static const struct table_column columns[] = {
        { .title = "NAME", .least = 6 },
        { .title = "N", .is_right = true, .rank = 2 },
        { .title = "STATE" },
        { .title = "LAST", .is_right = true, .rank = 1 },
};

/* What a table of two rows looks like in @width columns. */
static void check_table(size_t width, const char *expected) {
        struct table *table = table_new(columns, 4);
        char *text = NULL;
        size_t n_text;
        FILE *file = open_memstream(&text, &n_text);

        assert_non_null(table);
        table_add(table, NULL, "%s", "a");
        table_add(table, NULL, "%d", 1);
        table_add(table, "\033[31m", "bad");
        table_add(table, NULL, "-");
        table_add(table, NULL, "%s", "a_long_name");
        table_add(table, NULL, "%d", 12345);
        table_add(table, NULL, "ok");
        table_add(table, NULL, "1.5s");
        table_put(table, file, width);
        fclose(file);
        table_free(table);
        assert_string_equal(text, expected);
        free(text);
}

static void test_table(void **state) {
        (void)state;
        check_table(SIZE_MAX, "NAME             N  STATE  LAST\n"
                              "a                1  \033[31mbad\033[m       -\n"
                              "a_long_name  12345  ok     1.5s\n");
        check_table(30, "NAME            N  STATE  LAST\n"
                        "a               1  \033[31mbad\033[m       -\n"
                        "a_long_na+  12345  ok     1.5s\n");
}

static void test_table_leaves_out(void **state) {
        (void)state;
        check_table(17, "NAME   STATE LAST\n"
                        "a      \033[31mbad\033[m      -\n"
                        "a_lon+ ok    1.5s\n");
        check_table(13, "NAME    STATE\n"
                        "a       \033[31mbad\033[m\n"
                        "a_long+ ok\n");
        check_table(9, "NA+ STATE\n"
                       "a   \033[31mbad\033[m\n"
                       "a_+ ok\n");
}

static void test_empty_table(void **state) {
        struct table *table = table_new(columns, 4);
        char *text = NULL;
        size_t n_text;
        FILE *file = open_memstream(&text, &n_text);

        (void)state;
        table_put(table, file, 80);
        fclose(file);
        table_free(table);
        assert_string_equal(text, "NAME  N  STATE  LAST\n");
        free(text);
}

static void check_text(const char *from, size_t width, const char *expected, size_t expected_columns) {
        char *text = NULL;
        size_t n_text, n_columns;
        FILE *file = open_memstream(&text, &n_text);

        n_columns = text_put(file, from, width);
        fclose(file);
        assert_string_equal(text, expected);
        assert_int_equal(n_columns, expected_columns);
        free(text);
}

static void test_text(void **state) {
        (void)state;
        check_text("", 5, "", 0);
        check_text("abcde", 5, "abcde", 5);
        check_text("abcdef", 5, "abcd+", 5);
        check_text("abc", 0, "", 0);
        check_text("\033[31m\n\t\x7f", SIZE_MAX, "?[31m???", 8);
        check_text("\xc2\x9b!\xff\xc3", SIZE_MAX, "?!??", 4); /* a control character, and no UTF-8 */
        check_text("\xe2\x80\xae"
                   "x",
                   SIZE_MAX, "?x", 2);                                            /* from right to left */
        check_text("\xc3\xa9t\xc3\xa9s", 3, "\xc3\xa9t+", 3);                     /* narrow ones of two bytes */
        check_text("\xe6\x97\xa5\xe6\x9c\xac", 4, "\xe6\x97\xa5\xe6\x9c\xac", 4); /* wide ones */
        check_text("\xe6\x97\xa5\xe6\x9c\xac", 3, "\xe6\x97\xa5+", 3);
        check_text("\xe6\x97\xa5\xe6\x9c\xac", 2, "+", 1);
}

static void test_lines(void **state) {
        char *text = NULL;
        size_t n_text;
        FILE *file = open_memstream(&text, &n_text);

        (void)state;
        text_put_lines(file, "one\n\n\ttwo\033\nthree", "  ");
        fclose(file);
        assert_string_equal(text, "  one\n  \n  \ttwo?\n  three\n");
        free(text);
}

static void test_human(void **state) {
        static const struct {
                uint64_t usec;
                const char *text;
        } durations[] = {
                { 0, "0us" },
                { 999, "999us" },
                { 1000, "1.0ms" },
                { 9999, "9.9ms" },
                { 10000, "10ms" },
                { 999999, "999ms" },
                { 1000000, "1.0s" },
                { 59999999, "59s" },
                { 60000000, "1m00s" },
                { 3599000000, "59m59s" },
                { 3600000000, "1h00m" },
                { 86399000000, "23h59m" },
                { 86400000000, "1d00h" },
                { 1000000000000, "11d13h" },
        };
        static const struct {
                uint64_t kb;
                const char *text;
        } sizes[] = { { 0, "0K" }, { 1023, "1023K" }, { 1024, "1.0M" }, { 145000, "141M" }, { 1 << 20, "1.0G" } };

        (void)state;
        for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++)
                assert_string_equal(human_duration(durations[i].usec).text, durations[i].text);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
                assert_string_equal(human_memory(sizes[i].kb).text, sizes[i].text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),       cmocka_unit_test(test_table_leaves_out),
                cmocka_unit_test(test_empty_table), cmocka_unit_test(test_text),
                cmocka_unit_test(test_lines),       cmocka_unit_test(test_human),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
