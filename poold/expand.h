#pragma once

/* What ~ and % stand for in the paths of poold.ini. */

/* Positive result. */
enum {
        EXPAND_IMPOSSIBLE = 1, /* @value is not a path that can be used here and now */
};

/*
 * Replaces a leading ~ and every %h by the home folder, %t by $XDG_RUNTIME_DIR and %% by %; the result must be
 * absolute. Returns 0 and a new string; or EXPAND_IMPOSSIBLE and *ret_problem, a static string that says why, to
 * be put behind the value; or -ENOMEM.
 */
int expand_path(const char *value, char **ret_path, const char **ret_problem);

/* The home folder, absolute, or NULL if there is none. Valid until the next call. */
const char *expand_home(void);
