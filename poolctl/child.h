#pragma once

/* Another program that we start and wait for. */

#include <stdbool.h>
#include <sys/types.h>

struct child {
        pid_t pid;
        int pidfd; /* owned */
};

struct child_how {
        const char *file; /* a path, or a name that is looked up in PATH */
        char *const *argv;
        int fds[3];       /* borrowed: its standard input, output and error; -1: ours */
        const char *cwd;  /* NULL: ours */
        bool is_detached; /* a session of its own, no signal ignored or blocked */
};

/* Starts it, with our environment. Returns 0 and @ret_child, which child_fini() ends, or negative errno. */
int child_start(const struct child_how *how, struct child *ret_child);

/* Waits until it has ended. Returns its wait status, as waitpid(2) has it, or negative errno. */
int child_wait(struct child *child);

/*
 * Runs it to its end and collects what it writes to standard output: a new string, cut at a NUL byte. how->fds[1] does
 * not count. Returns its wait status or negative errno.
 */
int child_output(const struct child_how *how, char **ret_output);

/* Lets go of the child, which may still run. */
void child_fini(struct child *child);
#define _cleanup_child_ __attribute__((cleanup(child_fini)))
