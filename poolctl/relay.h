#pragma once

/*
 * One run, from the request to its end: sends RUN, waits, passes signals on to the worker, and stops when it does.
 * Whatever becomes of poold meanwhile, the script is started once: whoever reads the claim (lib/proto.h) has the run.
 */

#include <stdbool.h>

#include "context.h"
#include "lib/channel.h"
#include "miss.h"
#include "proxy.h"

struct relay_request {
        const char *pool;
        struct wire_strv argv, env;
        bool verbose;        /* say who runs it */
        struct proxy *proxy; /* NULL: the script has no terminal */
};

/* The positive result beside MISS. */
enum {
        RELAY_LOST = 2,
};

/*
 * Has a run served over @channel (borrowed). @context is what context_collect() found. *@signals are those that came
 * before, and then those that nobody was given.
 * Returns
 *   0          the run is over; *ret_wait_status says how, and *ret_miss why if a limit of the pool's ended it
 *   MISS       nothing was started, and poold will not start it later; *ret_miss says why
 *   RELAY_LOST the same, since the worker or poold has ended: it may be asked for again, over another channel
 *   -errno     it was started, but its end cannot be known
 */
int relay_run(struct context *context, struct channel *channel, const struct relay_request *request,
              int *ret_wait_status, uint64_t *signals, struct miss *ret_miss);
