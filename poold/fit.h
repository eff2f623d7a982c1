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

/* A run that is compared with several pools, and what is the same for all of them. */
struct fit_run {
        const struct proto_run *run; /* borrowed */
        const char *activated; /* the folder of the environment that the client has activated, or NULL; its own */
        char **argv;
};

/* Returns 0 or -ENOMEM. */
int fit_run_init(struct fit_run *ret_candidate, const struct proto_run *run);
void fit_run_fini(struct fit_run *candidate);
#define _cleanup_fit_run_ __attribute__((cleanup(fit_run_fini)))

/* Compares. Returns 0: fits; or DECLINED and *ret_miss, which may be NULL. */
int fit_check(const struct fit *fit, const struct fit_run *candidate, struct decline *ret_miss);
