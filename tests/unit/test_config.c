/*
 * poold.ini: every key, every error with its whole text, and which file is read.
 * `test-config dump` prints what conf/poold.ini has to be.
 */

#include "poold/config.h"

#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The folder of the running test, removed after it. */
static char folder[64];

static char *in_folder(const char *name) {
        char *path;

        assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
        return path;
}

static void write_file(const char *path, const char *text, size_t n_bytes) {
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, n_bytes, file), n_bytes);
        assert_int_equal(fclose(file), 0);
}

static void make_folders(char *path) {
        for (char *at = path + 1; (at = strchr(at, '/')); *at++ = '/') {
                *at = 0;
                assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        }
}

static struct config *load(const char *path) {
        struct config *config;
        char *errors = NULL;
        int r = config_load(path, &config, &errors);

        if (r != 0)
                print_error("%s\n", errors ? errors : "(no message)");
        assert_int_equal(r, 0);
        return config;
}

static struct config *load_bytes(const char *text, size_t n_bytes) {
        char *path = in_folder("test.ini");
        struct config *config;

        write_file(path, text, n_bytes);
        config = load(path);
        assert_string_equal(config->file, path);
        free(path);
        return config;
}

static struct config *load_text(const char *text) {
        return load_bytes(text, strlen(text));
}

/* Loading @path gives the errors @expected, of which each line begins behind the file's name; NULL: without a file. */
static void assert_file_errors(const char *path, const char *expected) {
        struct config *config = NULL;
        char *errors = NULL, *full = NULL, *copy = strdup(expected);
        size_t n_bytes;
        FILE *file = open_memstream(&full, &n_bytes);

        for (char *rest = copy, *line; (line = strsep(&rest, "\n"));)
                fprintf(file, "%s%s%s", path ? path : "", line, rest ? "\n" : "");
        fclose(file);

        assert_int_equal(config_load(path, &config, &errors), CONFIG_INVALID);
        assert_null(config);
        assert_string_equal(errors, full);
        free(errors);
        free(full);
        free(copy);
}

static void assert_errors_bytes(const char *text, size_t n_bytes, const char *expected) {
        char *path = in_folder("test.ini");

        write_file(path, text, n_bytes);
        assert_file_errors(path, expected);
        free(path);
}

static void assert_errors(const char *text, const char *expected) {
        assert_errors_bytes(text, strlen(text), expected);
}

/* @joined: the items, each followed by '|'. */
static void assert_strv(char **strv, const char *joined) {
        char *text = NULL;
        size_t n_bytes;
        FILE *file = open_memstream(&text, &n_bytes);

        assert_non_null(strv);
        for (; *strv; strv++)
                fprintf(file, "%s|", *strv);
        fclose(file);
        assert_string_equal(text, joined);
        free(text);
}

static void assert_pool_defaults(const struct config_pool *pool, const char *name) {
        assert_string_equal(pool->name, name);
        assert_string_equal(pool->python.path, POOLD_PYTHON);
        assert_int_equal(pool->size, 2);
        assert_int_equal(pool->max_workers, 64);
        assert_int_equal(pool->start_timeout_sec, 60);
        assert_strv(pool->modules, "");
        assert_strv(pool->path, "");
        assert_strv(pool->env, "");
}

static void assert_defaults(const struct config *config) {
        assert_string_equal(config->socket, "/run/user/test/poold/poold.sock");
        assert_int_equal(config->log_level, LOG_LEVEL_INFO);
        assert_int_equal(config->max_starting, 2);
        assert_int_equal(config->drain_timeout_sec, 10);
        assert_int_equal(config->request_timeout_sec, 5);
        assert_int_equal(config->n_pools, 1);
        assert_pool_defaults(&config->pools[0], "default");
}

static int set_up(void **state) {
        (void)state;
        snprintf(folder, sizeof(folder), "/tmp/test-config-XXXXXX");
        if (!mkdtemp(folder))
                return -1;
        unsetenv("POOLD_CONFIG");
        unsetenv("XDG_CONFIG_HOME");
        setenv("HOME", folder, 1);
        setenv("XDG_RUNTIME_DIR", "/run/user/test", 1);
        unlink(POOLD_PYTHON);
        return symlink(TEST_PYTHON, POOLD_PYTHON);
}

