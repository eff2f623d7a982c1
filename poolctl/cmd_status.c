#include "cmd_status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "connect.h"
#include "json.h"
#include "say.h"
#include "status.h"

#define ANSWER_USEC (5 * USEC_PER_SEC)
#define COLUMNS 80
#define NAME_COLUMNS 16

/* Text from elsewhere goes to the terminal without what could control it. Lines are indented by @indent. */
static void put_text(const char *text, const char *indent) {
        bool at_start = true;

        for (; *text; text++) {
                unsigned char byte = (unsigned char)*text;

                if (at_start)
                        fputs(indent, stdout);
                at_start = byte == '\n';
                putchar((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f ? '?' : byte);
        }
        if (!at_start)
                putchar('\n');
}

static void put_duration(uint64_t seconds) {
        if (seconds < 60)
                printf("%" PRIu64 " s", seconds);
        else if (seconds < 3600)
                printf("%" PRIu64 " min", seconds / 60);
        else if (seconds < 86400)
                printf("%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds / 60 % 60);
        else
                printf("%" PRIu64 " d %" PRIu64 " h", seconds / 86400, seconds / 3600 % 24);
}

/* "    misses: interpreter 3, options 1", continued below where a line is full. */
static void put_misses(const struct status_pool *pool) {
        int column = printf("    misses:");

        for (size_t i = 0; i < pool->n_misses; i++) {
                const struct status_miss *miss = &pool->misses[i];
                const char *comma = i + 1 < pool->n_misses ? "," : "";
                int n = snprintf(NULL, 0, " %s %" PRIu64 "%s", miss->reason, miss->count, comma);

                if (column + n > COLUMNS)
                        column = printf("\n           ") - 1;
                column += n;
                printf(" %s %" PRIu64 "%s", miss->reason, miss->count, comma);
        }
        putchar('\n');
}

static void put_pool(const struct status_pool *pool) {
        const char *name = pool->name;
        uint64_t n_misses = 0;

        for (size_t i = 0; i < pool->n_misses; i++)
                n_misses += pool->misses[i].count;
        if (strlen(name) > NAME_COLUMNS) {
                puts(name);
                name = "";
        }
        printf("%-*s %-9s %4" PRIu32 " %8" PRIu32 " %4" PRIu32 " %4" PRIu32 " %8" PRIu64 " %7" PRIu64 " %7" PRIu32
               " ms\n",
               NAME_COLUMNS, name, pool->state, pool->size, pool->starting, pool->idle, pool->busy, pool->hits,
               n_misses, pool->warmup_ms);
        if (pool->n_misses)
                put_misses(pool);
        if (pool->last_error[0]) {
                puts("    last error:");
                put_text(pool->last_error, "      ");
        }
}

static void put_table(const struct status *status) {
        printf("poold %s, pid %" PRIu32 ", %s, up ", status->version, status->pid, status->state);
        put_duration(status->uptime_usec / 1000000);
        printf("\n%s\n\n", status->socket);
        printf("%-*s %-9s %4s %8s %4s %4s %8s %7s %10s\n", NAME_COLUMNS, "POOL", "STATE", "SIZE", "STARTING",
               "IDLE", "BUSY", "HITS", "MISSES", "WARM-UP");
        for (size_t i = 0; i < status->n_pools; i++)
                put_pool(&status->pools[i]);
}

/*
 * A worker's share of the memory, proc_pid_smaps(5). Adding it up takes the kernel milliseconds for a large process:
 * our time, not poold's. 0 if it has gone meanwhile.
 */
static uint64_t read_pss_kb(uint32_t pid) {
        char path[64], line[256];
        uint64_t pss_kb = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%" PRIu32 "/smaps_rollup", pid);
        file = fopen(path, "re");
        if (!file)
                return 0;
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, "Pss:", 4) == 0)
                        pss_kb = strtoull(line + 4, NULL, 10);
        fclose(file);
        return pss_kb;
}

