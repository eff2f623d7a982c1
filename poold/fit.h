#pragma once

/*
 * Is a warm worker of a pool what python3 would have been for this run? See DESIGN's rule: the same interpreter, the
 * same options at its start, the same value of every variable that is read when modules are imported.
 */

#include "decline.h"
#include "lib/proto.h"

struct fit;

/*
 * What one pool's workers are like: @envp, the environment that they start with, and @options, python's options that
 * pyargs_parse() takes, are borrowed. NULL: no memory.
 */
struct fit *fit_new(char *const *envp, char *const *options);
/* Returns NULL. */
struct fit *fit_free(struct fit *fit);

/* Compares. Returns 0: fits; DECLINED and *ret_miss; or -ENOMEM. @fds are the run's fds (borrowed). */
int fit_check(const struct fit *fit, const struct proto_run *run, const int *fds, struct decline *ret_miss);
