#pragma once

/*
 * Which number belongs to which fd. A script finds the numbers free that it would find free under python3, and the
 * client's fds go to the very numbers that they have there; so what is ours, or a preloaded library's, lies high.
 * No Python in it.
 */

#include <stdbool.h>
#include <sys/stat.h>

#include "decline.h"
#include "lib/fdset.h"
#include "lib/proto.h"

/* Moves @fd (taken, also on failure) to where the worker's own fds are. Returns the new number or negative errno.
 */
int descriptors_hide(int fd);

/* Low numbers, held while libraries open theirs. */
struct placeholders {
        int first, last; /* none if last < first */
        dev_t device;
        ino_t inode;
};

/* Fills the free low numbers. Where that fails, there are fewer. */
void placeholders_init(struct placeholders *holders);
/* Frees them again. */
void placeholders_fini(struct placeholders *holders);

/*
 * Moves every fd of @fds out of the way of the numbers that the client's own have, which are those from
 * PROTO_RUN_FD_FIRST on but for the last @n_more, and of those that the terminal is to have. Declines ("fds") if a number
 * is taken or cannot be had. The fds stay in @fds. Returns 0 or DECLINED.
 */
int descriptors_lift(struct fdset *fds, const struct wire_u64v *numbers, const struct wire_u64v *terminal_numbers,
                     size_t n_more, struct decline *decline);

/* Steals the client's own fds out of @fds and gives them their numbers; closes 0 to 2 that it has not. 0 or
 * -errno. */
int descriptors_place(struct fdset *fds, const struct wire_u64v *numbers);

/* A socket of ours whose number a script may close and use for something else. */
struct own_socket {
        int fd;
        dev_t device;
        ino_t inode;
};

/* Remembers @fd, which stays borrowed. */
void own_socket_init(struct own_socket *own, int fd);
/* Is the number still our socket? */
bool own_socket_is_there(const struct own_socket *own);