static int tear_down(void **state) {
        char command[PATH_MAX + 128];

        (void)state;
        snprintf(command, sizeof(command), "rm -rf %s '%s' '%s'", folder, POOLD_SYSCONFDIR, POOLD_PYTHON);
        return system(command);
}

static void test_defaults(void **state) {
        struct config *config;

        (void)state;
        config = load(NULL);
        assert_null(config->file);
        assert_defaults(config);
        config_unref(config);

        config = load_text("");
        assert_defaults(config);
        config_unref(config);

        config = load_text("[poold]\n");
        assert_defaults(config);
        config_unref(config);

        unsetenv("XDG_RUNTIME_DIR");
        config = load(NULL);
        assert_true(strncmp(config->socket, "/tmp/poold-", 11) == 0);
        config_unref(config);
        config_unref(NULL);
}

static void test_every_key(void **state) {
        struct config *config;

        (void)state;
        config = load_text("\xef\xbb\xbf# a comment\r\n"
                           "[poold]   ; the supervisor\r\n"
                           "socket = %t/a%%b.sock     ; %t is XDG_RUNTIME_DIR\r\n"
                           "log_level = debug\r\n"
                           "max_starting=64\r\n"
                           "drain_timeout = 0\r\n"
                           "request_timeout: 3600\r\n"
                           "[pool:a-B_9]\r\n"
                           "size = 0\r\n"
                           "max_workers = 4096\r\n"
                           "modules = numpy, torch,os.path   ; in order\r\n"
                           "path = ~/models:%h/x: /y \r\n"
                           "options = -X faulthandler\t-IOO \r\n"
                           "    -Xdev\r\n"
                           "start_timeout = 1\r\n"
                           "env.OMP_NUM_THREADS = 4\r\n"
                           "env._x1 = %t ~ a;b = \"c\", d\r\n"
                           "env.EMPTY =\r\n");
        assert_string_equal(config->socket, "/run/user/test/a%b.sock");
        assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
        assert_int_equal(config->max_starting, 64);
        assert_int_equal(config->drain_timeout_sec, 0);
        assert_int_equal(config->request_timeout_sec, 3600);
        assert_int_equal(config->n_pools, 1);
        assert_string_equal(config->pools[0].name, "a-B_9");
        assert_int_equal(config->pools[0].size, 0);
        assert_int_equal(config->pools[0].max_workers, 4096);
        assert_int_equal(config->pools[0].start_timeout_sec, 1);
        assert_strv(config->pools[0].modules, "numpy|torch|os.path|");
        assert_strv(config->pools[0].options, "-X|faulthandler|-IOO|-Xdev|");
        assert_strv(config->pools[0].env, "OMP_NUM_THREADS=4|_x1=%t ~ a;b = \"c\", d|EMPTY=|");
        config_unref(config);
}

static void test_lists(void **state) {
        char expected[512];
        struct config *config;

        (void)state;
        config = load_text("[pool:ml]\n"
                           "modules =\n"
                           "    torch, ,\n"
                           "\n"
                           "    # a comment\n"
                           "\tmy_model.größe     ; the user's own module\n"
                           "    _x,y\n"
                           "path = ~\n"
                           "    ~/models : %h/%%\n"
                           "    ::/lib\n"
                           "modules = last\n");
        assert_strv(config->pools[0].modules, "torch|my_model.größe|_x|y|last|");
        snprintf(expected, sizeof(expected), "%s|%s/models|%s/%%|/lib|", folder, folder, folder);
        assert_strv(config->pools[0].path, expected);
        config_unref(config);
}

