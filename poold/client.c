#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fd.h"
#include "lib/log.h"

static void on_socket(void *data, unsigned events);
static void on_deadline(void *data, unsigned events);

struct client *client_new(struct loop *loop, int fd, uint64_t deadline_usec, const struct client_events *events,
                          void *data) {
        struct client *client = calloc(1, sizeof(*client));

        if (!client) {
                fd_close(fd);
                return NULL;
        }
        client->loop = loop;
        client->events = events;
        client->data = data;
        client->accepted_usec = loop_now_usec();
        client->deadline_usec = deadline_usec;
        client->channel = channel_new(fd, PROTO_SERVER, PROTO_CLIENT);
        if (!client->channel) {
                client_free(client);
                return NULL;
        }
        return client;
}

void client_free(struct client *client) {
        client->source = loop_source_free(client->source);
        client->deadline = loop_source_free(client->deadline);
        client->channel = channel_free(client->channel);
        loop_defer_free(client->loop, free, client);
}

/* Reads until there is a request, or the peer has said something that it may not say, or is gone. */
static void read_request(struct client *client) {
        struct message message;
        int r = client->requested ? channel_read(client->channel) : channel_next(client->channel, &message);

        if (client->requested && r == CHANNEL_AGAIN)
                return;
        if (client->requested && r == 0)
                r = -EPROTO; /* it has nothing more to say */

        while (r == CHANNEL_AGAIN) { /* not yet whole */
                r = channel_read(client->channel);
                if (r == CHANNEL_AGAIN)
                        return;
                if (r == 0)
                        r = channel_next(client->channel, &message);
        }
        if (r == 0) {
                client->requested = true;
                client->events->request(client, &message, client->data);
                message_fini(&message);
                if (client->channel)
                        channel_trim(client->channel);
                return;
        }
        if (r == -EPROTONOSUPPORT) {
                _cleanup_writer_ struct wire_writer refusal = { 0 };

                proto_put_refused(&refusal, &(struct proto_refused){
                                                    .reason = "version",
                                                    .detail = "poold speaks another version of the protocol",
                                            });
                client_send(client, PROTO_REFUSED, &refusal, NULL);
        }
        if (r < 0)
                log_debug("client dropped: %s", strerror(-r));
        client->events->closed(client, client->data);
}

static unsigned wanted_events(const struct client *client) {
        return LOOP_READ | (channel_is_flushing(client->channel) ? LOOP_WRITE : 0U);
}

static int listen_to(struct client *client) {
        client->source =
                loop_add_fd(client->loop, channel_fd(client->channel), wanted_events(client), on_socket, client);
        client->deadline = loop_add_timer(client->loop, on_deadline, client);
        if (!client->source || !client->deadline)
                return -ENOMEM;
        return loop_set_deadline(client->deadline, client->deadline_usec);
}

void client_start(struct client *client) {
        read_request(client);
        if (client->channel && listen_to(client) < 0)
                client->events->closed(client, client->data);
}

static void update(struct client *client) {
        if (client->finishing && !channel_is_flushing(client->channel))
                client->events->closed(client, client->data);
        else if (client->source)
                loop_set_events(client->source, wanted_events(client));
}

static void on_socket(void *data, unsigned events) {
        struct client *client = data;

        if (events & LOOP_WRITE && channel_flush(client->channel) < 0) {
                client->events->closed(client, client->data);
                return;
        }
        if (events & LOOP_READ)
                read_request(client);
        else
                update(client);
}

static void on_deadline(void *data, unsigned events) {
        struct client *client = data;

        (void)events;
        log_debug("client dropped: no whole request in time");
        client->events->closed(client, client->data);
}

void client_send(struct client *client, enum proto_type type, const struct wire_writer *payload,
                 const struct fdset *fds) {
        int r = channel_send(client->channel, type, payload, fds);

        if (r < 0)
                log_debug("client: cannot send %s: %s", proto_type_name(type), strerror(-r));
        else if (r == CHANNEL_AGAIN && client->source)
                loop_set_events(client->source, wanted_events(client));
}

void client_hold(struct client *client) {
        client->deadline_usec = LOOP_NEVER;
        if (client->deadline)
                loop_set_deadline(client->deadline, LOOP_NEVER);
}

void client_close(struct client *client) {
        client->events->closed(client, client->data);
}

void client_finish(struct client *client) {
        client->finishing = true;
        update(client);
}
