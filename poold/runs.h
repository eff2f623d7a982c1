#pragma once

/*
 * Which worker a run gets: the choice of a pool, the handover, and the queue of those that wait because there is no
 * idle worker. First come, first served.
 */

#include "client.h"
#include "pools.h"

struct runs;

/* @loop and @pools are borrowed. Returns NULL for lack of memory. */
struct runs *runs_new(struct loop *loop, struct pools *pools);
/* Nobody may wait any more. Returns NULL. @runs may be NULL. */
struct runs *runs_free(struct runs *runs);

/* Serves RUN: it is handed over, waits or is refused. What @message has is taken as needed. */
void runs_serve(struct runs *runs, struct client *client, struct message *message);

/* Answers EXPLAIN. */
void runs_explain(struct runs *runs, struct client *client, struct message *message);

/* Gives the workers that are idle by now to those who wait. */
void runs_turn(struct runs *runs);

/* The pools are others: those who wait may have to do so for another one. */
void runs_reconfigured(struct runs *runs);

/* @client, which may be waiting, is gone. */
void runs_forget(struct client *client);

/* From now on all are refused. */
void runs_drain(struct runs *runs);