static void test_pools_in_order(void **state) {
        char text[256], name[65];
        struct config *config;

        (void)state;
        memset(name, 'n', 64);
        name[64] = 0;
        snprintf(text, sizeof(text), "[pool:z]\n[pool:a]\nsize = 7\n[poold]\n[pool:%s]\nsize = 8\n[pool:empty]",
                 name);
        config = load_text(text);
        assert_int_equal(config->n_pools, 4);
        assert_pool_defaults(&config->pools[0], "z");
        assert_string_equal(config->pools[1].name, "a");
        assert_int_equal(config->pools[1].size, 7);
        assert_string_equal(config->pools[2].name, name);
        assert_int_equal(config->pools[2].size, 8);
        assert_pool_defaults(&config->pools[3], "empty");
        config_unref(config);
}

static void test_numbers(void **state) {
        (void)state;
        assert_errors("[pool:ml]\n"
                      "size = x\n"
                      "max_workers = 4097\n"
                      "start_timeout = 0\n"
                      "[poold]\n"
                      "max_starting = 65\n"
                      "drain_timeout = -1\n"
                      "request_timeout = 5s\n"
                      "log_level = loud\n"
                      "[pool:b]\n"
                      "size =\n"
                      "max_workers = 18446744073709551617\n"
                      "[pool:c]\n"
                      "size = 0x10\n"
                      "start_timeout = 3601\n",
                      ":2: section [pool:ml], key size: 'x' is not auto, or a whole number between 0 and 1024\n"
                      ":3: section [pool:ml], key max_workers: '4097' is not a whole number between 0 and 4096\n"
                      ":4: section [pool:ml], key start_timeout: '0' is not a whole number of seconds between 1 "
                      "and 3600\n"
                      ":6: section [poold], key max_starting: '65' is not a whole number between 1 and 64\n"
                      ":7: section [poold], key drain_timeout: '-1' is not a whole number of seconds between 0 "
                      "and 86400\n"
                      ":8: section [poold], key request_timeout: '5s' is not a whole number of seconds between 1 "
                      "and 3600\n"
                      ":9: section [poold], key log_level: 'loud' is not err, warn, info or debug\n"
                      ":11: section [pool:b], key size: '' is not auto, or a whole number between 0 and 1024\n"
                      ":12: section [pool:b], key max_workers: '18446744073709551617' is not a whole number "
                      "between 0 and 4096\n"
                      ":14: section [pool:c], key size: '0x10' is not auto, or a whole number between 0 and 1024\n"
                      ":15: section [pool:c], key start_timeout: '3601' is not a whole number of seconds between "
                      "1 and 3600");
}

static void test_size_and_max_workers(void **state) {
        (void)state;
        assert_errors("[pool:a]\nsize = 65\n[pool:b]\nmax_workers = 1\n[pool:c]\nmax_workers = 8\n\nsize = 9\n"
                      "[pool:d]\nmax_workers = x\nsize = 100",
                      ":2: section [pool:a], key size: 65 is more than max_workers, which is 64\n"
                      ":4: section [pool:b], key max_workers: 1 is less than size, which is 2\n"
                      ":8: section [pool:c], key size: 9 is more than max_workers, which is 8\n"
                      ":10: section [pool:d], key max_workers: 'x' is not a whole number between 0 and 4096");
}

static void test_bad_lists(void **state) {
        (void)state;
        assert_errors("[pool:a]\n"
                      "modules = numpy torch, 1x\n"
                      "    a..b, .a,\n"
                      "    a., ok, a-b\n"
                      "path = models:/ok\n"
                      "    ~bob/x\n"
                      "    %x/y:/z%\n",
                      ":2: section [pool:a], key modules: 'numpy torch' is not the name of a module\n"
                      ":2: section [pool:a], key modules: '1x' is not the name of a module\n"
                      ":3: section [pool:a], key modules: 'a..b' is not the name of a module\n"
                      ":3: section [pool:a], key modules: '.a' is not the name of a module\n"
                      ":4: section [pool:a], key modules: 'a.' is not the name of a module\n"
                      ":4: section [pool:a], key modules: 'a-b' is not the name of a module\n"
                      ":5: section [pool:a], key path: 'models' is not an absolute path\n"
                      ":6: section [pool:a], key path: '~bob/x' is not an absolute path\n"
                      ":7: section [pool:a], key path: '%x/y' has a % that is not %t, %h or %%\n"
                      ":7: section [pool:a], key path: '/z%' has a % that is not %t, %h or %%");
}

