#pragma once

/*
 * The script's terminal, for a client that has one: a pseudo-terminal in its place, and all that passes between them.
 *
 * The client's own terminal is left alone until the script asks for it: what it writes is passed on, keys go where
 * they went before, signals from the keyboard come to us as to every process of our group. Only when the script reads
 * the terminal or sets it, which stops a process in the background, or from the beginning where nobody else can want
 * it, do we attach: our terminal becomes raw, and the script's does what it did.
 */

#include <poll.h>
#include <stdbool.h>

#include "context.h"
#include "miss.h"

enum proxy_mode {
        PROXY_AUTO,   /* the default: if fd 0, 1 or 2 is our controlling terminal */
        PROXY_DIRECT, /* never: the script has the very fds, but no controlling terminal */
        PROXY_ALWAYS, /* if we have a controlling terminal at all */
};

struct proxy;

/*
 * Asks in @context for a terminal in the place of every fd that is ours.
 * Returns 0 and the proxy, NULL if there is to be none, or MISS and why.
 */
int proxy_new(enum proxy_mode mode, struct context *context, struct proxy **ret_proxy, struct miss *ret_miss);

/* The script has a terminal, of which @master is the master (taken), and is the process group @group. */
void proxy_begin(struct proxy *proxy, int master, int group);

/* Gives the terminal back as it was found. @proxy may be NULL. Returns NULL. */
struct proxy *proxy_free(struct proxy *proxy);

#define PROXY_N_POLLFDS 2
/* What to wait for. @proxy may be NULL: nothing. */
void proxy_watch(const struct proxy *proxy, struct pollfd ret_pollfds[PROXY_N_POLLFDS]);
/* Does what can be done. Returns what has to be ordered of the keeper (PROTO_KEEP_*), if anything. */
unsigned proxy_step(struct proxy *proxy, const struct pollfd pollfds[PROXY_N_POLLFDS]);

/* Our terminal has another size. */
void proxy_resize(struct proxy *proxy);
/*
 * The script was stopped by @signo. Returns orders for the keeper (PROTO_KEEP_*): with CONTINUE among them it goes on,
 * having only asked for the terminal; else we are to stop as well, and our terminal is as it was found.
 */
unsigned proxy_stop(struct proxy *proxy, int signo);
/* We were continued, so the script is. Returns what has to be ordered beside that. */
unsigned proxy_continue(struct proxy *proxy);

/* The script has ended. Returns whether all that it wrote has been passed on; if not, wait and step on. */
bool proxy_finish(struct proxy *proxy);
