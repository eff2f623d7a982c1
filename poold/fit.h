#pragma once

/*
 * Is a warm worker of a pool what python3 would have been for this run? See DESIGN's rule: the same interpreter, the
 * same options at its start, the same value of every variable that is read when modules are imported.
 */

#include "decline.h"
#include "interpreter.h"
#include "lib/proto.h"

struct fit;

/* What one pool's workers are like. */
struct fit_settings {
        const struct interpreter *interpreter;
        bool is_default;            /* it is what python3 is for a client that has activated no environment */
        char *const *envp;          /* what they start with */
        char *const *options;       /* python's, such that pyargs_parse() takes them */
        char *const *env_sensitive; /* names of variables that count beside those that do anyway, see config.h */
};

/* What @settings points to is borrowed. NULL: no memory. */
struct fit *fit_new(const struct fit_settings *settings);
/* Returns NULL. */
struct fit *fit_free(struct fit *fit);

/*
 * Is the pool's interpreter the one that python3 would have been? A run that names its pool has chosen. Else it is that
 * of the environment that the client has activated; without one, the default.
 */
bool fit_has_interpreter(const struct fit *fit, const struct proto_run *run);

/* Compares. Returns 0: fits; DECLINED and *ret_miss; or -ENOMEM. */
int fit_check(const struct fit *fit, const struct proto_run *run, struct decline *ret_miss);