static void test_bad_options(void **state) {
        (void)state;
        assert_errors("[pool:a]\noptions = -O -c pass\n"
                      "[pool:b]\nsize = 1\noptions = -I\n    -z\n"
                      "[pool:c]\noptions = -O x.py\n"
                      "[pool:d]\noptions = -uX\n",
                      ":2: section [pool:a], key options: 'pass' is something to run, and not an option\n"
                      ":5: section [pool:b], key options: no warm worker can have '-z'\n"
                      ":8: section [pool:c], key options: 'x.py' is something to run, and not an option\n"
                      ":10: section [pool:d], key options: no warm worker can have '-uX'");
}

static void test_bad_paths(void **state) {
        (void)state;
        assert_errors("[poold]\nsocket = poold.sock\n",
                      ":2: section [poold], key socket: 'poold.sock' is not an absolute path");
        assert_errors("[poold]\nsocket = "
                      "/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
                      "1234567\n"
                      "# one too long\n[pool:a]\npath = relative\n[pool:b]\n",
                      ":5: section [pool:a], key path: 'relative' is not an absolute path");
        assert_errors("[poold]\nsocket = "
                      "/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
                      "12345678901234567\n",
                      ":2: section [poold], key socket: "
                      "'/"
                      "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"
                      "2345678901234567'"
                      " is longer than 107 bytes");
        setenv("XDG_RUNTIME_DIR", "run", 1);
        assert_errors(
                "[poold]\nsocket = %t/s\n",
                ":2: section [poold], key socket: '%t/s' needs $XDG_RUNTIME_DIR, which is not an absolute path");
        unsetenv("XDG_RUNTIME_DIR");
        assert_errors("[poold]\nsocket = %t/s\n",
                      ":2: section [poold], key socket: '%t/s' needs $XDG_RUNTIME_DIR, which is not set");
}

/* The python3 that poold was built for is there no more, or another one. That is no concern of pools with their own. */
static void test_unfit_default_python(void **state) {
#define DEFAULT "its default, '" POOLD_PYTHON "', "
        (void)state;
        assert_int_equal(unlink(POOLD_PYTHON), 0);
        assert_file_errors(NULL,
                           "built-in defaults: key python: " DEFAULT "cannot be run: No such file or directory");
        assert_errors("[poold]\n", ": key python: " DEFAULT "cannot be run: No such file or directory");
        assert_errors("\n[pool:a]\nsize = x\n[pool:b]\npython = " TEST_PYTHON "\n[pool:c]\nsize = 1\npython =\n",
                      ":3: section [pool:a], key size: 'x' is not auto, or a whole number between 0 and 1024\n"
                      ":2: section [pool:a], key python: " DEFAULT "cannot be run: No such file or directory\n"
                      ":8: section [pool:c], key python: " DEFAULT "cannot be run: No such file or directory");
        assert_errors("[pool:a]\npython = /nonexistent\n",
                      ":2: section [pool:a], key python: '/nonexistent' cannot be run: No such file or directory");
        config_unref(load_text("[pool:a]\npython = " TEST_PYTHON "\n"));

        assert_int_equal(symlink("/bin/true", POOLD_PYTHON), 0);
        assert_errors("[pool:a]\n", ":1: section [pool:a], key python: " DEFAULT "is no CPython 3.9 or later");
#undef DEFAULT
}

