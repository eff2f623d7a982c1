/*
 * Which interpreters workers can be, by what they answer, and whose they are. Those that answer are scripts of ours;
 * the real ones are the integration tests'.
 */

#include "poold/interpreter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[128], link_path[128];

static int set_up(void **state) {
        char bin[80];

        (void)state;
        strcpy(folder, "/tmp/test-interpreter-XXXXXX");
        assert_non_null(mkdtemp(folder));
        snprintf(bin, sizeof(bin), "%s/bin", folder);
        assert_int_equal(mkdir(bin, 0700), 0);
        snprintf(path, sizeof(path), "%s/python", bin);
        snprintf(link_path, sizeof(link_path), "%s/link", bin);
        return 0;
}

static int tear_down(void **state) {
        char bin[80];

        (void)state;
        snprintf(bin, sizeof(bin), "%s/bin", folder);
        unlink(path);
        unlink(link_path);
        return rmdir(bin) < 0 || rmdir(folder) < 0;
}

/* An interpreter that answers so. It is a format of printf(1); "%s" is the interpreter's own path, without links. */
static void make_python(const char *answer) {
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        fprintf(file, "#!/bin/sh\nprintf '%s' \"$(realpath \"$0\")\"\n", answer);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(path, 0700), 0);
}

static void assert_unfit(const char *answer, const char *expected) {
        struct interpreter interpreter = { 0 };
        char problem[INTERPRETER_PROBLEM_BYTES];

        make_python(answer);
        assert_int_equal(interpreter_probe(path, &interpreter, problem), INTERPRETER_UNFIT);
        assert_string_equal(problem, expected);
        assert_null(interpreter.path);
}

#define ANSWER(name, version, recent, threading, environment)                                                     \
        "poold-probe\\000" name "\\000" version "\\000" recent "\\000" threading "\\000" environment              \
        "\\000/the/prefix\\000%s\\000"

static void test_unfit(void **state) {
        (void)state;
        assert_unfit(ANSWER("pypy", "3.10", "1", "", ""), "is a pypy, and workers have to be a CPython");
        assert_unfit(ANSWER("cpython", "3.8", "", "", ""), "is a CPython 3.8, and workers need 3.9 or later");
        assert_unfit(ANSWER("cpython", "2.7", "", "", ""), "is a CPython 2.7, and workers need 3.9 or later");
        assert_unfit(ANSWER("cpython", "4.0", "", "", ""), "is a CPython 4.0, and workers need 3.9 or later");
        assert_unfit(ANSWER("cpython", "3", "", "", ""), "is a CPython 3, and workers need 3.9 or later");
        assert_unfit(ANSWER("cpython", "3.13", "1", "t", ""),
                     "is a free-threaded CPython, and workers need one with a GIL");
        assert_unfit("poold-probe\\000cpython\\0003.11\\0001\\000\\000\\000/usr\\000/else/where\\000",
                     "only starts another python, which is to be named here: /else/where");
}

static void test_no_answer(void **state) {
        (void)state;
        assert_unfit("", "is no CPython 3.9 or later");
        assert_unfit("Python 3.11.2\\n", "is no CPython 3.9 or later");
        assert_unfit("poold-probe\\000", "is no CPython 3.9 or later");
        assert_unfit("poold-probe\\000cpython\\0003.11\\0001\\000\\000\\000/usr\\000%s",
                     "is no CPython 3.9 or later");
}

static void test_cannot_be_run(void **state) {
        struct interpreter interpreter;
        char problem[INTERPRETER_PROBLEM_BYTES];

        (void)state;
        assert_int_equal(interpreter_probe(path, &interpreter, problem), INTERPRETER_UNFIT);
        assert_string_equal(problem, "cannot be run: No such file or directory");
        make_python("");
        assert_int_equal(chmod(path, 0600), 0);
        assert_int_equal(interpreter_probe(path, &interpreter, problem), INTERPRETER_UNFIT);
        assert_string_equal(problem, "cannot be run: Permission denied");
}

static void assert_fits(const char *answer, bool is_environment) {
        struct interpreter interpreter;
        char problem[INTERPRETER_PROBLEM_BYTES];

        make_python(answer);
        assert_int_equal(interpreter_probe(path, &interpreter, problem), 0);
        assert_string_equal(interpreter.path, path);
        assert_string_equal(interpreter.real_path, path);
        assert_string_equal(interpreter.prefix, "/the/prefix");
        assert_int_equal(interpreter.is_environment, is_environment);
        interpreter_fini(&interpreter);
        assert_null(interpreter.path);
}

static void test_fits(void **state) {
        (void)state;
        assert_fits(ANSWER("cpython", "3.9", "1", "", ""), false);
        assert_fits(ANSWER("cpython", "3.14", "1", "", "1"), true);
        assert_fits("hello from sitecustomize\\n\\000" ANSWER("cpython", "3.12", "1", "", ""), false);
}

static void test_environment(void **state) {
        struct interpreter interpreter;
        char problem[INTERPRETER_PROBLEM_BYTES], other[80];

        (void)state;
        make_python(ANSWER("cpython", "3.12", "1", "", "1"));
        assert_int_equal(interpreter_probe(path, &interpreter, problem), 0);
        assert_true(interpreter_is_of(&interpreter, "/the/prefix"));
        assert_true(interpreter_is_of(&interpreter, "/the/prefix//"));
        assert_true(interpreter_is_of(&interpreter, folder));
        snprintf(other, sizeof(other), "%s/", folder);
        assert_true(interpreter_is_of(&interpreter, other));
        snprintf(other, sizeof(other), "%s/bin", folder);
        assert_false(interpreter_is_of(&interpreter, other));
        snprintf(other, sizeof(other), "%s2", folder);
        assert_false(interpreter_is_of(&interpreter, other));
        assert_false(interpreter_is_of(&interpreter, "/the/pre"));
        assert_false(interpreter_is_of(&interpreter, "/the/prefix2"));
        assert_false(interpreter_is_of(&interpreter, "/tmp"));
        assert_false(interpreter_is_of(&interpreter, "/"));
        interpreter_fini(&interpreter);
}

static void test_same(void **state) {
        struct interpreter interpreter, linked, environment;
        char problem[INTERPRETER_PROBLEM_BYTES];

        (void)state;
        make_python(ANSWER("cpython", "3.12", "1", "", ""));
        assert_int_equal(symlink(path, link_path), 0);
        assert_int_equal(interpreter_probe(path, &interpreter, problem), 0);
        assert_int_equal(interpreter_probe(link_path, &linked, problem), 0);
        make_python(ANSWER("cpython", "3.12", "1", "", "1"));
        assert_int_equal(interpreter_probe(link_path, &environment, problem), 0);
        assert_string_equal(linked.path, link_path);
        assert_true(interpreter_is_same(&interpreter, &linked));
        assert_false(interpreter_is_same(&interpreter, &environment));
        assert_false(interpreter_is_same(&environment, &interpreter));
        assert_false(interpreter_is_same(&environment, &environment));
        interpreter_fini(&interpreter);
        interpreter_fini(&linked);
        interpreter_fini(&environment);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_unfit, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_answer, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cannot_be_run, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_fits, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_environment, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_same, set_up, tear_down),
        };

        return cmocka_run_group_tests_name("interpreter", tests, NULL, NULL);
}
