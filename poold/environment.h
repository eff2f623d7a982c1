#pragma once

/*
 * The environment: C's environ, posix.environ and os.environ. What the interpreter's start and the modules' import
 * have changed in it (LC_CTYPE where the C locale is coerced, KMP_INIT_AT_FORK, ...) they would have changed in
 * the client's as well, so that is carried over.
 */

#include "lib/wire.h"

/* Remembers what this process was started with. Returns 0 or negative errno. */
int environment_remember(void);

/*
 * Makes @env (NAME=value, which must live as long as the process) the environment.
 * Returns 0, or negative: -errno, or -ENOTRECOVERABLE with a Python exception set.
 */
int environment_adopt(const struct wire_strv *env);
