#pragma once

/*
 * Is the client in a control group whose limits on memory or CPU time the workers are not in? A script that they would
 * have held must not get around them, so it is a miss. Limits that the workers have and the client has not are poold's
 * own, see poold.service. Weights, limits on tasks and on I/O are not looked at.
 *
 * Both versions of control groups are known, see cgroups(7). A client tells its groups itself: for another process the
 * kernel must look more of it up. Other groups than ours are looked at once in some seconds.
 */

#include <stdint.h>

#include "decline.h"

struct cgroups;

/*
 * Our own, and so our workers'. @root is where they are mounted (borrowed), "/sys/fs/cgroup" but for tests. NULL for
 * lack of memory.
 */
struct cgroups *cgroups_new(const char *root);
/* Returns NULL. @cgroups may be NULL. */
struct cgroups *cgroups_free(struct cgroups *cgroups);

/*
 * Of a process whose /proc/PID/cgroup says @theirs; "": nothing is known of it. 0: none of its limits is missed;
 * DECLINED ("cgroup") and @why.
 */
int cgroups_check(struct cgroups *cgroups, const char *theirs, uint64_t now_usec, struct decline *why);

/* The same if the workers' says @ours. It reads the limits each time. */
int cgroups_compare(const char *root, const char *ours, const char *theirs, struct decline *why);
