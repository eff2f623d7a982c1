#include "report.h"

#include <unistd.h>

#include "pool.h"
#include "stats.h"

static void send_workers(struct client *client, const struct pool *pool) {
        uint64_t now_usec = loop_now_usec();

        for (enum pool_worker_state state = POOL_STARTING; state < POOL_DYING; state++) {
                struct pool_worker *policy;

                TAILQ_FOREACH(policy, pool_workers(pool, state), link) {
                        _cleanup_writer_ struct wire_writer payload = { 0 };

                        proto_put_status_worker(&payload, &(struct proto_status_worker){
                                                                  .pid = (uint32_t)member_pid(policy),
                                                                  .state = pool_worker_state_name(state),
                                                                  .age_usec = now_usec - policy->spawned_usec,
                                                          });
                        client_send(client, PROTO_STATUS_WORKER, &payload, NULL);
                }
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
        const struct stats *stats = live_pool_stats_now(live);

        proto_put_status_pool(&payload, &(struct proto_status_pool){
                                                .name = pool_name(pool),
                                                .state = pool_state_name(pool),
                                                .size = pool_size(pool),
                                                .starting = pool_count(pool, POOL_STARTING),
                                                .idle = pool_count(pool, POOL_IDLE),
                                                .busy = pool_count(pool, POOL_BUSY),
                                                .hits = stats->n_hits,
                                                .warmup_ms = pool_warmup_ms(pool),
                                                .handoff_p50_usec = stats_handoff_usec(stats, 50),
                                                .handoff_p99_usec = stats_handoff_usec(stats, 99),
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
