#pragma once

/*
 * A control group (version 2) for each worker and what it starts, where poold may make them: so that memory_max holds
 * for a run as a whole, and a run that the kernel kills for its memory is the only one.
 *
 * As systemd's CGROUP_DELEGATION has it, a group with groups below it has no processes itself, so poold moves into a
 * group of its own:
 *
 *     BASE                        where poold was started, delegated to it and to nobody else
 *     BASE/poold                  poold, and the keepers, which are not to be killed in place of a worker
 *     BASE/worker-PID-N-LIMIT     the N-th worker of the poold with that PID, memory.max being LIMIT
 *
 * A group is removed once it is empty, which a process that a run has left behind may delay for long. The next poold
 * finds what the last one left. The controller may have been turned off in between (poold.service has to), so it sets
 * the limits again.
 */

#include <stdint.h>

struct groups;

/*
 * Moves this process if it may have groups. @root is where they are mounted, "/sys/fs/cgroup" but for tests. NULL: no
 * memory.
 */
struct groups *groups_new(const char *root);
/* The groups stay. Returns NULL. @groups may be NULL. */
struct groups *groups_free(struct groups *groups);

/* NULL if there may be groups, else why there are none. */
const char *groups_problem(const struct groups *groups);

/*
 * Makes a group, with that limit on its memory or with none if it is 0. Returns 0, its name, for groups_remove(), and an
 * fd of it that the caller owns; or negative errno.
 */
int groups_add(struct groups *groups, uint64_t memory_max_bytes, char **ret_name, int *ret_fd);

/* Removes the group @name (taken, may be NULL), now or later: the keeper that it was made for has ended. */
void groups_remove(struct groups *groups, char *name);
