#pragma once

/*
 * What others see of this process: its command line and environment (/proc/PID/cmdline and environ, ps, pgrep -f) and
 * its name (/proc/PID/comm, top, pgrep). An idle worker says that it is one; a worker with a run shows what python3
 * would. No Python in it.
 *
 * The kernel is told where they lie, by PR_SET_MM_MAP, so that they may have any length. That needs no privilege, but
 * a kernel with CONFIG_CHECKPOINT_RESTORE, as those of the distributions are. With another one the command line stays
 * that of worker.py, and all else is as it should be.
 */

#include "lib/proto.h"

/*
 * We are a worker of @pool that imports its modules as @program, the path of its interpreter, which is borrowed for
 * good; @pool until title_idle(). Threads that the modules start have their names for good, so it is python's from here on.
 */
void title_start(const char *pool, const char *program);

/* Now we wait for a run. */
void title_idle(void);

/*
 * And now we are @run, of which the arguments and the environment are copied as execve(2) leaves them: one string
 * behind the other, the environment behind the arguments, which is where modules that change the command line look
 * for it. @run->env lies in the copy from then on, which is never freed. Returns 0 or -ENOMEM.
 */
int title_run(struct proto_run *run);
