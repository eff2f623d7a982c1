#include "status_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "human.h"
#include "json.h"
#include "procfs.h"
#include "table.h"
#include "text.h"

/*
 * What the overview may spend on looking at the workers' memory, and its price: it is to be there within 10 ms. Where that
 * would have to wait for a CPU, it does without.
 */
#define PSS_BUDGET_USEC 5000
#define PSS_NSEC_PER_KB 20

#define ERROR_LINES 10 /* of an error in the overview */

#define RED "\033[31m"
#define YELLOW "\033[33m"

static const char *colour_of(const struct status_view *view, const char *state) {
        if (!view->has_colours || strcmp(state, "ready") == 0)
                return NULL;
        return strcmp(state, "degraded") == 0 ? RED : YELLOW;
}

static void put_duration(FILE *file, uint64_t seconds) {
        if (seconds < 60)
                fprintf(file, "%" PRIu64 " s", seconds);
        else if (seconds < 3600)
                fprintf(file, "%" PRIu64 " min", seconds / 60);
        else if (seconds < 86400)
                fprintf(file, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds / 60 % 60);
        else
                fprintf(file, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400, seconds / 3600 % 24);
}

/* "MEDIAN/P99"; "-" if there is nothing to take them of. */
static void add_percentiles(struct table *table, uint64_t p50_usec, uint64_t p99_usec) {
        if (p50_usec || p99_usec)
                table_add(table, NULL, "%s/%s", human_duration(p50_usec).text, human_duration(p99_usec).text);
        else
                table_add(table, NULL, "-");
}

static void add_pss(struct table *table, uint64_t pss_kb) {
        table_add(table, NULL, "%s", pss_kb ? human_memory(pss_kb).text : "-");
}

/* Of one idle worker, for all are alike, if that can be had for what is left of @budget_usec; else 0. */
static uint64_t sample_pss(const struct status_pool *pool, int64_t *budget_usec) {
        for (size_t i = 0; i < pool->n_workers; i++) {
                const struct status_worker *worker = &pool->workers[i];
                int64_t begin_usec = clock_now_usec();
                uint64_t pss_kb = 0;

                if (strcmp(worker->state, "idle") != 0)
                        continue;
                if (*budget_usec > 0 &&
                    (int64_t)procfs_rss_kb(worker->pid) * PSS_NSEC_PER_KB / 1000 < *budget_usec)
                        pss_kb = procfs_pss_kb(worker->pid);
                *budget_usec -= clock_now_usec() - begin_usec;
                return pss_kb;
        }
        return 0;
}

static void put_pools(const struct status_view *view, const struct status *status) {
        static const struct table_column columns[] = {
                { .title = "POOL", .least = 12 },
                { .title = "STATE" },
                { .title = "IDLE", .is_right = true },
                { .title = "START", .is_right = true, .rank = 5 },
                { .title = "BUSY", .is_right = true },
                { .title = "WAIT", .is_right = true, .rank = 2 },
                { .title = "HITS", .is_right = true, .rank = 1 },
                { .title = "MISSES", .is_right = true },
                { .title = "WARM-UP", .is_right = true, .rank = 4 },
                { .title = "HANDOFF", .is_right = true, .rank = 3 },
                { .title = "PSS", .is_right = true, .rank = 6 },
        };
        struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
        int64_t budget_usec = procfs_is_quiet() ? PSS_BUDGET_USEC : 0;

        for (size_t i = 0; i < status->n_pools; i++) {
                const struct status_pool *pool = &status->pools[i];

                table_add(table, NULL, "%s", pool->name);
                table_add(table, colour_of(view, pool->state), "%s", pool->state);
                table_add(table, NULL, "%" PRIu32 "/%" PRIu32, pool->idle, pool->size);
                table_add(table, NULL, "%" PRIu32, pool->starting);
                table_add(table, NULL, "%" PRIu32, pool->busy);
                table_add(table, NULL, "%" PRIu32, pool->waiting);
                table_add(table, NULL, "%" PRIu64, pool->hits);
                table_add(table, NULL, "%" PRIu64, status_count_misses(pool));
                add_percentiles(table, pool->warmup_p50_ms * UINT64_C(1000), pool->warmup_p99_ms * UINT64_C(1000));
                add_percentiles(table, pool->handoff_p50_usec, pool->handoff_p99_usec);
                add_pss(table, sample_pss(pool, &budget_usec));
        }
        table_put(table, view->file, view->columns);
        table_free(table);
}

