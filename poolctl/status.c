#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "connect.h"
#include "say.h"

#define ANSWER_USEC (5 * USEC_PER_SEC)

/* Positive result of add(). */
enum {
        COMPLETE = 1,
};

uint64_t status_count_misses(const struct status_pool *pool) {
        uint64_t n = 0;

        for (size_t i = 0; i < pool->n_misses; i++)
                n += pool->misses[i].count;
        return n;
}

static void pool_fini(struct status_pool *pool) {
        for (size_t i = 0; i < pool->n_misses; i++)
                free(pool->misses[i].reason);
        for (size_t i = 0; i < pool->n_workers; i++)
                free(pool->workers[i].state);
        free(pool->misses);
        free(pool->workers);
        free(pool->name);
        free(pool->state);
        free(pool->python);
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

bool status_keep(struct status *status, const char *name) {
        size_t n_kept = 0;

        for (size_t i = 0; i < status->n_pools; i++) {
                if (strcmp(status->pools[i].name, name) == 0)
                        status->pools[n_kept++] = status->pools[i];
                else
                        pool_fini(&status->pools[i]);
        }
        status->n_pools = n_kept;
        return n_kept > 0;
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
        status->pid = (pid_t)head.pid;
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
                .python = strdup(from.python),
                .last_error = strdup(from.last_error),
                .size = from.size,
                .is_auto = from.is_auto,
                .max_workers = from.max_workers,
                .starting = from.starting,
                .idle = from.idle,
                .busy = from.busy,
                .waiting = from.waiting,
                .hits = from.hits,
                .recycled = from.recycled,
                .warmup_p50_ms = from.warmup_p50_ms,
                .warmup_p99_ms = from.warmup_p99_ms,
                .handoff_p50_usec = from.handoff_p50_usec,
                .handoff_p99_usec = from.handoff_p99_usec,
                .wait_p50_usec = from.wait_p50_usec,
                .wait_p99_usec = from.wait_p99_usec,
        };
        return pool->name && pool->state && pool->python && pool->last_error ? 0 : -ENOMEM;
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

static int add_worker(struct status_pool *pool, const char *state, const struct wire_u64v *numbers, uint32_t at) {
        struct status_worker *worker = append(&pool->workers, &pool->n_workers, sizeof(*worker));

        if (!worker)
                return -ENOMEM;
        *worker = (struct status_worker){
                .pid = (pid_t)wire_u64v_at(numbers, at + PROTO_WORKER_PID),
                .state = strdup(state),
                .age_usec = wire_u64v_at(numbers, at + PROTO_WORKER_AGE_USEC),
                .since_usec = wire_u64v_at(numbers, at + PROTO_WORKER_SINCE_USEC),
                .warmup_cpu_usec = wire_u64v_at(numbers, at + PROTO_WORKER_CPU_USEC),
        };
        return worker->state ? 0 : -ENOMEM;
}

static int add_workers(struct status_pool *pool, struct wire_reader *payload) {
        struct proto_status_workers from;
        int r = 0;

        if (proto_get_status_workers(payload, &from) < 0 || !pool || from.workers.count % PROTO_WORKER_N_NUMBERS)
                return -EPROTO;
        for (uint32_t i = 0; i < from.workers.count && r == 0; i += PROTO_WORKER_N_NUMBERS)
                r = add_worker(pool, from.state, &from.workers, i);
        return r;
}

static int compare_misses(const void *a, const void *b) {
        const struct status_miss *x = a, *y = b;

        if (x->count != y->count)
                return x->count < y->count ? 1 : -1;
        return strcmp(x->reason, y->reason);
}

static int complete(struct status *status) {
        if (!status->version)
                return -EPROTO;
        for (size_t i = 0; i < status->n_pools; i++)
                if (status->pools[i].n_misses)
                        qsort(status->pools[i].misses, status->pools[i].n_misses, sizeof(struct status_miss),
                              compare_misses);
        return COMPLETE;
}

/*
 * Adds what @message (borrowed) says. Returns 0, COMPLETE for DONE, -EPROTO if it is no part of an answer or comes out
 * of order, or -ENOMEM.
 */
static int add(struct status *status, struct message *message) {
        struct status_pool *last = status->n_pools ? &status->pools[status->n_pools - 1] : NULL;

        switch (message->type) {
        case PROTO_STATUS_HEAD:
                return add_head(status, &message->payload);
        case PROTO_STATUS_POOL:
                return add_pool(status, &message->payload);
        case PROTO_STATUS_MISS:
                return add_miss(last, &message->payload);
        case PROTO_STATUS_WORKERS:
                return add_workers(last, &message->payload);
        case PROTO_DONE:
                return complete(status);
        default:
                return -EPROTO;
        }
}

/* Returns 0, or negative, and the person has been told. */
static int receive(struct channel *channel, struct status *status) {
        int64_t deadline_usec = clock_now_usec() + ANSWER_USEC;

        for (;;) {
                _cleanup_message_ struct message message;
                int r;

                fdset_init(&message.fds);
                r = connect_receive(channel, deadline_usec, &message);
                if (r)
                        return -connect_complain(r, &message);
                r = add(status, &message);
                if (r == COMPLETE)
                        return 0;
                if (r < 0)
                        return -connect_complain(r == -EPROTO ? 0 : r, &message);
        }
}

int status_ask(struct status *ret_status, struct miss *ret_miss) {
        struct status status = { 0 };
        struct channel *channel;
        int r;

        r = connect_poold(&channel, ret_miss);
        if (r)
                return r;
        connect_ask(channel, PROTO_STATUS, 0); /* if it fails, so does the answer */
        r = receive(channel, &status);
        channel_free(channel);
        if (r == 0)
                *ret_status = status;
        else
                status_fini(&status);
        return r;
}

int status_get(struct status *ret_status) {
        _cleanup_miss_ struct miss miss = { 0 };
        int r = status_ask(ret_status, &miss);

        if (r == MISS)
                say("%s", miss_text(&miss));
        return r ? 1 : 0;
}
