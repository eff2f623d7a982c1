/*
 * A peer that sends anything. The first byte says who receives (bits 0 and 1), whether one byte at a time (bit 2), and
 * how many fds come with the first byte (bits 3 to 7); the others are what is sent.
 * Nothing but the documented results may come back, and no fd may be left open.
 */

#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/channel.h"
#include "lib/fd.h"

static const struct {
        unsigned self, peers;
} receivers[] = {
        { PROTO_SERVER, PROTO_CLIENT },
        { PROTO_SERVER, PROTO_WORKER },
        { PROTO_CLIENT, PROTO_SERVER | PROTO_WORKER },
        { PROTO_WORKER, PROTO_SERVER },
};

/* Sends what the socket takes of the bytes, with @fds duplicates of @fd. Returns how many. */
static size_t send_some(int socket, const uint8_t *data, size_t n_bytes, int fd, size_t n_fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 32)];
        } control = { 0 };
        struct iovec iov = { (void *)data, n_bytes };
        struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n_sent;

        if (n_fds) {
                control.align.cmsg_level = SOL_SOCKET;
                control.align.cmsg_type = SCM_RIGHTS;
                control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                for (size_t i = 0; i < n_fds; i++)
                        memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &fd, sizeof(int));
                header.msg_control = &control;
                header.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        }
        n_sent = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
        FUZZ_CHECK(n_sent > 0);
        return (size_t)n_sent;
}

/* Takes all messages that are there. Returns CHANNEL_AGAIN, CHANNEL_EOF or negative errno. */
static int drain(struct channel *channel) {
        struct message message;
        int r;

        while ((r = channel_receive(channel, &message)) == 0) {
                FUZZ_CHECK(strcmp(proto_type_name(message.type), "?") != 0);
                FUZZ_CHECK(message.payload.at <= message.payload.end);
                for (size_t i = 0; i < message.fds.n_fds; i++)
                        FUZZ_CHECK(fcntl(message.fds.fds[i], F_GETFD) == FD_CLOEXEC);
                message_fini(&message);
        }
        FUZZ_CHECK(message.fds.n_fds == 0);
        FUZZ_CHECK(r == CHANNEL_AGAIN || r == CHANNEL_EOF || r == -EPROTO || r == -EPROTONOSUPPORT);
        return r;
}

static void send_all(int sender, struct channel *receiver, uint8_t options, const uint8_t *data, size_t n_bytes) {
        size_t n_fds = options >> 3;
        int r = CHANNEL_AGAIN;

        while (n_bytes > 0 && r == CHANNEL_AGAIN) {
                size_t n_sent = send_some(sender, data, options & 4 ? 1 : n_bytes, sender, n_fds);

                n_fds = 0;
                data += n_sent;
                n_bytes -= n_sent;
                r = drain(receiver);
        }
        if (r == CHANNEL_AGAIN) {
                shutdown(sender, SHUT_WR);
                FUZZ_CHECK(drain(receiver) == CHANNEL_EOF);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
        struct channel *channel;
        int pair[2], lowest;

        if (n_bytes == 0)
                return 0;
        FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
        channel = channel_new(pair[1], receivers[data[0] & 3].self, receivers[data[0] & 3].peers);
        FUZZ_CHECK(channel);
        send_all(pair[0], channel, data[0], data + 1, n_bytes - 1);
        channel_free(channel);

        /* Were an fd left open, the lowest free one would be another than the second of the pair. */
        lowest = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
        FUZZ_CHECK(lowest == pair[1]);
        fd_close(lowest);
        fd_close(pair[0]);
        return 0;
}
