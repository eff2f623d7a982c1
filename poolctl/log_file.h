#pragma once

/*
 * The log of a poold in the background: $XDG_STATE_HOME/poold/poold.log, or below ~/.local/state. It is appended to; one
 * that has grown large becomes poold.log.1 first. Who has it open also has the folder's lock, so that one at a time
 * starts a poold.
 */

#include <sys/types.h>

struct log_file {
        char *path;
        int lock;    /* owned */
        int fd;      /* owned */
        off_t begin; /* how long it was when it was opened */
};

/* Waits for the lock. Returns 0, or negative errno, having said why. log_file_fini() in any case. */
int log_file_open(struct log_file *ret_log);

/* Copies the last lines that were added since it was opened to stderr. Returns how many bytes that were. */
size_t log_file_show(const struct log_file *log);

void log_file_fini(struct log_file *log);
#define _cleanup_log_file_ __attribute__((cleanup(log_file_fini)))