static void test_unknown_keys(void **state) {
        (void)state;
        assert_errors("size = 2\n"
                      "    3\n"
                      "[poold]\n"
                      "loglevel = info\n"
                      "size = 2\n"
                      "[pool:a]\n"
                      "Size = 2\n"
                      "module = numpy\n"
                      "    torch\n"
                      "colour = red\n"
                      "env.1A = x\n"
                      "env. = x\n"
                      "env.A-B = x\n"
                      "averyveryverylongnamethatnobodyhaseverheardofbefore = x\n"
                      "    y\n",
                      ":1: key size: it stands before the first section\n"
                      ":4: section [poold], key loglevel: there is no such key; did you mean 'log_level'?\n"
                      ":5: section [poold], key size: there is no such key\n"
                      ":7: section [pool:a], key Size: there is no such key; did you mean 'size'?\n"
                      ":8: section [pool:a], key module: there is no such key; did you mean 'modules'?\n"
                      ":10: section [pool:a], key colour: there is no such key\n"
                      ":11: section [pool:a], key env.1A: '1A' is not the name of an environment variable\n"
                      ":12: section [pool:a], key env.: '' is not the name of an environment variable\n"
                      ":13: section [pool:a], key env.A-B: 'A-B' is not the name of an environment variable\n"
                      ":14: section [pool:a], key averyveryverylongnamethatnobodyhaseverheardofbefore: "
                      "there is no such key");
}

static void test_twice(void **state) {
        (void)state;
        assert_errors("[pool:a]\n"
                      "size = 3\n"
                      "env.A = 1\n"
                      "size = 4\n"
                      "env.B = 1\n"
                      "env.A = 1\n"
                      "    2\n"
                      "start_timeout = 5\n"
                      "    size = 5\n"
                      "[pool:b]\n"
                      "[pool:a]\n"
                      "size = x\n"
                      "[poold]\n"
                      "socket = /a\n"
                      "[poold]\n"
                      "socket = /b\n",
                      ":4: section [pool:a], key size: it is set already on line 2\n"
                      ":6: section [pool:a], key env.A: it is set already on line 3\n"
                      ":7: section [pool:a], key env.A: it has one line only; "
                      "'2' must not be indented if it is another key\n"
                      ":9: section [pool:a], key start_timeout: it has one line only; "
                      "'size = 5' must not be indented if it is another key\n"
                      ":11: section [pool:a]: there is one already on line 1\n"
                      ":12: section [pool:a], key size: 'x' is not auto, or a whole number between 0 and 1024\n"
                      ":15: section [poold]: there is one already on line 13");
}

static void test_bad_sections(void **state) {
        (void)state;
        assert_errors("[pol:a]\n"
                      "size = x\n"
                      "[pool]\n"
                      "[]\n"
                      "[pool:]\n"
                      "[pool:a b]\n"
                      "nokey = 1\n"
                      "[pool:12345678901234567890123456789012345678901234567890123456789012345]\n"
                      "[pool:x\n"
                      "size = 1\n"
                      "[pool:y] size = 3\n"
                      "[POOLD]\n",
                      ":1: section [pol:a]: not a section of this file; those are [poold] and [pool:NAME]\n"
                      ":3: section [pool]: not a section of this file; those are [poold] and [pool:NAME]\n"
                      ":4: section []: not a section of this file; those are [poold] and [pool:NAME]\n"
                      ":5: section [pool:]: the name of a pool is 1 to 64 letters, digits, '_' and '-'\n"
                      ":6: section [pool:a b]: the name of a pool is 1 to 64 letters, digits, '_' and '-'\n"
                      ":7: section [pool:a b], key nokey: there is no such key\n"
                      ":8: section [pool:12345678901234567890123456789012345678901234567890123456789012345]: "
                      "the name of a pool is 1 to 64 letters, digits, '_' and '-'\n"
                      ":9: not a [section] line\n"
                      ":11: not a [section] line\n"
                      ":12: section [POOLD]: not a section of this file; those are [poold] and [pool:NAME]");
}

static void test_bad_syntax(void **state) {
        (void)state;
        assert_errors("nonsense\n"
                      "[poold]\n"
                      "more nonsense\n"
                      "log_level = info\n"
                      "size ; = 3\n"
                      "= 3\n"
                      "last",
                      ":1: neither a [section] nor a key = value line\n"
                      ":3: section [poold]: neither a [section] nor a key = value line\n"
                      ":5: section [poold]: neither a [section] nor a key = value line\n"
                      ":6: section [poold]: neither a [section] nor a key = value line\n"
                      ":7: section [poold]: neither a [section] nor a key = value line");
}

