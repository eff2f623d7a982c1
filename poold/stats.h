#pragma once

/*
 * What a pool has done since poold was started: runs served, runs not served and why, workers started, and how long all
 * that took.
 */

#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

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
        uint64_t n_starts;                      /* of workers, those that failed included */
        uint64_t n_recycled;                    /* workers that were ready, and given up without a run */
        struct histogram handoff, warmup, wait; /* warm-ups that succeeded */
};

void stats_fini(struct stats *stats);
/* A run was handed over @handoff_usec after its client was accepted, its time in the queue not counted. */
void stats_hit(struct stats *stats, uint64_t handoff_usec);
/* A run has waited, and does so no longer, served or not. */
void stats_wait(struct stats *stats, uint64_t wait_usec);
/* @reason is copied. When there are too many of them, it is counted as "other"; not at all when no memory is left. */
void stats_miss(struct stats *stats, const char *reason);
/* A run that stats_hit() has counted was none after all. */
void stats_unhit(struct stats *stats, const char *reason);
/* All the runs that there were: those served, and the misses. */
uint64_t stats_runs(const struct stats *stats);

/* Percentiles; 0 if there is nothing to take them of. */
uint32_t stats_handoff_usec(const struct stats *stats, unsigned percentile);
uint32_t stats_wait_usec(const struct stats *stats, unsigned percentile);
uint32_t stats_warmup_ms(const struct stats *stats, unsigned percentile);
