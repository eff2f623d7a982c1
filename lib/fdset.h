#pragma once

/*
 * A list of file descriptors that it owns: those that came with a message, or that go with one.
 * What is still in it when it ends is closed, so an fd cannot be forgotten on a failure path.
 */

#include <stddef.h>

/* SCM_MAX_FD: the most fds that the kernel carries with one sendmsg(2), see unix(7). */
#define FDSET_MAX 253

struct fdset {
        size_t n_fds;
        int fds[FDSET_MAX];
};

static inline void fdset_init(struct fdset *set) {
        set->n_fds = 0;
}

/* Closes every fd that is still in @set and leaves it empty. */
void fdset_fini(struct fdset *set);

#define _cleanup_fdset_ __attribute__((cleanup(fdset_fini)))

/* Appends @fd, which is taken, also on failure (-EMFILE: the set is full). Returns 0 or negative errno. */
int fdset_push(struct fdset *set, int fd);

/* Takes the fd at @index out, leaving -1 in its place. The caller owns what is returned; -1 if there is none. */
int fdset_steal(struct fdset *set, size_t index);

/*
 * Moves the first @n fds of @from to the end of @to.
 * Returns 0, or -EMFILE (nothing moved) if @to has no room or @from has fewer.
 */
int fdset_move(struct fdset *to, struct fdset *from, size_t n);
