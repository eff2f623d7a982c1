#pragma once

/* What whoever uses posix_spawn(3) needs beside it. */

#include <spawn.h>
#include <sys/types.h>

/* The child has a session of its own, and no signal ignored or blocked. Returns 0 or negative errno. */
int spawning_set_fresh(posix_spawnattr_t *attributes);

/* A pidfd of @pid, a child that nobody has waited for; the caller owns it. Or negative errno, and there is no child. */
int spawning_open(pid_t pid);
