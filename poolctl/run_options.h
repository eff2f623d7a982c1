#pragma once

/* poolctl's own options of `run` and `explain`, which come before python's arguments. */

#include <stdbool.h>

#include "proxy.h"

#define EXIT_OWN_FAILURE 125 /* that of poolctl and not of the script, as with docker run */

struct run_options {
        const char *pool; /* NULL: not given */
        bool no_fallback;
        bool verbose;
        enum proxy_mode tty;
};

/*
 * Takes our own options off the front of *args. The first argument that is not one is python's, and so are all
 * behind it. Returns 0, or EXIT_OWN_FAILURE, having said why.
 */
int run_options_parse(char ***args, struct run_options *ret_options);

/* The pool that is asked for by option or by POOLD_POOL; NULL: any. */
const char *run_options_pool(const struct run_options *options);

/* Does POOLD_DISABLE=1 keep us away from poold? */
bool run_options_is_disabled(void);
