#include "metrics_page.h"

#include <inttypes.h>
#include <string.h>

/* What the page says of each pool: a metric, and how its samples are written. */
struct family {
        const char *name, *type, *help;
        void (*write)(FILE *page, const struct family *family, const struct metrics_pool *pool);
};

/* A bucket's upper end; at most two digits, for histogram_count(). */
struct bound {
        uint64_t usec;
        const char *label;
};

#define LE(seconds) ",le=\"" seconds "\""

static const struct bound bounds[] = {
        { 50, LE("5e-05") },      { 100, LE("0.0001") },    { 250, LE("0.00025") },   { 500, LE("0.0005") },
        { 1000, LE("0.001") },    { 2500, LE("0.0025") },   { 5000, LE("0.005") },    { 10000, LE("0.01") },
        { 25000, LE("0.025") },   { 50000, LE("0.05") },    { 100000, LE("0.1") },    { 250000, LE("0.25") },
        { 500000, LE("0.5") },    { 1000000, LE("1.0") },   { 2500000, LE("2.5") },   { 5000000, LE("5.0") },
        { 10000000, LE("10.0") }, { 30000000, LE("30.0") }, { 60000000, LE("60.0") }, { 300000000, LE("300.0") },
};
#define N_BOUNDS (sizeof(bounds) / sizeof(bounds[0]))

/* A label's value, quoted. What is no plain ASCII is not worth a page that cannot be read. */
static void write_label(FILE *page, const char *name, const char *value) {
        fputs_unlocked(name, page);
        fputs_unlocked("=\"", page);
        for (; *value; value++) {
                if (*value == '"' || *value == '\\')
                        putc_unlocked('\\', page);
                putc_unlocked(*value < ' ' || *value > '~' ? '?' : *value, page);
        }
        putc_unlocked('"', page);
}

/* There are thousands of numbers on a page: printf(3) would be most of its time. */
static void write_number(FILE *page, uint64_t number) {
        char digits[20];
        size_t at = sizeof(digits);

        do
                digits[--at] = (char)('0' + number % 10);
        while (number /= 10);
        fwrite_unlocked(digits + at, 1, sizeof(digits) - at, page);
}

/* The end of a sample that begin() has begun. */
static void end(FILE *page, uint64_t value) {
        fputs_unlocked("} ", page);
        write_number(page, value);
        putc_unlocked('\n', page);
}

/* The beginning of a sample, up to the labels after that of the pool. */
static void begin(FILE *page, const struct family *family, const char *suffix, const struct metrics_pool *pool) {
        fputs_unlocked(family->name, page);
        fputs_unlocked(suffix, page);
        putc_unlocked('{', page);
        write_label(page, "pool", pool->name);
}

static void write_sample(FILE *page, const struct family *family, const struct metrics_pool *pool,
                         uint64_t value) {
        begin(page, family, "", pool);
        end(page, value);
}

static void write_histogram(FILE *page, const struct family *family, const struct metrics_pool *pool,
                            const struct histogram *histogram) {
        uint64_t n = 0, from_usec = 0;

        for (size_t i = 0; i < N_BOUNDS; i++) {
                n += histogram_count(histogram, from_usec, bounds[i].usec);
                from_usec = bounds[i].usec;
                begin(page, family, "_bucket", pool);
                fputs_unlocked(bounds[i].label, page);
                end(page, n);
        }
        begin(page, family, "_bucket", pool);
        fputs_unlocked(",le=\"+Inf\"", page);
        end(page, histogram->n);
        begin(page, family, "_sum", pool);
        fprintf(page, "} %" PRIu64 ".%06" PRIu64 "\n", histogram->sum_usec / 1000000,
                histogram->sum_usec % 1000000);
        begin(page, family, "_count", pool);
        end(page, histogram->n);
}

/* --- One function a metric --- */

static void write_runs(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_sample(page, family, pool, stats_runs(pool->stats));
}

static void write_misses(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        for (size_t i = 0; i < pool->stats->n_misses; i++) {
                begin(page, family, "", pool);
                putc_unlocked(',', page);
                write_label(page, "reason", pool->stats->misses[i].reason);
                end(page, pool->stats->misses[i].count);
        }
}

