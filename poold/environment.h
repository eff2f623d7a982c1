#pragma once

/*
 * The environment: C's environ, posix.environ and os.environ. What the interpreter's start and the modules' import
 * have changed in it (LC_CTYPE where the C locale is coerced, KMP_INIT_AT_FORK, ...) they would have changed in
 * the client's as well, so that is carried over.
 */

#include "lib/wire.h"

/* Remembers what this process was started with. Returns 0 or negative errno. */
int environment_remember(void);

/* Can environment_adopt() change os.environ? 0, or -1 with an exception set if a module has put another object there. */
int environment_check(void);

/* The value that @name had then; NULL if it was not set. */
const char *environment_at_start(const char *name);

/* The value that @name has in @env, NAME=value; NULL if it is not set there. */
const char *environment_value(const struct wire_strv *env, const char *name);

/*
 * Makes @env (NAME=value, which must live as long as the process) the environment.
 * Returns 0, or negative: -errno, or -ENOTRECOVERABLE with a Python exception set.
 */
int environment_adopt(const struct wire_strv *env);