static void test_bad_bytes(void **state) {
        static const char text[] = "[pool:a]\n"
                                   "env.A = a\0b\n"
                                   "    c\n"
                                   "env.B = \xff\n"
                                   "env.C = \xc0\x80\n"
                                   "env.D = \xed\xa0\x80\n"
                                   "env.E = \xf0\x9f\x98\x80\n"
                                   "env.F = \xe2\x82\n"
                                   "env\0.G = x\n"
                                   "modules = a,\n"
                                   "  \xfe\n"
                                   "# \xff\0 only a comment\n"
                                   "[pool:b\0]\n"
                                   "[poold]\n"
                                   "log_level = \033[31mx\n";

        (void)state;
        assert_errors_bytes(text, sizeof(text) - 1,
                            ":2: section [pool:a], key env.A: the line contains a NUL byte\n"
                            ":4: section [pool:a], key env.B: the line is not valid UTF-8\n"
                            ":5: section [pool:a], key env.C: the line is not valid UTF-8\n"
                            ":6: section [pool:a], key env.D: the line is not valid UTF-8\n"
                            ":8: section [pool:a], key env.F: the line is not valid UTF-8\n"
                            ":9: section [pool:a]: the line contains a NUL byte\n"
                            ":11: section [pool:a], key modules: the line is not valid UTF-8\n"
                            ":13: the line contains a NUL byte\n"
                            ":15: section [poold], key log_level: '?[31mx' is not err, warn, info or debug");
}

/* The longest line that inih takes arrives whole; one byte more is an error. */
static void test_long_lines(void **state) {
#ifdef HAVE_INI_MAX_LINE
        const int longest = 4096 - 2;
#else
        const int longest = INI_MAX_LINE - 2;
#endif
        struct config *config;
        char *text, *expected;

        (void)state;
        assert_true(asprintf(&text, "[pool:a]\nenv.A=%0*d", longest - 6, 7) > 0);
        config = load_text(text);
        assert_int_equal(strlen(config->pools[0].env[0]), longest - 4);
        assert_true(config->pools[0].env[0][longest - 5] == '7');
        config_unref(config);
        free(text);

        assert_true(asprintf(&text, "[pool:a]\nenv.A=%0*d\nsize = x\n#%0*d", longest - 5, 7, 20000, 7) > 0);
        assert_true(
                asprintf(&expected,
                         ":2: section [pool:a], key env.A: the line is longer than %d bytes\n"
                         ":3: section [pool:a], key size: 'x' is not auto, or a whole number between 0 and 1024",
                         longest) > 0);
        assert_errors(text, expected);
        free(text);
        free(expected);
}

static void test_unreadable(void **state) {
        char *missing = in_folder("missing.ini"), *large = in_folder("large.ini");

        (void)state;
        assert_file_errors(missing, ": cannot be read: No such file or directory");
        assert_file_errors(folder, ": cannot be read: Is a directory");
        assert_file_errors("/dev/zero", ": cannot be read: File too large");
        write_file(large, "", 0);
        if (geteuid() != 0) {
                assert_int_equal(chmod(large, 0), 0);
                assert_file_errors(large, ": cannot be read: Permission denied");
        }
        free(missing);
        free(large);
}

static void write_config(const char *path, const char *size) {
        char *copy = strdup(path), text[64];

        make_folders(copy);
        snprintf(text, sizeof(text), "[pool:a]\nsize = %s\n", size);
        write_file(copy, text, strlen(text));
        free(copy);
}

static void assert_loads(const char *path, const char *file, unsigned size) {
        struct config *config = load(path);

        assert_string_equal(config->file, file);
        assert_int_equal(config->pools[0].size, size);
        config_unref(config);
}

