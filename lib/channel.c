#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "fd.h"

_Static_assert(FDSET_MAX == PROTO_MAX_FDS, "a message must fit a set of fds");

#define READ_BYTES (16 << 10)  /* a usual RUN, environment and all, comes with one recvmsg(2) */
#define ANSWER_READ_BYTES 1024 /* what a client is answered is short as a rule */

/* A message, or its rest, that the socket had no room for. */
struct outgoing {
        struct outgoing *next;
        struct fdset fds; /* duplicates, until the first byte is sent */
        size_t n_sent;
        size_t n_bytes;
        uint8_t bytes[];
};

struct channel {
        int fd;
        unsigned self, peers;

        uint8_t *in;    /* the client's first answers are read to `first` */
        size_t n_in;    /* bytes read */
        size_t n_taken; /* of them, those of messages that were handed out */
        size_t n_allocated;
        struct fdset in_fds; /* received, their message not yet handed out */

        struct outgoing *out; /* in the order of sending */
        struct outgoing **out_tail;

        uint8_t first[]; /* ANSWER_READ_BYTES of a client's, which is spared another malloc(3) */
};

/* Nothing is read, and it will be to `first`, or to what grow_input() allocates. */
static void reset_input(struct channel *channel) {
        bool has_first = channel->self == PROTO_CLIENT;

        channel->in = has_first ? channel->first : NULL;
        channel->n_allocated = has_first ? ANSWER_READ_BYTES : 0;
        channel->n_in = channel->n_taken = 0;
}

struct channel *channel_new(int fd, unsigned self, unsigned peers) {
        struct channel *channel = malloc(sizeof(*channel) + (self == PROTO_CLIENT ? ANSWER_READ_BYTES : 0));

        if (!channel) {
                fd_close(fd);
                return NULL;
        }
        channel->fd = fd;
        channel->self = self;
        channel->peers = peers;
        reset_input(channel);
        fdset_init(&channel->in_fds);
        channel->out = NULL;
        channel->out_tail = &channel->out;
        return channel;
}

static void outgoing_pop(struct channel *channel) {
        struct outgoing *first = channel->out;

        channel->out = first->next;
        if (!channel->out)
                channel->out_tail = &channel->out;
        fdset_fini(&first->fds);
        free(first);
}

/* Frees what was read, and where it is read to. */
static void drop_input(struct channel *channel) {
        if (channel->in != channel->first)
                free(channel->in);
        reset_input(channel);
}

int channel_release(struct channel *channel) {
        int fd = channel->fd;

        while (channel->out)
                outgoing_pop(channel);
        fdset_fini(&channel->in_fds);
        drop_input(channel);
        free(channel);
        return fd;
}

struct channel *channel_free(struct channel *channel) {
        if (channel)
                fd_close(channel_release(channel));
        return NULL;
}

int channel_fd(const struct channel *channel) {
        return channel->fd;
}

bool channel_is_flushing(const struct channel *channel) {
        return channel->out;
}

/* The header of the message that is next, once its bytes are there. Returns 0, CHANNEL_AGAIN or negative errno. */
static int peek_header(const struct channel *channel, struct proto_header *ret_header) {
        if (channel->n_in - channel->n_taken < PROTO_HEADER_BYTES)
                return CHANNEL_AGAIN;
        return proto_header_read(channel->in + channel->n_taken, channel->peers, channel->self, ret_header);
}

void channel_trim(struct channel *channel) {
        if (channel->n_in == channel->n_taken)
                drop_input(channel);
}

/* Room for @n_bytes in all, those that were read included. Returns 0 or -ENOMEM. */
static int grow_input(struct channel *channel, size_t n_bytes) {
        bool is_first = channel->in == channel->first;
        uint8_t *in = realloc(is_first ? NULL : channel->in, n_bytes);

        if (!in)
                return -ENOMEM;
        if (is_first)
                memcpy(in, channel->first, channel->n_in);
        channel->in = in;
        channel->n_allocated = n_bytes;
        return 0;
}

