#pragma once

/* The real interpreter: what runs a script that no worker runs. */

#include <stdbool.h>

#include "miss.h"

/*
 * Finds the interpreter that fallback_exec() would become. Returns it, borrowed from @miss or in @path, which has room
 * for PATH_MAX bytes; or NULL.
 */
const char *fallback_find(const struct miss *miss, char *path);

/*
 * Becomes python3 with the arguments @args, NULL at their end; args[-1] must be writable. The
 * interpreter is that which @miss names, else that of the environment that is activated, else the one that poold
 * was built for; never one that is poolctl itself. Says which and why if @verbose. Returns 125, having said why,
 * if none can be run.
 */
int fallback_exec(const struct miss *miss, char **args, bool verbose);
