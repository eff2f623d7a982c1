#pragma once

/*
 * Where Prometheus finds what the pools do: a small HTTP server on a loopback address or a Unix socket, which answers
 * GET and HEAD of /metrics and nothing else. Runs come first: it is served when the loop has nothing else to do, never
 * has more than a few connections, and closes each after its answer.
 */

#include "loop.h"
#include "pools.h"

struct metrics;

struct metrics_settings {
        struct loop *loop;
        const char *address; /* as in struct config; NULL: no server */
        const struct pools *pools;
};

/*
 * Starts to answer. What @settings points to is borrowed. If it is not possible, the log says why: poold is of use
 * without. Returns NULL then, and if there is no address.
 */
struct metrics *metrics_new(const struct metrics_settings *settings);

/* Closes all connections, and removes the socket. @metrics may be NULL. Returns NULL. */
struct metrics *metrics_free(struct metrics *metrics);
