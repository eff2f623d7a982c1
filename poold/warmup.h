#pragma once

/* How long the last few workers took to warm up. */

#include <stdint.h>

#define WARMUP_N 5

struct warmup {
        uint64_t last_usec[WARMUP_N];
        uint32_t n; /* all there were, modulo 2^32 */
};

void warmup_note(struct warmup *warmup, uint64_t usec);

/* Their median, so that one that was slow for once does not count; 0: there was none. */
uint64_t warmup_usec(const struct warmup *warmup);
