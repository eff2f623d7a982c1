#include "report.h"

#include <errno.h>
#include <stdlib.h>

#include "pool.h"
#include "stats.h"

/* Those in one state, in one message: there may be hundreds, and each message wakes the client. */
static int put_workers(struct wire_writer *payload, const struct pool *pool, enum pool_worker_state state) {
        const uint32_t n = pool_count(pool, state) * PROTO_WORKER_N_NUMBERS;
        const uint64_t now_usec = loop_now_usec();
        uint64_t *numbers = calloc(n, sizeof(*numbers)), *number = numbers;
        uint8_t *bytes = calloc(n, 8);
        struct proto_status_workers workers = { .state = pool_worker_state_name(state) };
        struct pool_worker *worker;
        int r = -ENOMEM;

        if (numbers && bytes) {
                TAILQ_FOREACH(worker, pool_workers(pool, state), link) {
                        number[PROTO_WORKER_PID] = (uint64_t)member_pid(worker);
                        number[PROTO_WORKER_AGE_USEC] = now_usec - worker->spawned_usec;
                        number[PROTO_WORKER_SINCE_USEC] = now_usec - member_since_usec(worker);
                        number[PROTO_WORKER_CPU_USEC] = member_warmup_cpu_usec(worker);
                        number += PROTO_WORKER_N_NUMBERS;
                }
                wire_u64v_from_array(numbers, n, bytes, &workers.workers);
                proto_put_status_workers(payload, &workers);
                r = 0;
        }
        free(numbers);
        free(bytes);
        return r;
}

static void send_workers(struct client *client, const struct pool *pool) {
        for (enum pool_worker_state state = POOL_STARTING; state < POOL_DYING; state++) {
                _cleanup_writer_ struct wire_writer payload = { 0 };

                if (pool_count(pool, state) && put_workers(&payload, pool, state) == 0)
                        client_send(client, PROTO_STATUS_WORKERS, &payload, NULL);
        }
}

static void send_misses(struct client *client, const struct stats *stats) {
        for (size_t i = 0; i < stats->n_misses; i++) {
                _cleanup_writer_ struct wire_writer payload = { 0 };

                proto_put_status_miss(&payload, &(struct proto_status_miss){
                                                        .reason = stats->misses[i].reason,
                                                        .count = stats->misses[i].count,
                                                });
                client_send(client, PROTO_STATUS_MISS, &payload, NULL);
        }
}

void report_pool(struct client *client, struct live_pool *live) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        const struct pool *pool = live_pool_policy(live);
        const struct config_pool *config = live_pool_config(live);
        const struct stats *stats = live_pool_stats_now(live);

        proto_put_status_pool(&payload, &(struct proto_status_pool){
                                                .name = pool_name(pool),
                                                .state = pool_state_name(pool),
                                                .python = live_pool_python(live),
                                                .size = pool_size(pool),
                                                .is_auto = config->size == CONFIG_SIZE_AUTO,
                                                .max_workers = config->max_workers,
                                                .starting = pool_count(pool, POOL_STARTING),
                                                .idle = pool_count(pool, POOL_IDLE),
                                                .busy = pool_count(pool, POOL_BUSY),
                                                .waiting = live_pool_n_waiting(live),
                                                .hits = stats->n_hits,
                                                .recycled = stats->n_recycled,
                                                .warmup_p50_ms = stats_warmup_ms(stats, 50),
                                                .warmup_p99_ms = stats_warmup_ms(stats, 99),
                                                .handoff_p50_usec = stats_handoff_usec(stats, 50),
                                                .handoff_p99_usec = stats_handoff_usec(stats, 99),
                                                .wait_p50_usec = stats_wait_usec(stats, 50),
                                                .wait_p99_usec = stats_wait_usec(stats, 99),
                                                .last_error = pool_last_error(pool),
                                        });
        client_send(client, PROTO_STATUS_POOL, &payload, NULL);
        send_misses(client, stats);
        send_workers(client, pool);
}

void report_done(struct client *client, const char *error, const char *text) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_done(&payload, &(struct proto_done){ .error = error, .text = text });
        client_send(client, PROTO_DONE, &payload, NULL);
}
