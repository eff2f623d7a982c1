#include "status.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void pool_fini(struct status_pool *pool) {
        for (size_t i = 0; i < pool->n_misses; i++)
                free(pool->misses[i].reason);
        for (size_t i = 0; i < pool->n_workers; i++)
                free(pool->workers[i].state);
        free(pool->misses);
        free(pool->workers);
        free(pool->name);
        free(pool->state);
        free(pool->last_error);
}

void status_fini(struct status *status) {
        for (size_t i = 0; i < status->n_pools; i++)
                pool_fini(&status->pools[i]);
        free(status->pools);
        free(status->version);
        free(status->socket);
        free(status->state);
        *status = (struct status){ 0 };
}

/* Makes @array, of @n elements of @size bytes, longer by one that is zero. Returns it, NULL for lack of memory. */
static void *append(void *array, size_t *n, size_t size) {
        void **at = array;
        char *grown = reallocarray(*at, *n + 1, size);

        if (!grown)
                return NULL;
        *at = grown;
        return memset(grown + size * (*n)++, 0, size);
}

static int add_head(struct status *status, struct wire_reader *payload) {
        struct proto_status_head head;

        if (proto_get_status_head(payload, &head) < 0 || status->version)
                return -EPROTO;
        status->pid = head.pid;
        status->uptime_usec = head.uptime_usec;
        status->version = strdup(head.version);
        status->socket = strdup(head.socket);
        status->state = strdup(head.state);
        return status->version && status->socket && status->state ? 0 : -ENOMEM;
}

static int add_pool(struct status *status, struct wire_reader *payload) {
        struct proto_status_pool from;
        struct status_pool *pool;

        if (proto_get_status_pool(payload, &from) < 0 || !status->version)
                return -EPROTO;
        pool = append(&status->pools, &status->n_pools, sizeof(*pool));
        if (!pool)
                return -ENOMEM;
        *pool = (struct status_pool){
                .name = strdup(from.name),
                .state = strdup(from.state),
                .last_error = strdup(from.last_error),
                .size = from.size,
                .starting = from.starting,
                .idle = from.idle,
                .busy = from.busy,
                .hits = from.hits,
                .warmup_ms = from.warmup_ms,
                .handoff_p50_usec = from.handoff_p50_usec,
                .handoff_p99_usec = from.handoff_p99_usec,
        };
        return pool->name && pool->state && pool->last_error ? 0 : -ENOMEM;
}

static int add_miss(struct status_pool *pool, struct wire_reader *payload) {
        struct proto_status_miss from;
        struct status_miss *miss;

        if (proto_get_status_miss(payload, &from) < 0 || !pool)
                return -EPROTO;
        miss = append(&pool->misses, &pool->n_misses, sizeof(*miss));
        if (!miss)
                return -ENOMEM;
        *miss = (struct status_miss){ .reason = strdup(from.reason), .count = from.count };
        return miss->reason ? 0 : -ENOMEM;
}

static int add_worker(struct status_pool *pool, struct wire_reader *payload) {
        struct proto_status_worker from;
        struct status_worker *worker;

        if (proto_get_status_worker(payload, &from) < 0 || !pool)
                return -EPROTO;
        worker = append(&pool->workers, &pool->n_workers, sizeof(*worker));
        if (!worker)
                return -ENOMEM;
        *worker = (struct status_worker){
                .pid = from.pid,
                .state = strdup(from.state),
                .age_usec = from.age_usec,
        };
        return worker->state ? 0 : -ENOMEM;
}

int status_add(struct status *status, struct message *message) {
        struct status_pool *last = status->n_pools ? &status->pools[status->n_pools - 1] : NULL;

        switch (message->type) {
        case PROTO_STATUS_HEAD:
                return add_head(status, &message->payload);
        case PROTO_STATUS_POOL:
                return add_pool(status, &message->payload);
        case PROTO_STATUS_MISS:
                return add_miss(last, &message->payload);
        case PROTO_STATUS_WORKER:
                return add_worker(last, &message->payload);
        case PROTO_DONE:
                return status->version ? STATUS_COMPLETE : -EPROTO;
        default:
                return -EPROTO;
        }
}
