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

/*
 * Has a run served over @channel (borrowed). @context is what context_collect() found.
 * Returns
 *   0      the run is over; *ret_wait_status says how
 *   MISS   nothing was started, and poold will not start it later; *ret_miss says why. *ret_signals are the
 *          signals that came meanwhile, to be raised again
 *   -errno it was started, but its end cannot be known
 */
int relay_run(struct context *context, struct channel *channel, const struct relay_request *request,
              int *ret_wait_status, uint64_t *ret_signals, struct miss *ret_miss);
