#include "cmd_ps.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"
#include "json.h"
#include "lib/cputime.h"
#include "procfs.h"
#include "say.h"
#include "screen.h"
#include "status.h"
#include "table.h"

#define EXIT_USAGE 2

/* A run, and what its process shows of it: poold itself knows only who it is and since when. */
struct run {
        const struct status_pool *pool;
        pid_t pid;
        uint64_t age_usec, cpu_usec, rss_kb;
        char *command;
};

/* Returns whether it still goes on; then its command is to be freed. */
static bool look_at(const struct status_pool *pool, const struct status_worker *worker, struct run *ret_run) {
        const uint64_t cpu_usec = cputime_usec(worker->pid);

        *ret_run = (struct run){
                .pool = pool,
                .pid = worker->pid,
                .age_usec = worker->since_usec,
                .cpu_usec = cpu_usec > worker->warmup_cpu_usec ? cpu_usec - worker->warmup_cpu_usec : 0,
                .rss_kb = procfs_rss_kb(worker->pid),
                .command = procfs_command(worker->pid),
        };
        return ret_run->command;
}

static void add_row(const struct run *run, void *data) {
        struct table *table = data;

        table_add(table, NULL, "%d", run->pid);
        table_add(table, NULL, "%s", run->pool->name);
        table_add(table, NULL, "%s", human_duration(run->age_usec).text);
        table_add(table, NULL, "%s", human_duration(run->cpu_usec).text);
        table_add(table, NULL, "%s", human_memory(run->rss_kb).text);
        table_add(table, NULL, "%s", run->command);
}

static void put_json(const struct run *run, void *data) {
        bool *is_first = data;

        printf("%s{\"pid\": %d, \"pool\": ", *is_first ? "" : ", ", run->pid);
        json_put_string(stdout, run->pool->name);
        fputs(", \"age_s\": ", stdout);
        json_put_seconds(stdout, run->age_usec);
        fputs(", \"cpu_s\": ", stdout);
        json_put_seconds(stdout, run->cpu_usec);
        printf(", \"rss_kb\": %" PRIu64 ", \"command\": ", run->rss_kb);
        json_put_string(stdout, run->command);
        putchar('}');
        *is_first = false;
}

static void for_each_run(const struct status *status, void (*show)(const struct run *run, void *data),
                         void *data) {
        for (size_t i = 0; i < status->n_pools; i++) {
                const struct status_pool *pool = &status->pools[i];

                for (size_t j = 0; j < pool->n_workers; j++) {
                        struct run run;

                        if (strcmp(pool->workers[j].state, "busy") != 0 || !look_at(pool, &pool->workers[j], &run))
                                continue;
                        show(&run, data);
                        free(run.command);
                }
        }
}

static void put_runs(const struct status *status) {
        static const struct table_column columns[] = {
                { .title = "PID", .is_right = true }, { .title = "POOL", .rank = 1, .least = 12 },
                { .title = "AGE", .is_right = true }, { .title = "CPU", .is_right = true },
                { .title = "MEM", .is_right = true }, { .title = "COMMAND", .least = 12 },
        };
        struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));

        for_each_run(status, add_row, table);
        table_put(table, stdout, screen_columns());
        table_free(table);
}

static void put_json_runs(const struct status *status) {
        bool is_first = true;

        putchar('[');
        for_each_run(status, put_json, &is_first);
        puts("]");
}

int cmd_ps(char **argv) {
        _cleanup_status_ struct status status = { 0 };
        bool json = false;
        int r;

        while (*++argv) {
                if (strcmp(*argv, "--json") != 0) {
                        say("'%s' is no option of ps; usage: poolctl ps [--json]", *argv);
                        return EXIT_USAGE;
                }
                json = true;
        }
        r = status_get(&status);
        if (r == 0)
                json ? put_json_runs(&status) : put_runs(&status);
        return r;
}
