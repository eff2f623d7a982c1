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
        histogram_add(&stats->handoff, handoff_usec);
}

void stats_wait(struct stats *stats, uint64_t wait_usec) {
        histogram_add(&stats->wait, wait_usec);
}

static struct stats_miss *find_miss(struct stats *stats, const char *reason) {
        for (size_t i = 0; i < stats->n_misses; i++)
                if (strcmp(stats->misses[i].reason, reason) == 0)
                        return &stats->misses[i];
        return NULL;
}

void stats_miss(struct stats *stats, const char *reason) {
        struct stats_miss *miss = find_miss(stats, reason);
        char *copy;

        if (!miss && stats->n_misses >= STATS_N_REASONS - 1) {
                reason = "other";
                miss = find_miss(stats, reason);
        }
        if (!miss) {
                copy = strdup(reason);
                if (!copy)
                        return;
                miss = &stats->misses[stats->n_misses++];
                *miss = (struct stats_miss){ .reason = copy };
        }
        miss->count++;
}

void stats_unhit(struct stats *stats, const char *reason) {
        stats->n_hits--;
        stats_miss(stats, reason);
}

uint64_t stats_runs(const struct stats *stats) {
        uint64_t n = stats->n_hits;

        for (size_t i = 0; i < stats->n_misses; i++)
                n += stats->misses[i].count;
        return n;
}

static uint32_t saturate(uint64_t number) {
        return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

uint32_t stats_handoff_usec(const struct stats *stats, unsigned percentile) {
        return saturate(histogram_percentile(&stats->handoff, percentile));
}

uint32_t stats_wait_usec(const struct stats *stats, unsigned percentile) {
        return saturate(histogram_percentile(&stats->wait, percentile));
}

uint32_t stats_warmup_ms(const struct stats *stats, unsigned percentile) {
        return saturate(histogram_percentile(&stats->warmup, percentile) / 1000);
}
