#pragma once

/*
 * What poold.ini says, checked and resolved. Every key is one row of a table in config.c, from which parsing, the
 * defaults and the sample file are made.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "interpreter.h"
#include "lib/log.h"

#define CONFIG_SIZE_AUTO UINT32_MAX

/* What becomes of a run that finds no idle worker. */
enum config_on_empty {
        CONFIG_ON_EMPTY_FALLBACK, /* python3, unless a worker is sooner */
        CONFIG_ON_EMPTY_WAIT,     /* it waits, at most wait_timeout */
        CONFIG_ON_EMPTY_FAIL,     /* an error */
};

enum config_on_module_error {
        CONFIG_ON_MODULE_ERROR_FAIL, /* no worker without each module */
        CONFIG_ON_MODULE_ERROR_WARN, /* a worker without it, and a line in the log */
};

/* The lists are NULL-terminated and never NULL. Times of 0 are no limit. */
struct config_pool {
        char *name;
        struct interpreter python;
        uint32_t size; /* idle workers to keep, at most max_workers; or CONFIG_SIZE_AUTO: as many as it takes */
        uint32_t min_idle, max_idle; /* between which that is */
        uint32_t max_workers;        /* starting, idle and busy ones */
        uint32_t start_timeout_sec;
        uint32_t max_age_sec;
        uint32_t on_empty; /* enum config_on_empty */
        uint32_t wait_timeout_sec;
        uint32_t on_module_error; /* enum config_on_module_error */
        uint32_t run_timeout_sec;
        uint64_t memory_max_bytes; /* of a run; 0: no limit */
        uint32_t nice;             /* of a worker that warms up */
        char **modules;
        char **path;          /* absolute */
        char **options;       /* python's, such that pyargs_parse() takes them */
        char **env;           /* NAME=value, each name once */
        char **env_sensitive; /* names, which may end in '*' */
};

struct config {
        unsigned n_refs;
        char *file;   /* where it comes from; NULL: built-in defaults */
        char *socket; /* absolute */
        enum log_level log_level;
        uint32_t max_starting;
        uint32_t drain_timeout_sec;
        uint32_t request_timeout_sec;
        char *metrics;             /* "unix:PATH" or "ADDRESS:PORT", where Prometheus finds them; NULL: nowhere */
        struct config_pool *pools; /* in the file's order, at least one */
        size_t n_pools;
};

/* Positive result. */
enum {
        CONFIG_INVALID = 1, /* something is wrong with the file */
};

/*
 * Loads the file at @path, or if that is NULL the first of $POOLD_CONFIG, $XDG_CONFIG_HOME/poold/poold.ini, the
 * system's poold.ini, and the built-in defaults. The first two must be there if they are named.
 *
 * Returns 0 and *ret_config, given back with config_unref(); or CONFIG_INVALID and *ret_errors, all that is wrong, one
 * per line ("FILE:LINE: section [NAME], key KEY: what"), freed with free(3); or negative errno. What is not
 * returned is not set.
 */
int config_load(const char *path, struct config **ret_config, char **ret_errors);

/* One more who has it. Returns @config. */
struct config *config_ref(struct config *config);
/* The last one to call it frees @config, which may be NULL. */
void config_unref(struct config *config);

/* Are the workers of a pool @a what those of @b would be? */
bool config_pool_same_workers(const struct config_pool *a, const struct config_pool *b);

/* Writes the names of the keys that differ and whose change needs a new start of poold, behind @prefix; or nothing. */
void config_print_restarts(FILE *file, const char *prefix, const struct config *a, const struct config *b);

/* Writes poold.ini with each key explained, at its default and commented out. Returns 0 or negative errno. */
int config_dump_defaults(FILE *file);