/* From the last place to the first: each goes before those that are there already. */
static void test_first_found(void **state) {
        char *home = in_folder(".config/poold/poold.ini"), *config_home = in_folder("xdg/poold/poold.ini");
        char *from_env = in_folder("env.ini"), *given = in_folder("given.ini"), *xdg = in_folder("xdg");

        (void)state;
        write_config(POOLD_SYSCONFDIR "/poold/poold.ini", "10");
        assert_loads(NULL, POOLD_SYSCONFDIR "/poold/poold.ini", 10);
        write_config(home, "11");
        assert_loads(NULL, home, 11);
        setenv("XDG_CONFIG_HOME", "relative", 1);
        assert_loads(NULL, home, 11);
        setenv("XDG_CONFIG_HOME", xdg, 1);
        assert_loads(NULL, POOLD_SYSCONFDIR "/poold/poold.ini", 10);
        write_config(config_home, "12");
        assert_loads(NULL, config_home, 12);
        setenv("POOLD_CONFIG", "", 1);
        assert_loads(NULL, config_home, 12);
        setenv("POOLD_CONFIG", from_env, 1);
        write_config(from_env, "13");
        assert_loads(NULL, from_env, 13);
        write_config(given, "14");
        assert_loads(given, given, 14);

        free(home);
        free(config_home);
        free(from_env);
        free(given);
        free(xdg);
}

/* A file that is named must be there; one that is there must be readable. */
static void test_named_but_missing(void **state) {
        char *path = in_folder("missing.ini"), *user = in_folder(".config/poold/poold.ini"), *expected;
        struct config *config;
        char *errors;

        (void)state;
        setenv("POOLD_CONFIG", path, 1);
        assert_true(asprintf(&expected, "%s: cannot be read: No such file or directory", path) > 0);
        assert_int_equal(config_load(NULL, &config, &errors), CONFIG_INVALID);
        assert_string_equal(errors, expected);
        free(errors);
        free(expected);

        unsetenv("POOLD_CONFIG");
        make_folders(user);
        assert_int_equal(mkdir(user, 0700), 0);
        assert_true(asprintf(&expected, "%s: cannot be read: Is a directory", user) > 0);
        assert_int_equal(config_load(NULL, &config, &errors), CONFIG_INVALID);
        assert_string_equal(errors, expected);
        free(errors);
        free(expected);
        free(path);
        free(user);
}

static char *dump(void) {
        char *text = NULL;
        size_t n_bytes;
        FILE *file = open_memstream(&text, &n_bytes);

        assert_int_equal(config_dump_defaults(file), 0);
        fclose(file);
        return text;
}

static void test_sample_is_dump(void **state) {
        char *text = dump(), *sample = calloc(1, strlen(text) + 2);
        FILE *file = fopen(SAMPLE_FILE, "re");

        (void)state;
        assert_non_null(file);
        assert_non_null(sample);
        assert_true(fread(sample, 1, strlen(text) + 1, file) > 0);
        assert_string_equal(sample, text);
        fclose(file);
        free(sample);
        free(text);
}

/* As it is, and with each key but env.NAME made to count, the sample says the defaults. */
static void test_sample_is_defaults(void **state) {
        struct config *config = load(SAMPLE_FILE);
        char *text = dump();

        (void)state;
        assert_defaults(config);
        config_unref(config);
        for (char *at = text; (at = strstr(at, "\n#")); at++)
                if (at[2] != ' ' && at[2] != '\n' && strncmp(at + 2, "env.", 4) != 0)
                        at[1] = ' ';
        assert_null(strstr(text, "\n#size"));
        for (char *at = text; (at = strstr(at, "\n ")); at++)
                memmove(at + 1, at + 2, strlen(at + 1));
        assert_non_null(strstr(text, "\nsize = 2\n"));
        config = load_text(text);
        assert_defaults(config);
        config_unref(config);
        free(text);
}

