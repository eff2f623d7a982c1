#pragma once

/*
 * What python3 would make of its command line: the options, what is to be run, and where the program's own
 * arguments begin. It follows CPython 3.11 (Python/getopt.c, Python/initconfig.c); there is no Python in it.
 */

#include <stdbool.h>

enum pyargs_kind {
        PYARGS_SCRIPT,
        PYARGS_MODULE,
        PYARGS_COMMAND,
        PYARGS_STDIN,
};

struct pyargs {
        enum pyargs_kind kind;
        const char *target; /* path, module or code; of PYARGS_STDIN "-" or "", as sys.argv[0] has it */
        int first_arg;      /* index in argv of the program's first argument, argc if there is none */
        bool unbuffered;
        bool dont_write_bytecode;
        bool quiet;
        const char *unsupported; /* the argument with an option that acts at interpreter start, or that is none */
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
