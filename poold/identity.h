#pragma once

/*
 * Is the client in the same place as the workers, and has it the same rights? Its group and supplementary groups come
 * from the kernel, as does the network namespace that its socket was made in. Its traits (lib/traits.h) it tells
 * itself, and its pid and user id as it sees them, which are others in another pid or user namespace. An owner's
 * process that lies only gets a run that is unlike python3.
 *
 * Not seen are a user namespace made by root in which everybody is who they were, and, unless the client is root,
 * its bounding set of capabilities; a label of SELinux or AppArmor; rules of Landlock but for no_new_privs, which they
 * take; and the keyrings and the audit session of a login.
 */

#include "decline.h"
#include "lib/proto.h"
#include "lib/sock.h"

struct identity;

/* Ours, and so our workers'. NULL for lack of memory. */
struct identity *identity_new(void);
/* Returns NULL. @identity may be NULL. */
struct identity *identity_free(struct identity *identity);

/* Compares those of the client at the other end of @fd (borrowed). 0: the same; DECLINED and @why: not. */
int identity_check(const struct identity *identity, int fd, const struct sock_peer *peer,
                   const struct proto_run *run, struct decline *why);
