#include "connect.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "lib/sock.h"
#include "say.h"

static int explain(int error, const char *path, struct miss *ret_miss) {
        switch (error) {
        case -ENOENT:
        case -ECONNREFUSED:
                return miss_set(ret_miss, "absent", "no poold listens at %s", path);
        case -EPERM:
                return miss_set(ret_miss, "foreign",
                                "%s, its folder or the process that listens there belongs to somebody else, "
                                "or the folder is open to others (it must be yours, mode 0700)",
                                path);
        case -EAGAIN:
                return miss_set(ret_miss, "busy", "poold at %s takes no more connections now", path);
        case -ENAMETOOLONG:
                return miss_set(ret_miss, "socket",
                                "the path of poold's socket, in POOLD_SOCKET or XDG_RUNTIME_DIR, is too long%s%s",
                                path[0] ? ": " : "", path);
        default:
                return miss_set(ret_miss, "socket", "cannot connect to poold at %s: %s", path, strerror(-error));
        }
}

int connect_poold(struct channel **ret_channel, struct miss *ret_miss) {
        char path[SOCK_PATH_BYTES];
        struct channel *channel;
        int r;

        path[0] = '\0';
        r = sock_client_path(path);
        if (r == 0)
                r = sock_connect(path);
        if (r < 0)
                return explain(r, path, ret_miss);
        channel = channel_new(r, PROTO_CLIENT, PROTO_SERVER | PROTO_WORKER);
        if (!channel)
                return miss_set(ret_miss, "memory", "out of memory");
        *ret_channel = channel;
        return 0;
}

int connect_ask(struct channel *channel, enum proto_type type, uint32_t flags) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        int r;

        wire_put_u32(&payload, flags);
        r = channel_send(channel, type, &payload, NULL);
        return r < 0 ? r : 0; /* a first message of some bytes always finds room */
}

int connect_receive(struct channel *channel, int64_t deadline_usec, struct message *ret_message) {
        for (;;) {
                struct pollfd pollfd = { .fd = channel_fd(channel), .events = POLLIN };
                int r = channel_receive(channel, ret_message);

                if (r != CHANNEL_AGAIN)
                        return r;
                r = poll(&pollfd, 1, clock_poll_ms(deadline_usec));
                if (r == 0)
                        return -ETIMEDOUT;
                if (r < 0 && errno != EINTR)
                        return -errno;
        }
}

static int complain_of_answer(struct message *message) {
        struct proto_refused refused;

        if (message->type != PROTO_REFUSED || proto_get_refused(&message->payload, &refused) < 0)
                say("poold answered with %s, which was not expected; is it of another version? Restart it",
                    proto_type_name(message->type));
        else if (strcmp(refused.reason, "version") == 0)
                say("the running poold is of another version than this poolctl (%s): %s; restart poold",
                    POOLD_VERSION, refused.detail);
        else
                say("poold refused (%s): %s", refused.reason, refused.detail);
        return 1;
}

int connect_complain(int r, struct message *message) {
        if (r == 0)
                return complain_of_answer(message);
        if (r == CHANNEL_EOF || r == -ECONNRESET || r == -EPIPE)
                say("poold closed the connection without an answer; its log says why");
        else if (r == -ETIMEDOUT)
                say("poold does not answer; it may be stopped or overloaded");
        else if (r == -EPROTONOSUPPORT)
                say("the running poold is of another version than this poolctl (%s); restart poold",
                    POOLD_VERSION);
        else
                say("cannot talk to poold: %s", strerror(-r));
        return 1;
}
