#pragma once

/*
 * One connection of a client: its request is read under a deadline, its answer written as the socket takes it.
 * What a request means is the server's business.
 */

#include <stdbool.h>
#include <sys/queue.h>

#include "lib/channel.h"
#include "lib/sock.h"
#include "loop.h"

struct client;

struct client_events {
        /* A whole request. The callee goes on with client_hold() or client_finish(). */
        void (*request)(struct client *client, struct message *message, void *data);
        /* It is over: the answer is written, or the peer has gone, has broken the rules or was too slow. The callee
           calls client_free(). */
        void (*closed)(struct client *client, void *data);
};

enum client_reload {
        CLIENT_RELOAD_NONE,
        CLIENT_RELOAD_ASKED,   /* it wants the configuration read */
        CLIENT_RELOAD_READING, /* which is being done, for it among others */
};

struct client {
        TAILQ_ENTRY(client) link;
        struct loop *loop;
        const struct client_events *events;
        void *data;
        struct channel *channel;
        struct loop_source *source, *deadline;
        struct sock_peer peer; /* who it is; the server's to set */
        uint64_t accepted_usec, deadline_usec;
        uint64_t received_usec;    /* its run; 0 unless it wants to know when, runs.c's to set */
        bool requested;            /* its request has come; it has nothing more to say */
        struct waiting *waiting;   /* what it waits for; runs.c's to set */
        enum client_reload reload; /* the server's to set */
        bool finishing;            /* it is closed as soon as its answer is written */
};
TAILQ_HEAD(client_list, client);

/* @fd, a non-blocking connection, is taken, also on failure. Returns NULL for lack of memory. */
struct client *client_new(struct loop *loop, int fd, uint64_t deadline_usec, const struct client_events *events,
                          void *data);
void client_free(struct client *client);

/*
 * Reads what is there already, and has the loop tell of more only if that is not all: most requests are served at once.
 * May call back, and free the client.
 */
void client_start(struct client *client);

/*
 * Queues an answer of @type; fds are borrowed. Writes what the socket takes now. A peer that is gone is noticed later.
 */
void client_send(struct client *client, enum proto_type type, const struct wire_writer *payload,
                 const struct fdset *fds);

/* Keeps the connection until the peer closes it; the deadline no longer counts. */
void client_hold(struct client *client);

/* It has no more to do here: `closed` is called. */
void client_close(struct client *client);

/* The answer is complete: `closed` is called as soon as it is written, perhaps at once. */
void client_finish(struct client *client);
