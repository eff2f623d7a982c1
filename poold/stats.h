#pragma once

/* What a pool has done so far: runs served, runs not served and why, and how long the handoff took. */

#include <stddef.h>
#include <stdint.h>

#define STATS_N_SAMPLES 512
#define STATS_N_REASONS 64

struct stats_miss {
        char *reason;
        uint64_t count;
};

/* Zero-initialised is empty. */
struct stats {
        uint64_t n_hits;
        size_t n_misses;
        struct stats_miss misses[STATS_N_REASONS];
        size_t n_samples; /* ever taken; the last STATS_N_SAMPLES are kept */
        uint32_t samples_usec[STATS_N_SAMPLES];
};

void stats_fini(struct stats *stats);
/* A run was handed over @handoff_usec after its client was accepted. */
void stats_hit(struct stats *stats, uint64_t handoff_usec);
/* @reason is copied. When there are too many of them, or no memory is left, it is counted as "other" or not at all. */
void stats_miss(struct stats *stats, const char *reason);
/* The percentile of the kept samples, 0 if there are none. */
uint32_t stats_handoff_usec(const struct stats *stats, unsigned percentile);
