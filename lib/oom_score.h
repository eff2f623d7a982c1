#pragma once

/* Whom the kernel kills first when memory runs out: oom_score_adj of proc(5). */

#include <stdint.h>

#define OOM_SCORE_ZERO 1000    /* what is added to it here */
#define OOM_SCORE_UNKNOWN 2001 /* more than there is */

/* Of the calling process. OOM_SCORE_UNKNOWN where /proc is not mounted. */
uint32_t oom_score_get(void);

/* Less than it was last set to with privileges takes privileges. Returns 0 or negative errno. */
int oom_score_set(uint32_t score);