/* "interpreter 3, options 1" behind what fills @column columns already, continued behind as many spaces. */
static void put_misses(const struct status_view *view, const struct status_pool *pool, size_t column) {
        const size_t first = column;

        for (size_t i = 0; i < pool->n_misses; i++) {
                const struct status_miss *miss = &pool->misses[i];
                const char *comma = i + 1 < pool->n_misses ? "," : "";
                char count[32];
                size_t n;

                snprintf(count, sizeof(count), " %" PRIu64 "%s", miss->count, comma);
                n = 1 + text_columns(miss->reason) + strlen(count);
                if (column + n > view->columns && column > first) {
                        fprintf(view->file, "\n%*s", (int)first, "");
                        column = first;
                }
                putc(' ', view->file);
                text_put(view->file, miss->reason, view->columns);
                fputs(count, view->file);
                column += n;
        }
        putc('\n', view->file);
}

/* An error's end says most: "ModuleNotFoundError: ...". */
static const char *last_lines(const char *error, unsigned n) {
        const char *at = error + strlen(error);

        while (at > error)
                if (*--at == '\n' && at[1] && n-- == 1)
                        return at + 1;
        return error;
}

static void put_last_error(const struct status_view *view, const struct status_pool *pool) {
        const char *shown = last_lines(pool->last_error, ERROR_LINES);

        text_put(view->file, pool->name, view->columns);
        fputs(": last error:\n", view->file);
        if (shown > pool->last_error)
                fprintf(view->file, "  ... (`poolctl status --pool %s` has all of it)\n", pool->name);
        text_put_lines(view->file, shown, "  ");
}

static bool needs_attention(const struct status *status) {
        for (size_t i = 0; i < status->n_pools; i++)
                if (status->pools[i].n_misses || status->pools[i].last_error[0])
                        return true;
        return false;
}

void status_view_overview(const struct status_view *view, const struct status *status) {
        fprintf(view->file, "poold %s, pid %d, %s, up ", status->version, status->pid, status->state);
        put_duration(view->file, status->uptime_usec / 1000000);
        putc('\n', view->file);
        text_put(view->file, status->socket, view->columns);
        fputs("\n\n", view->file);
        put_pools(view, status);
        if (needs_attention(status))
                putc('\n', view->file);
        for (size_t i = 0; i < status->n_pools; i++) {
                const struct status_pool *pool = &status->pools[i];

                if (pool->n_misses) {
                        size_t column = text_put(view->file, pool->name, view->columns);

                        column += (size_t)fprintf(view->file, ": misses:");
                        put_misses(view, pool, column);
                }
        }
        for (size_t i = 0; i < status->n_pools; i++)
                if (status->pools[i].last_error[0])
                        put_last_error(view, &status->pools[i]);
}

static void put_percentiles(FILE *file, const char *title, uint64_t p50_usec, uint64_t p99_usec) {
        if (p50_usec || p99_usec)
                fprintf(file, "  %-11s %s median, %s 99th percentile\n", title, human_duration(p50_usec).text,
                        human_duration(p99_usec).text);
}

static void put_workers(const struct status_view *view, const struct status_pool *pool) {
        static const struct table_column columns[] = {
                { .title = "PID", .is_right = true },   { .title = "STATE" },
                { .title = "SINCE", .is_right = true }, { .title = "AGE", .is_right = true, .rank = 1 },
                { .title = "PSS", .is_right = true },
        };
        struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < pool->n_workers; i++) {
                const struct status_worker *worker = &pool->workers[i];

                table_add(table, NULL, "%d", worker->pid);
                table_add(table, NULL, "%s", worker->state);
                table_add(table, NULL, "%s", human_duration(worker->since_usec).text);
                table_add(table, NULL, "%s", human_duration(worker->age_usec).text);
                add_pss(table, procfs_pss_kb(worker->pid));
        }
        putc('\n', view->file);
        table_put(table, view->file, view->columns);
        table_free(table);
}

void status_view_pool(const struct status_view *view, const struct status_pool *pool) {
        FILE *file = view->file;
        const char *colour = colour_of(view, pool->state);

        text_put(file, pool->name, view->columns);
        fprintf(file, ", %s%s%s\n", colour ? colour : "", pool->state, colour ? "\033[m" : "");
        fputs("  python      ", file);
        text_put(file, pool->python, SIZE_MAX);
        fprintf(file,
                "\n  workers     %" PRIu32 " of %" PRIu32 "%s idle, %" PRIu32 " starting, %" PRIu32
                " busy; at most %" PRIu32 "\n",
                pool->idle, pool->size, pool->is_auto ? " (auto)" : "", pool->starting, pool->busy,
                pool->max_workers);
        fprintf(file, "  runs        %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu32 " waiting\n", pool->hits,
                status_count_misses(pool), pool->waiting);
        if (pool->n_misses) {
                fputs("  misses     ", file);
                put_misses(view, pool, 13);
        }
        if (pool->recycled)
                fprintf(file, "  recycled    %" PRIu64 "\n", pool->recycled);
        put_percentiles(file, "warm-up", pool->warmup_p50_ms * UINT64_C(1000),
                        pool->warmup_p99_ms * UINT64_C(1000));
        put_percentiles(file, "handoff", pool->handoff_p50_usec, pool->handoff_p99_usec);
        put_percentiles(file, "wait", pool->wait_p50_usec, pool->wait_p99_usec);
        if (pool->last_error[0]) {
                fputs("  last error\n", file);
                text_put_lines(file, pool->last_error, "    ");
        }
        if (pool->n_workers)
                put_workers(view, pool);
}