static void put_json_worker(const struct status_worker *worker) {
        printf("{\"pid\": %" PRIu32 ", \"state\": ", worker->pid);
        json_put_string(stdout, worker->state);
        fputs(", \"age_s\": ", stdout);
        json_put_seconds(stdout, worker->age_usec);
        printf(", \"pss_kb\": %" PRIu64 "}", read_pss_kb(worker->pid));
}

static void put_json_last_error(const char *last_error) {
        fputs(", \"last_error\": ", stdout);
        if (last_error[0])
                json_put_string(stdout, last_error);
        else
                fputs("null", stdout);
}

static void put_json_pool(const struct status_pool *pool) {
        fputs("{\"name\": ", stdout);
        json_put_string(stdout, pool->name);
        fputs(", \"state\": ", stdout);
        json_put_string(stdout, pool->state);
        printf(", \"size\": %" PRIu32 ", \"starting\": %" PRIu32 ", \"idle\": %" PRIu32 ", \"busy\": %" PRIu32
               ", \"hits\": %" PRIu64 ", \"misses\": {",
               pool->size, pool->starting, pool->idle, pool->busy, pool->hits);
        for (size_t i = 0; i < pool->n_misses; i++) {
                fputs(i == 0 ? "" : ", ", stdout);
                json_put_string(stdout, pool->misses[i].reason);
                printf(": %" PRIu64, pool->misses[i].count);
        }
        printf("}, \"warmup_ms\": %" PRIu32 ", \"handoff_us\": {\"p50\": %" PRIu32 ", \"p99\": %" PRIu32
               "}, \"workers\": [",
               pool->warmup_ms, pool->handoff_p50_usec, pool->handoff_p99_usec);
        for (size_t i = 0; i < pool->n_workers; i++) {
                fputs(i == 0 ? "" : ", ", stdout);
                put_json_worker(&pool->workers[i]);
        }
        putchar(']');
        put_json_last_error(pool->last_error);
        putchar('}');
}

static void put_json(const struct status *status) {
        printf("{\"pid\": %" PRIu32 ", \"version\": ", status->pid);
        json_put_string(stdout, status->version);
        fputs(", \"uptime_s\": ", stdout);
        json_put_seconds(stdout, status->uptime_usec);
        fputs(", \"socket\": ", stdout);
        json_put_string(stdout, status->socket);
        fputs(", \"pools\": [", stdout);
        for (size_t i = 0; i < status->n_pools; i++) {
                fputs(i == 0 ? "" : ", ", stdout);
                put_json_pool(&status->pools[i]);
        }
        puts("]}");
}

/* Returns 0 or the exit status. */
static int receive(struct channel *channel, struct status *status) {
        int64_t deadline_usec = clock_now_usec() + ANSWER_USEC;

        for (;;) {
                _cleanup_message_ struct message message;
                int r;

                fdset_init(&message.fds);
                r = connect_receive(channel, deadline_usec, &message);
                if (r)
                        return connect_complain(r, &message);
                r = status_add(status, &message);
                if (r == STATUS_COMPLETE)
                        return 0;
                if (r < 0)
                        return connect_complain(r == -EPROTO ? 0 : r, &message);
        }
}

static int show(bool json) {
        _cleanup_miss_ struct miss miss = { 0 };
        _cleanup_status_ struct status status = { 0 };
        struct channel *channel;
        int r;

        if (connect_poold(&channel, &miss)) {
                say("%s", miss_text(&miss));
                return 1;
        }
        connect_ask(channel, PROTO_STATUS, 0); /* if it fails, so does the answer */
        r = receive(channel, &status);
        channel_free(channel);
        if (r == 0)
                json ? put_json(&status) : put_table(&status);
        return r;
}

int cmd_status(char **argv) {
        bool json = false;

        while (*++argv) {
                if (strcmp(*argv, "--json") != 0) {
                        say("'%s' is no option of status; usage: poolctl status [--json]", *argv);
                        return 2;
                }
                json = true;
        }
        return show(json);
}
