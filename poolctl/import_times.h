#pragma once

/*
 * What `python3 -X importtime` says on standard error: which modules were imported, by whom, and how long it took. A
 * module's line comes behind those of the modules that it imported, which are indented by two spaces more:
 *
 *     import time: self [us] | cumulative | imported package
 *     import time:       119 |        211 |   sitecustomize
 *     import time:       807 |       2547 | site
 *
 * What the script itself writes there may stand between the lines, and before one on the same line.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct import_entry {
        char *name;
        uint64_t usec;  /* with all that it imported */
        unsigned level; /* 0: imported by the script, or by a function that it called */
};

/* Zero-initialised is empty. Without what every interpreter imports when it starts, which ends with `site`. */
struct import_times {
        struct import_entry *entries; /* in the order of their lines */
        size_t n_entries, n_room;
        bool has_started; /* `site` has been there */
        char *rest;       /* the beginning of what may become a line */
        size_t n_rest;
};

void import_times_fini(struct import_times *times);
#define _cleanup_import_times_ __attribute__((cleanup(import_times_fini)))

typedef void import_times_pass(const char *data, size_t n, void *user);

/*
 * Takes the next @n bytes of standard error, and gives at once to @pass what is the script's; with none at the end of
 * all, what cannot become a line any more. Returns 0 or -ENOMEM.
 */
int import_times_take(struct import_times *times, const char *data, size_t n, import_times_pass *pass, void *user);

/* The time of all imports, in microseconds. A module that a child process imports again does not count. */
uint64_t import_times_total(const struct import_times *times);

/* An import that is proposed, or may not be. */
struct import_choice {
        const char *name; /* borrowed from the entries */
        uint64_t usec;    /* what it would save; of a local one: without what is proposed of its imports */
        bool is_local;
};

typedef bool import_times_is_local(const char *name, void *user);

/*
 * The imports that take at least @least_usec. Of a local one, which a pool's worker does not find, those that it makes
 * itself are looked at as well. A package stands for its module if importing it takes nearly all of the module's time.
 * Returns 0, the choices (the caller frees them) and their number, or -ENOMEM.
 */
int import_times_choose(const struct import_times *times, uint64_t least_usec, import_times_is_local *is_local,
                        void *user, struct import_choice **ret_choices, size_t *ret_n_choices);