/* Drops what was handed out and makes room for the rest of the next message, or for a usual one. */
static int make_room(struct channel *channel) {
        struct proto_header header;
        const size_t read_bytes = channel->self == PROTO_CLIENT ? ANSWER_READ_BYTES : READ_BYTES;
        size_t n_wanted = read_bytes;
        int r;

        if (channel->n_taken) {
                channel->n_in -= channel->n_taken;
                memmove(channel->in, channel->in + channel->n_taken, channel->n_in);
                channel->n_taken = 0;
        }
        if (channel->n_allocated > read_bytes) /* one large message need not be followed by more */
                channel_trim(channel);
        r = peek_header(channel, &header);
        if (r < 0)
                return r;
        if (r == 0 && PROTO_HEADER_BYTES + header.n_payload > n_wanted)
                n_wanted = PROTO_HEADER_BYTES + header.n_payload;
        if (n_wanted <= channel->n_in)
                n_wanted = channel->n_in + read_bytes;
        return n_wanted > channel->n_allocated ? grow_input(channel, n_wanted) : 0;
}

/* Takes every fd out of the control data. All of them are owned by @fds afterwards, or closed. */
static int take_fds(struct msghdr *header, struct fdset *fds) {
        int r = header->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

        for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control)) {
                size_t n_fds;

                if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
                        continue;
                n_fds = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n_fds; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
                        if (fdset_push(fds, fd) < 0)
                                r = -EPROTO;
                }
        }
        return r;
}

/*
 * How many bytes to receive. While fds wait for the rest of their message, nothing behind it is read: the fds of the
 * next one could be more than the set has room for, and what the peer added without announcing it would be its.
 */
static size_t read_limit(const struct channel *channel) {
        size_t n_until = PROTO_HEADER_BYTES;
        struct proto_header header;

        if (channel->in_fds.n_fds && peek_header(channel, &header) == 0)
                n_until += header.n_payload;
        if (channel->in_fds.n_fds && n_until > channel->n_in)
                return n_until - channel->n_in;
        return channel->n_allocated - channel->n_in;
}

int channel_read(struct channel *channel) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * PROTO_MAX_FDS)];
        } control;
        struct iovec iov;
        struct msghdr header = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n_read;
        int r;

        r = make_room(channel);
        if (r < 0)
                return r;
        iov.iov_base = channel->in + channel->n_in;
        iov.iov_len = read_limit(channel);
        do
                n_read = recvmsg(channel->fd, &header, MSG_CMSG_CLOEXEC);
        while (n_read < 0 && errno == EINTR);
        if (n_read < 0 && errno == EAGAIN) {
                channel_trim(channel);
                return CHANNEL_AGAIN;
        }
        if (n_read < 0)
                return -errno;

        r = take_fds(&header, &channel->in_fds);
        if (r < 0)
                return r;
        if (n_read == 0)
                return CHANNEL_EOF;
        channel->n_in += (size_t)n_read;
        return 0;
}

int channel_next(struct channel *channel, struct message *ret_message) {
        struct proto_header header;
        int r;

        fdset_init(&ret_message->fds);
        r = peek_header(channel, &header);
        if (r)
                return r;
        if (channel->n_in - channel->n_taken < PROTO_HEADER_BYTES + header.n_payload)
                return CHANNEL_AGAIN;

        r = fdset_move(&ret_message->fds, &channel->in_fds, header.n_fds);
        if (r < 0)
                return -EPROTO;
        ret_message->type = header.type;
        wire_reader_init(&ret_message->payload, channel->in + channel->n_taken + PROTO_HEADER_BYTES,
                         header.n_payload);
        channel->n_taken += PROTO_HEADER_BYTES + header.n_payload;
        if (channel->n_taken == channel->n_in && channel->in_fds.n_fds) {
                message_fini(ret_message);
                return -EPROTO; /* fds that no message announced */
        }
        return 0;
}

int channel_receive(struct channel *channel, struct message *ret_message) {
        for (;;) {
                int r = channel_next(channel, ret_message);

                if (r != CHANNEL_AGAIN)
                        return r;
                r = channel_read(channel);
                if (r)
                        return r;
        }
}

/*
 * Sends what the socket takes of @iov, the fds with the first byte.
 * Returns the number of bytes sent, 0 if it takes none now, or negative errno.
 */