static void test_sizes_and_choices(void **state) {
        struct config *config;

        (void)state;
        config = load_text("[poold]\n"
                           "metrics = [::1]:9464\n"
                           "[pool:a]\n"
                           "size = auto\n"
                           "min_idle = 0\n"
                           "max_idle = 64\n"
                           "on_empty = wait\n"
                           "on_module_error = warn\n"
                           "memory_max = 3G\n"
                           "env_sensitive = FOO_*, BAR\n"
                           "[pool:b]\n"
                           "memory_max = 18446744073709551615\n");
        assert_string_equal(config->metrics, "[::1]:9464");
        assert_int_equal(config->pools[0].size, CONFIG_SIZE_AUTO);
        assert_int_equal(config->pools[0].min_idle, 0);
        assert_int_equal(config->pools[0].max_idle, 64);
        assert_int_equal(config->pools[0].on_empty, CONFIG_ON_EMPTY_WAIT);
        assert_int_equal(config->pools[0].on_module_error, CONFIG_ON_MODULE_ERROR_WARN);
        assert_int_equal(config->pools[0].memory_max_bytes, UINT64_C(3) << 30);
        assert_strv(config->pools[0].env_sensitive, "FOO_*|BAR|");
        assert_int_equal(config->pools[1].memory_max_bytes, UINT64_MAX);
        assert_int_equal(config->pools[1].on_empty, CONFIG_ON_EMPTY_FALLBACK);
        config_unref(config);

        assert_errors(
                "[poold]\n"
                "metrics = 0.0.0.0:9464\n"
                "[pool:a]\n"
                "on_empty = panic\n"
                "memory_max = 18446744073709551616\n"
                "env_sensitive = A*B\n"
                "[pool:b]\n"
                "memory_max = 16777216T\n"
                "[pool:c]\n"
                "size = auto\n"
                "min_idle = 9\n"
                "[pool:d]\n"
                "size = auto\n"
                "max_workers = 7\n",
                ":2: section [poold], key metrics: '0.0.0.0:9464' is not unix:PATH, or a loopback address and a "
                "port, such as 127.0.0.1:9464\n"
                ":4: section [pool:a], key on_empty: 'panic' is not fallback, wait or fail\n"
                ":5: section [pool:a], key memory_max: '18446744073709551616' is not a whole number of bytes, "
                "or of K, M, G or T, such as 512M\n"
                ":6: section [pool:a], key env_sensitive: 'A*B' is not the name of an environment variable\n"
                ":8: section [pool:b], key memory_max: '16777216T' is not a whole number of bytes, "
                "or of K, M, G or T, such as 512M\n"
                ":11: section [pool:c], key min_idle: 9 is more than max_idle, which is 8\n"
                ":14: section [pool:d], key max_workers: 7 is less than max_idle, which is 8");
}

/* What a change of one key of a pool means for its workers. */
static void test_same_workers(void **state) {
        static const struct {
                const char *line;
                bool same;
        } changes[] = {
                { "size = 3", true },          { "max_age = 9", true },      { "on_empty = fail", true },
                { "env_sensitive = X", true }, { "modules = json", false },  { "path = /tmp", false },
                { "options = -O", false },     { "env.X = 1", false },       { "nice = 3", false },
                { "memory_max = 1", false },   { "run_timeout = 1", false },
        };
        struct config *before = load_text("[pool:a]\n");

        (void)state;
        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
                struct config *after;
                char text[64];

                snprintf(text, sizeof(text), "[pool:a]\n%s\n", changes[i].line);
                after = load_text(text);
                assert_int_equal(config_pool_same_workers(&before->pools[0], &after->pools[0]), changes[i].same);
                assert_true(config_pool_same_workers(&after->pools[0], &after->pools[0]));
                config_unref(after);
        }
        config_unref(before);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_every_key, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_pools_in_order, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_size_and_max_workers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sizes_and_choices, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_same_workers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_lists, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_options, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_paths, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unfit_default_python, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unknown_keys, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_twice, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_sections, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_syntax, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_bytes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_long_lines, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unreadable, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_first_found, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_named_but_missing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sample_is_dump, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sample_is_defaults, set_up, tear_down),
        };

        if (argc == 2 && strcmp(argv[1], "dump") == 0)
                return config_dump_defaults(stdout) < 0;
        return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
