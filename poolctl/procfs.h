#pragma once

/* What proc(5) says of a process. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Its share of the memory (smaps_rollup): where a page is shared, its part of that. The kernel looks at every page for
 * this: 5 ms for 250 MB. 0 if the process has gone, or may not be asked.
 */
uint64_t procfs_pss_kb(pid_t pid);

/* What it has in memory, shared or not. That is at hand. 0 as above. */
uint64_t procfs_rss_kb(pid_t pid);

/* Is a CPU idle, as far as one can tell at this moment? */
bool procfs_is_quiet(void);

/* Its command line, the arguments with spaces in between, freed by the caller; NULL if it has none, as when it ended. */
char *procfs_command(pid_t pid);
