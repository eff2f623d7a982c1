#pragma once

/* poold in the background: started as a daemon, and waited for until it says that it is ready, as systemd does it. */

#include <stdint.h>

#include "child.h"

/* Positive results of daemon_start(). */
enum {
        DAEMON_ENDED = 1,  /* *ret_wait_status says how */
        DAEMON_SILENT = 2, /* it runs, but has not become ready in time */
};

/*
 * Starts the poold that is installed beside us, else the one of PATH, with a session of its own, in the root folder, and
 * with nothing of ours open: it writes to @log (borrowed). @config is absolute, or NULL: its default.
 * Returns 0 once it is ready, a positive result, or negative errno. It is left running when @ret_child is ended.
 */
int daemon_start(const char *config, int log, int64_t deadline_usec, struct child *ret_child,
                 int *ret_wait_status);