static ssize_t send_once(int fd, struct iovec *iov, size_t n_iov, const struct fdset *fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * PROTO_MAX_FDS)];
        } control;
        struct msghdr header = { .msg_iov = iov, .msg_iovlen = n_iov };
        ssize_t n_sent;

        if (fds && fds->n_fds) {
                control.align = (struct cmsghdr){
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                        .cmsg_len = CMSG_LEN(sizeof(int) * fds->n_fds),
                };
                memcpy(CMSG_DATA(&control.align), fds->fds, sizeof(int) * fds->n_fds);
                header.msg_control = &control;
                header.msg_controllen = CMSG_SPACE(sizeof(int) * fds->n_fds);
        }
        do
                n_sent = sendmsg(fd, &header, MSG_NOSIGNAL);
        while (n_sent < 0 && errno == EINTR);
        if (n_sent < 0)
                return errno == EAGAIN ? 0 : -errno;
        return n_sent;
}

/* Fills @ret_copy with duplicates of @fds. Returns 0, or negative errno and an empty set. */
static int duplicate_fds(const struct fdset *fds, struct fdset *ret_copy) {
        fdset_init(ret_copy);
        for (size_t i = 0; i < fds->n_fds; i++) {
                int fd = fcntl(fds->fds[i], F_DUPFD_CLOEXEC, 0);

                if (fd < 0) {
                        int error = errno;

                        fdset_fini(ret_copy);
                        return -error;
                }
                fdset_push(ret_copy, fd);
        }
        return 0;
}

/* Keeps the bytes of @iov behind the first @n_sent, and the fds if none was sent, until channel_flush(). */
static int queue_rest(struct channel *channel, const struct iovec *iov, size_t n_iov, const struct fdset *fds,
                      size_t n_sent) {
        struct outgoing *outgoing;
        size_t n_bytes = 0;
        int r;

        for (size_t i = 0; i < n_iov; i++)
                n_bytes += iov[i].iov_len;
        outgoing = malloc(sizeof(*outgoing) + n_bytes);
        if (!outgoing)
                return -ENOMEM;
        *outgoing = (struct outgoing){ .n_sent = n_sent };
        r = fds && n_sent == 0 ? duplicate_fds(fds, &outgoing->fds) : 0;
        if (r < 0) {
                free(outgoing);
                return r;
        }
        for (size_t i = 0; i < n_iov; i++) {
                memcpy(outgoing->bytes + outgoing->n_bytes, iov[i].iov_base, iov[i].iov_len);
                outgoing->n_bytes += iov[i].iov_len;
        }
        *channel->out_tail = outgoing;
        channel->out_tail = &outgoing->next;
        return CHANNEL_AGAIN;
}

int channel_send(struct channel *channel, enum proto_type type, const struct wire_writer *payload,
                 const struct fdset *fds) {
        struct proto_header checked;
        uint8_t header[PROTO_HEADER_BYTES];
        struct iovec iov[] = {
                { .iov_base = header, .iov_len = sizeof(header) },
                { .iov_base = payload->data, .iov_len = payload->n_bytes },
        };
        ssize_t n_sent = 0;
        int r;

        if (payload->error)
                return payload->error;
        if (payload->n_bytes > UINT32_MAX)
                return -EMSGSIZE;
        proto_header_write(
                &(struct proto_header){
                        .version = PROTO_VERSION,
                        .type = (uint16_t)type,
                        .n_payload = (uint32_t)payload->n_bytes,
                        .n_fds = (uint16_t)(fds ? fds->n_fds : 0),
                },
                header);
        if (proto_header_read(header, channel->self, channel->peers, &checked) < 0)
                return -EMSGSIZE;
        if (!channel->out) {
                n_sent = send_once(channel->fd, iov, 2, fds);
                if (n_sent < 0)
                        return (int)n_sent;
                if ((size_t)n_sent == sizeof(header) + payload->n_bytes)
                        return 0;
        }
        r = queue_rest(channel, iov, 2, fds, (size_t)n_sent);
        return r < 0 || n_sent == 0 ? r : channel_flush(channel);
}

int channel_flush(struct channel *channel) {
        while (channel->out) {
                struct outgoing *first = channel->out;
                struct iovec iov = {
                        .iov_base = first->bytes + first->n_sent,
                        .iov_len = first->n_bytes - first->n_sent,
                };
                ssize_t n_sent = send_once(channel->fd, &iov, 1, first->n_sent ? NULL : &first->fds);

                if (n_sent < 0)
                        return (int)n_sent;
                if (n_sent == 0)
                        return CHANNEL_AGAIN;
                first->n_sent += (size_t)n_sent;
                if (first->n_sent == first->n_bytes)
                        outgoing_pop(channel);
        }
        return 0;
}
