#include "stats.h"

#include <stdlib.h>
#include <string.h>

void stats_fini(struct stats *stats) {
        for (size_t i = 0; i < stats->n_misses; i++)
                free(stats->misses[i].reason);
        stats->n_misses = 0;
}

void stats_hit(struct stats *stats, uint64_t handoff_usec) {
        stats->n_hits++;
        stats->samples_usec[stats->n_samples++ % STATS_N_SAMPLES] =
                handoff_usec < UINT32_MAX ? (uint32_t)handoff_usec : UINT32_MAX;
}

void stats_miss(struct stats *stats, const char *reason) {
        char *copy;

        if (stats->n_misses == STATS_N_REASONS - 1)
                reason = "other";
        for (size_t i = 0; i < stats->n_misses; i++)
                if (strcmp(stats->misses[i].reason, reason) == 0) {
                        stats->misses[i].count++;
                        return;
                }
        copy = strdup(reason);
        if (copy && stats->n_misses < STATS_N_REASONS)
                stats->misses[stats->n_misses++] = (struct stats_miss){ copy, 1 };
        else
                free(copy);
}

static int compare(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

uint32_t stats_handoff_usec(const struct stats *stats, unsigned percentile) {
        uint32_t sorted[STATS_N_SAMPLES];
        size_t n = stats->n_samples < STATS_N_SAMPLES ? stats->n_samples : STATS_N_SAMPLES;

        if (n == 0)
                return 0;
        memcpy(sorted, stats->samples_usec, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), compare);
        return sorted[(n - 1) * percentile / 100];
}
