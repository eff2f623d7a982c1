#pragma once

/* Finding poold, and asking it something that it answers soon. */

#include <stdint.h>

#include "lib/channel.h"
#include "miss.h"

/* Connects to poold. Returns 0 and a channel that the caller owns, its socket non-blocking, or MISS and why. */
int connect_poold(struct channel **ret_channel, struct miss *ret_miss);

/*
 * Sends a request whose only field is @flags: STATUS or STOP.
 * Returns 0, or negative errno. An answer may be waiting even after -EPIPE.
 */
int connect_ask(struct channel *channel, enum proto_type type, uint32_t flags);

/*
 * Waits for the next message until @deadline_usec (clock.h). Returns 0 and *ret_message, which the caller owns,
 * CHANNEL_EOF, -ETIMEDOUT or another negative errno.
 */
int connect_receive(struct channel *channel, int64_t deadline_usec, struct message *ret_message);

/*
 * Tells the person what connect_receive() returned, or that poold answered with @message (borrowed; NULL if none
 * came) where something else was due. Returns the exit status, 1.
 */
int connect_complain(int r, struct message *message);