static void write_waiting(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_sample(page, family, pool, pool->n_waiting);
}

static void write_workers(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        for (enum pool_worker_state state = POOL_STARTING; state < POOL_N_STATES; state++) {
                begin(page, family, "", pool);
                putc_unlocked(',', page);
                write_label(page, "state", pool_worker_state_name(state));
                end(page, pool->n_workers[state]);
        }
}

static void write_wanted(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_sample(page, family, pool, pool->n_wanted);
}

static void write_degraded(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_sample(page, family, pool, pool->is_degraded);
}

static void write_starts(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_sample(page, family, pool, pool->stats->n_starts);
}

static void write_start_failures(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_sample(page, family, pool, pool->n_failed_starts);
}

static void write_recycled(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_sample(page, family, pool, pool->stats->n_recycled);
}

static void write_handoff(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_histogram(page, family, pool, &pool->stats->handoff);
}

static void write_wait(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_histogram(page, family, pool, &pool->stats->wait);
}

static void write_warmup(FILE *page, const struct family *family, const struct metrics_pool *pool) {
        write_histogram(page, family, pool, &pool->stats->warmup);
}

static const struct family families[] = {
        { "poold_runs_total", "counter", "Runs that came to the pool, warm ones and misses.", write_runs },
        { "poold_misses_total", "counter", "Runs that no worker of the pool took, by reason.", write_misses },
        { "poold_runs_waiting", "gauge", "Runs that wait for a worker.", write_waiting },
        { "poold_workers", "gauge", "Workers, by state.", write_workers },
        { "poold_workers_target", "gauge", "Idle workers that the pool wants at present.", write_wanted },
        { "poold_pool_degraded", "gauge", "1 if the last start of a worker failed, else 0.", write_degraded },
        { "poold_worker_starts_total", "counter", "Workers started.", write_starts },
        { "poold_worker_start_failures_total", "counter", "Workers that did not become ready.",
          write_start_failures },
        { "poold_workers_recycled_total", "counter", "Workers that ended without a run, though they were ready.",
          write_recycled },
        { "poold_handoff_seconds", "histogram", "Time from a client's connection to a worker having its run.",
          write_handoff },
        { "poold_wait_seconds", "histogram", "Time that runs waited for a worker, served then or not.",
          write_wait },
        { "poold_warmup_seconds", "histogram", "Time from a worker's start to its being ready.", write_warmup },
};

static void write_head(FILE *page, const char *name, const char *type, const char *help) {
        fprintf(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_process(FILE *page, const struct metrics_process *process) {
        const struct {
                const char *name, *type, *help;
                double value;
        } samples[] = {
                { "process_start_time_seconds", "gauge", "When poold was started, in seconds since 1970.",
                  process->started_sec },
                { "process_cpu_seconds_total", "counter", "CPU time of poold itself, user and system.",
                  process->cpu_sec },
                { "process_resident_memory_bytes", "gauge", "Resident memory of poold itself.",
                  (double)process->resident_bytes },
                { "process_virtual_memory_bytes", "gauge", "Virtual memory of poold itself.",
                  (double)process->virtual_bytes },
                { "process_open_fds", "gauge", "Open file descriptors of poold itself.", (double)process->n_fds },
                { "process_max_fds", "gauge", "How many file descriptors poold may have.",
                  (double)process->max_fds },
        };

        for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
                write_head(page, samples[i].name, samples[i].type, samples[i].help);
                fprintf(page, "%s %.17g\n", samples[i].name, samples[i].value);
        }
}

void metrics_page_write(FILE *page, const struct metrics_process *process, const struct metrics_pool *pools,
                        size_t n_pools) {
        write_head(page, "poold_build_info", "gauge", "Always 1; the version is in the label.");
        fputs("poold_build_info{version=\"" POOLD_VERSION "\"} 1\n", page);
        for (const struct family *family = families; family < families + sizeof(families) / sizeof(families[0]);
             family++) {
                write_head(page, family->name, family->type, family->help);
                for (size_t i = 0; i < n_pools; i++)
                        family->write(page, family, &pools[i]);
        }
        write_process(page, process);
}
