#pragma once

/*
 * What python3 would make of its command line: the options, what is to be run, and where the program's own
 * arguments begin. It follows CPython 3.11 (Python/getopt.c, Python/initconfig.c); there is no Python in it.
 *
 * An option either can still be applied to an interpreter that has started, with the same effect, or acts at its
 * start; then only a worker that was started with it can serve the run. Some cannot be served warm at all.
 */

#include <stdbool.h>
#include <stddef.h>

enum pyargs_kind {
        PYARGS_SCRIPT,
        PYARGS_MODULE,
        PYARGS_COMMAND,
        PYARGS_STDIN,
};

/* How often options that act at the start were given, or for those that only count once, whether. */
struct pyargs_start {
        unsigned bytes_warning; /* -b */
        unsigned debug;         /* -d */
        unsigned optimize;      /* -O */
        bool isolated;          /* -I, which has the effects of -E, -s and -P */
        bool ignore_environment;
        bool no_user_site;
        bool no_site;
        bool random_hash; /* -R */
};

struct pyargs {
        enum pyargs_kind kind;
        const char *target; /* path, module or code; of PYARGS_STDIN "-" or "", as sys.argv[0] has it */
        int first_arg;      /* index in argv of the program's first argument, argc if there is none */
        bool unbuffered;
        bool dont_write_bytecode;
        unsigned quiet;
        unsigned interactive; /* -i */
        bool skip_first_line;
        bool safe_path; /* -P, or -I's */
        struct pyargs_start start;
        const char *unsupported; /* the argument with an option that no warm worker can serve, or that is none */
};

/* Positive result. */
enum {
        PYARGS_UNSUPPORTED = 1, /* only `unsupported` is set: no warm worker can serve this */
};

/*
 * Parses @argv, @argc arguments without the program's own name. Everything that is returned is borrowed from it.
 * Returns 0 or PYARGS_UNSUPPORTED.
 */
int pyargs_parse(char *const *argv, int argc, struct pyargs *ret_args);

/* One option, as the command line has it: all of them, in their order. */
struct pyargs_option {
        char letter;
        const char *argument; /* of -W and -X, of -c and -m; "" of the others */
        const char *word;     /* the argument that it was found in */
};

/* Where pyargs_next() is. Zero-initialised is the beginning; `index` is the argument that comes next. */
struct pyargs_cursor {
        int index;
        const char *letters; /* the rest of a word with several, or NULL */
        bool ended;          /* by -c or -m */
};

/* Returns 1 and the next option; 0 where there are no more; or -1 if that is none, of which only `word` is set. */
int pyargs_next(char *const *argv, int argc, struct pyargs_cursor *cursor, struct pyargs_option *ret_option);

/* Does @option act at the start of an interpreter? */
bool pyargs_is_start(const struct pyargs_option *option);

/*
 * Would interpreters that are started with the one and with the other be the same? Their effects are compared, not
 * their text. Both must be such that pyargs_parse() returned 0.
 */
bool pyargs_same_start(char *const *a, int n_a, char *const *b, int n_b);
