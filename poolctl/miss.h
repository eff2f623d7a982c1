#pragma once

/* Why poold does not serve a run, and who runs it instead. Zero-initialised is empty. */

#include <stdbool.h>

/* The positive result of what tries to have a run served: nothing was started, and a struct miss says why. */
enum {
        MISS = 1,
};

struct miss {
        char *reason;  /* its name */
        char *detail;  /* for a person */
        char *python;  /* the interpreter that poold names, or "" */
        bool is_final; /* nobody else is to run it */
};

/*
 * Copies what it is given into @miss, which must be empty; each may be "". Returns MISS.
 * What there is no memory for reads as "" (see miss_text()).
 */
int miss_refused(struct miss *miss, const char *reason, const char *detail, const char *python);
int miss_set(struct miss *miss, const char *reason, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Copies who runs it instead, which a miss that poold had no part in does not say by itself. */
void miss_set_python(struct miss *miss, const char *python);

/* What a person is told, never NULL; borrowed from @miss. */
const char *miss_text(const struct miss *miss);

void miss_fini(struct miss *miss);
#define _cleanup_miss_ __attribute__((cleanup(miss_fini)))