/* --- JSON --- */

/* The key of a member, behind what is before it. */
static void put_key(FILE *file, bool is_first, const char *key) {
        fprintf(file, "%s\"%s\": ", is_first ? "{" : ", ", key);
}

static void put_string(FILE *file, bool is_first, const char *key, const char *value) {
        put_key(file, is_first, key);
        json_put_string(file, value);
}

static void put_number(FILE *file, bool is_first, const char *key, uint64_t value) {
        put_key(file, is_first, key);
        fprintf(file, "%" PRIu64, value);
}

static void put_seconds(FILE *file, const char *key, uint64_t usec) {
        put_key(file, false, key);
        json_put_seconds(file, usec);
}

static void put_both(FILE *file, const char *key, uint32_t p50, uint32_t p99) {
        put_key(file, false, key);
        fprintf(file, "{\"p50\": %" PRIu32 ", \"p99\": %" PRIu32 "}", p50, p99);
}

static void put_json_worker(FILE *file, const struct status_worker *worker) {
        put_number(file, true, "pid", (uint64_t)worker->pid);
        put_string(file, false, "state", worker->state);
        put_seconds(file, "age_s", worker->age_usec);
        put_seconds(file, "since_s", worker->since_usec);
        put_number(file, false, "pss_kb", procfs_pss_kb(worker->pid));
        putc('}', file);
}

static void put_json_misses(FILE *file, const struct status_pool *pool) {
        put_key(file, false, "misses");
        putc('{', file);
        for (size_t i = 0; i < pool->n_misses; i++) {
                fputs(i == 0 ? "" : ", ", file);
                json_put_string(file, pool->misses[i].reason);
                fprintf(file, ": %" PRIu64, pool->misses[i].count);
        }
        putc('}', file);
}

static void put_json_pool(FILE *file, const struct status_pool *pool) {
        put_string(file, true, "name", pool->name);
        put_string(file, false, "state", pool->state);
        put_string(file, false, "python", pool->python);
        put_number(file, false, "size", pool->size);
        put_key(file, false, "auto");
        fputs(pool->is_auto ? "true" : "false", file);
        put_number(file, false, "max_workers", pool->max_workers);
        put_number(file, false, "starting", pool->starting);
        put_number(file, false, "idle", pool->idle);
        put_number(file, false, "busy", pool->busy);
        put_number(file, false, "waiting", pool->waiting);
        put_number(file, false, "hits", pool->hits);
        put_json_misses(file, pool);
        put_number(file, false, "recycled", pool->recycled);
        put_both(file, "warmup_ms", pool->warmup_p50_ms, pool->warmup_p99_ms);
        put_both(file, "handoff_us", pool->handoff_p50_usec, pool->handoff_p99_usec);
        put_both(file, "wait_us", pool->wait_p50_usec, pool->wait_p99_usec);
        put_key(file, false, "workers");
        putc('[', file);
        for (size_t i = 0; i < pool->n_workers; i++) {
                fputs(i == 0 ? "" : ", ", file);
                put_json_worker(file, &pool->workers[i]);
        }
        putc(']', file);
        put_key(file, false, "last_error");
        if (pool->last_error[0])
                json_put_string(file, pool->last_error);
        else
                fputs("null", file);
        putc('}', file);
}

void status_view_json(FILE *file, const struct status *status) {
        put_number(file, true, "pid", (uint64_t)status->pid);
        put_string(file, false, "version", status->version);
        put_string(file, false, "state", status->state);
        put_seconds(file, "uptime_s", status->uptime_usec);
        put_string(file, false, "socket", status->socket);
        put_key(file, false, "pools");
        putc('[', file);
        for (size_t i = 0; i < status->n_pools; i++) {
                fputs(i == 0 ? "" : ", ", file);
                put_json_pool(file, &status->pools[i]);
        }
        fputs("]}\n", file);
}
