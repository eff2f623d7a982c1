/* lib/pyargs: python3's command line as CPython reads it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/pyargs.h"

#define ARGV(...) ((char **)(const char *[]){ __VA_ARGS__, NULL })

static int count(char **argv) {
        int n = 0;

        while (argv[n])
                n++;
        return n;
}

static void expect(char **argv, enum pyargs_kind kind, const char *target, int first_arg, const char *flags) {
        struct pyargs args;

        assert_int_equal(pyargs_parse(argv, count(argv), &args), 0);
        assert_null(args.unsupported);
        assert_int_equal(args.kind, kind);
        assert_string_equal(args.target, target);
        assert_int_equal(args.first_arg, first_arg);
        assert_int_equal(args.unbuffered, strchr(flags, 'u') != NULL);
        assert_int_equal(args.dont_write_bytecode, strchr(flags, 'B') != NULL);
        assert_int_equal(args.quiet, strchr(flags, 'q') != NULL);
        assert_int_equal(args.interactive, strchr(flags, 'i') != NULL);
}

static void expect_unsupported(char **argv, const char *word) {
        struct pyargs args;

        assert_int_equal(pyargs_parse(argv, count(argv), &args), PYARGS_UNSUPPORTED);
        assert_string_equal(args.unsupported, word);
}

static void test_kinds(void **state) {
        (void)state;
        expect(ARGV("x.py", "-u", "a"), PYARGS_SCRIPT, "x.py", 1, "");
        expect(ARGV("-m", "mod", "-B"), PYARGS_MODULE, "mod", 2, "");
        expect(ARGV("-c", "code", "-m"), PYARGS_COMMAND, "code", 2, "");
        expect(ARGV("-", "-c"), PYARGS_STDIN, "-", 1, "");
        expect(ARGV("", "a"), PYARGS_SCRIPT, "", 1, "");
        expect((char *[]){ NULL }, PYARGS_STDIN, "", 0, "");
}

static void test_options(void **state) {
        (void)state;
        expect(ARGV("-u", "-B", "-q", "x.py"), PYARGS_SCRIPT, "x.py", 4, "uBq");
        expect(ARGV("-uBq"), PYARGS_STDIN, "", 1, "uBq");
        expect(ARGV("-iqc", "code", "-i"), PYARGS_COMMAND, "code", 2, "iq");
        expect(ARGV("-uc", "code", "a"), PYARGS_COMMAND, "code", 2, "u");
        expect(ARGV("-uccode", "a"), PYARGS_COMMAND, "code", 1, "u");
        expect(ARGV("-Bmmod"), PYARGS_MODULE, "mod", 1, "B");
        expect(ARGV("-c", "-u"), PYARGS_COMMAND, "-u", 2, "");
        expect(ARGV("-u", "--", "-x.py", "a"), PYARGS_SCRIPT, "-x.py", 3, "u");
        expect(ARGV("--"), PYARGS_STDIN, "", 1, "");
        expect(ARGV("-c", ""), PYARGS_COMMAND, "", 2, "");
}

static void test_start(void **state) {
        struct pyargs args;
        char **argv = ARGV("-OIbbd", "-O", "-E", "-s", "-S", "-R", "-x", "-P", "-W", "-x", "-Xdev", "x.py");

        (void)state;
        assert_int_equal(pyargs_parse(argv, count(argv), &args), 0);
        assert_string_equal(args.target, "x.py");
        assert_int_equal(args.start.optimize, 2);
        assert_int_equal(args.start.bytes_warning, 2);
        assert_int_equal(args.start.debug, 1);
        assert_true(args.start.isolated && args.start.ignore_environment && args.start.no_user_site);
        assert_true(args.start.no_site && args.start.random_hash && args.safe_path && args.skip_first_line);
}

static bool same(char **a, char **b) {
        bool is_same = pyargs_same_start(a, count(a), b, count(b));

        assert_int_equal(is_same, pyargs_same_start(b, count(b), a, count(a)));
        return is_same;
}

static void test_same_start(void **state) {
        (void)state;
        assert_true(same(ARGV("-I"), ARGV("-IB", "-")));
        assert_true(same(ARGV("-B", "-I", "x.py", "-O"), ARGV("-IEsP")));
        assert_true(same(ARGV("-uBqixW", "all", "-Xfaulthandler", "x.py"), (char *[]){ NULL }));
        assert_true(same(ARGV("-X", "dev", "-Xutf8=0"), ARGV("-Xutf8=0", "-Xfaulthandler", "-Xdev", "-Xdev")));
        assert_true(same(ARGV("-OO"), ARGV("-O", "-c", "code", "-O", "-O")) == false);
        assert_false(same(ARGV("-I"), ARGV("-Es")));
        assert_false(same(ARGV("-Xdev"), ARGV("-Xdev=1")));
        assert_false(same(ARGV("-Xutf8=1", "-Xutf8=0"), ARGV("-Xutf8=0", "-Xutf8=1")));
        assert_false(same(ARGV("-Xdev"), (char *[]){ NULL }));
        assert_false(same(ARGV("-z"), ARGV("-z")));
}

static void test_unsupported(void **state) {
        static const char *const words[] = {
                "-h",           "-J",   "-v",     "-V",        "-?",
                "-Ximporttime", "-uBv", "--help", "--version", "--check-hash-based-pycs",
                "--nonsense",   "-z",   "-u-",    "-+",        "-:",
        };

        (void)state;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                expect_unsupported(ARGV((char *)words[i], "x.py"), words[i]);
        expect_unsupported(ARGV("-u", "-X", "importtime", "x.py"), "-X");
        expect_unsupported(ARGV("-X"), "-X");
        expect_unsupported(ARGV("-uW"), "-uW");
        expect_unsupported(ARGV("-c"), "-c");
        expect_unsupported(ARGV("-um"), "-um");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kinds),       cmocka_unit_test(test_options),
                cmocka_unit_test(test_start),       cmocka_unit_test(test_same_start),
                cmocka_unit_test(test_unsupported),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
