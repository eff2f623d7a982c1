#pragma once

/* The page that Prometheus reads, in its text format, version 0.0.4. */

#include <stdio.h>

#include "pool.h"
#include "stats.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_pool {
        const char *name;
        const struct stats *stats;
        uint64_t n_failed_starts;
        uint32_t n_workers[POOL_N_STATES];
        uint32_t n_wanted;  /* idle ones */
        uint32_t n_waiting; /* runs */
        bool is_degraded;
};

/* poold as a process. */
struct metrics_process {
        double started_sec; /* since 1970 */
        double cpu_sec;
        uint64_t resident_bytes, virtual_bytes;
        uint64_t n_fds, max_fds;
};

/* The names of @pools differ. Whether it could be written is for the caller to see from @page. */
void metrics_page_write(FILE *page, const struct metrics_process *process, const struct metrics_pool *pools,
                        size_t n_pools);
