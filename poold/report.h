#pragma once

/* What STATUS is answered with. */

#include "client.h"
#include "live_pool.h"

/* Queues what there is to say of @pool. */
void report_pool(struct client *client, struct live_pool *pool);

/* Queues the end of an answer; @error is "" or says what was wrong, @text what there is to say otherwise. */
void report_done(struct client *client, const char *error, const char *text);
