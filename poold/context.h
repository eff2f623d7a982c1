#pragma once

/*
 * What a process inherits besides its memory and its fds: folder, umask, limits, priorities, CPUs, signals.
 * No Python in it.
 */

#include "decline.h"
#include "lib/proto.h"

/*
 * Call it while the worker is not yet waited for: it notes what the process started with. @data_max_bytes is what a run
 * may have at most of RLIMIT_DATA; 0: whatever its client may have.
 */
void context_remember(uint64_t data_max_bytes);

/*
 * Takes on what can be taken on, and declines ("cwd", "limits", "nice", "affinity") what cannot be had. Everything
 * here is ours alone: nobody else sees it. @cwd is borrowed. Returns 0 or DECLINED.
 */
int context_adopt(const struct proto_run *run, int cwd, struct decline *decline);

/*
 * The rest, once the client's fds are in place: the soft limit on their number, ignored and blocked signals.
 * SIGPIPE and SIGXFSZ are left as the interpreter wants them: ignored.
 */
void context_adopt_late(const struct proto_run *run);
