#pragma once

/*
 * poold itself: clients' requests on one side, pools of workers on the other, and what connects them.
 */

#include <stdbool.h>

#include "config.h"
#include "groups.h"
#include "listener.h"
#include "loop.h"
#include "systemd.h"

struct server;

struct server_settings {
        struct config *config;
        const char *config_path; /* as config_load() has it, to read it again */
        const struct programs *programs;
        const struct systemd *systemd;
        struct groups *groups;
        bool may_be_nice; /* a worker that warms up */
};

/*
 * Starts to serve at @listener (taken, also on failure). What @settings points to is borrowed for the server's life.
 * Returns 0 or negative errno.
 */
int server_new(struct loop *loop, const struct server_settings *settings, struct listener *listener,
               struct server **ret_server);

/* Leaves running scripts to themselves. Returns NULL. */
struct server *server_free(struct server *server);

/* Reads the configuration again. What is wrong with it is logged, and changes nothing. */
void server_reload(struct server *server);

/*
 * Stops listening at once, and the loop as soon as the running scripts have ended, or drain_timeout is over: they go
 * on alone then. With @now they are ended. May be called again.
 */
void server_drain(struct server *server, bool now);
