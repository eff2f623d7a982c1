#pragma once

/*
 * Is the client in the same place as the workers, and has it the same rights? Its group and supplementary groups come
 * from the kernel, as does the network namespace that its socket was made in. Its root and mount namespace it tells
 * itself, and its pid and user id as it sees them, which are others in another pid or user namespace. An owner's
 * process that lies only gets a run that is unlike python3.
 *
 * This is what can be had in five cheap system calls for each run, two of them here. Reading all the links of
 * /proc/PID/ns takes 25 microseconds. So not seen is a client that has left only the uts, ipc, cgroup or time
 * namespace, or has a user namespace in which its user id is what it was.
 */

#include "fit.h"
#include "lib/sock.h"

struct identity;

/* Ours, and so our workers'. NULL for lack of memory. */
struct identity *identity_new(void);
/* Returns NULL. @identity may be NULL. */
struct identity *identity_free(struct identity *identity);

/* Compares those of the client at the other end of @fd (borrowed). 0: the same; FIT_MISS and *ret_miss: not. */
int identity_check(const struct identity *identity, int fd, const struct sock_peer *peer,
                   const struct proto_run *run, struct fit_miss *ret_miss);
