#pragma once

/*
 * Messages with fds over one connected Unix stream socket, with no event loop inside. The socket may be blocking or
 * not; bytes may come one at a time. A peer that breaks the protocol is reported as -EPROTO (or -EPROTONOSUPPORT), and
 * what the caller can do is to free the channel, which closes every fd that was received and not handed out.
 */

#include <stdbool.h>

#include "fdset.h"
#include "proto.h"
#include "wire.h"

struct channel;

/* Positive results. */
enum {
        CHANNEL_AGAIN = 1, /* not now: wait until the socket is readable (or writable) */
        CHANNEL_EOF = 2,   /* the peer has closed its end */
};

/* A message that was received. Whoever has it ends it with message_fini(). */
struct message {
        unsigned type;
        struct wire_reader payload; /* valid until the next channel_read() */
        struct fdset fds;           /* owned: what is not stolen is closed by message_fini() */
};

static inline void message_fini(struct message *message) {
        fdset_fini(&message->fds);
}

#define _cleanup_message_ __attribute__((cleanup(message_fini)))

/*
 * @fd is taken, also on failure. @self is the role at this end, @peers the roles that may be at the other.
 * Returns NULL for lack of memory.
 */
struct channel *channel_new(int fd, unsigned self, unsigned peers);

/* Closes the socket and frees all. Returns NULL. @channel may be NULL. */
struct channel *channel_free(struct channel *channel);

/* The socket, borrowed. */
int channel_fd(const struct channel *channel);

/* Frees the channel but not its socket, which the caller owns from then on. */
int channel_release(struct channel *channel);

/*
 * Receives once from the socket. Returns 0 if bytes came, CHANNEL_AGAIN, CHANNEL_EOF, or negative errno.
 * Messages that were received before stay valid only until then.
 */
int channel_read(struct channel *channel);

/* Frees what was read, if all of it was handed out. Messages that were received before are no longer valid. */
void channel_trim(struct channel *channel);

/*
 * Takes the next whole message out of what was read. Returns 0 and *ret_message, which the caller owns, or
 * CHANNEL_AGAIN (read more), or negative errno. Without a message, *ret_message only has no fds.
 */
int channel_next(struct channel *channel, struct message *ret_message);

/* Reads until there is a message: for blocking sockets. Results as of channel_read() and channel_next(). */
int channel_receive(struct channel *channel, struct message *ret_message);

/*
 * Sends a message of @type with the payload of @payload (borrowed; its error is returned) and the fds of @fds
 * (borrowed, may be NULL; duplicated if the socket has no room for the first byte now).
 * Returns 0 if all of it is with the kernel, CHANNEL_AGAIN if the rest waits for channel_flush(), -EMSGSIZE (nothing
 * was sent, the channel is as it was) if the catalogue has no such message, so large or with so many fds, from this
 * end to the other, or another negative errno.
 */
int channel_send(struct channel *channel, enum proto_type type, const struct wire_writer *payload,
                 const struct fdset *fds);

/* Goes on with what waits. Results as of channel_send(). */
int channel_flush(struct channel *channel);

/* Is something waiting for the socket to become writable? */
bool channel_is_flushing(const struct channel *channel);
