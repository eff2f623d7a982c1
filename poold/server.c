#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/sock.h"
#include "metrics.h"
#include "pools.h"
#include "reload.h"
#include "report.h"
#include "runs.h"
#include "tell.h"

#define SEC_USEC UINT64_C(1000000)
#define ACCEPT_PAUSE_USEC (SEC_USEC / 10) /* when fds have run out */

struct server {
        struct loop *loop;
        struct server_settings settings;
        struct listener *listener; /* NULL once draining */
        struct loop_source *accept_source, *accept_timer, *drain_timer;
        struct client_list clients;
        struct pools *pools;
        struct runs *runs;
        struct metrics *metrics;
        struct tell *tell;
        struct reload *reload;
        bool reload_again; /* somebody has asked for it since it began */
        uint64_t started_usec;
        bool accept_failing; /* the log has been told */
        bool draining;
};

static const struct config *config_of(const struct server *server) {
        return pools_config(server->pools);
}

static void on_client_closed(struct client *client, void *data) {
        struct server *server = data;

        runs_forget(client);
        TAILQ_REMOVE(&server->clients, client, link);
        client_free(client);
}

/* --- Turns --- */

/* Lets all do what is due, and ends the loop when there is nothing left to wait for. */
static void take_turns(struct server *server) {
        runs_turn(server->runs);
        pools_turn(server->pools);
        tell_changed(server->tell);
        if (server->draining && !pools_count_workers(server->pools, POOL_BUSY) &&
            !pools_count_workers(server->pools, POOL_DYING))
                loop_stop(server->loop);
}

static void on_pools_changed(void *data) {
        take_turns(data);
}

/* --- Reload --- */

/* Answers those who have asked for it. Those who have done so while it was read are answered when it is read again. */
static void answer_reload(struct server *server, const char *error, const char *text) {
        struct client *client, *next;

        for (client = TAILQ_FIRST(&server->clients); client; client = next) {
                next = TAILQ_NEXT(client, link);
                if (client->reload != CLIENT_RELOAD_READING)
                        continue;
                client->reload = CLIENT_RELOAD_NONE;
                report_done(client, error, text);
                client_finish(client);
        }
}

/* Returns what there is to say of it, a new string, or NULL for lack of memory, and all is as it was. */
static char *apply(struct server *server, struct config *config) {
        struct pools_changes changes;
        char *text = NULL;
        size_t n_text;
        FILE *file = open_memstream(&text, &n_text);

        if (file && pools_configure(server->pools, config, &changes) == 0) {
                fprintf(file, "%zu pools new, %zu renewed, %zu as they were, %zu gone", changes.n_new,
                        changes.n_renewed, changes.n_kept, changes.n_removed);
                config_print_restarts(file, "; it takes a restart of poold to change ", server->settings.config,
                                      config);
                log_init(config->log_level);
                runs_reconfigured(server->runs);
        }
        if (file && fclose(file) != 0) {
                free(text);
                text = NULL;
        }
        return text;
}

/* One line for each thing that is wrong. */
static void log_refusal(const char *errors) {
        log_err("not reloaded, all is as it was:");
        while (*errors) {
                const int length = (int)strcspn(errors, "\n");

                log_err("%.*s", length, errors);
                errors += length + (errors[length] == '\n');
        }
}

static void begin_reload(struct server *server);

static void on_loaded(struct config *config, const char *errors, void *data) {
        struct server *server = data;
        char *text = config && !server->draining ? apply(server, config) : NULL;

        if (!errors && !text)
                errors = server->draining ? "poold is stopping" : strerror(ENOMEM);
        if (errors)
                log_refusal(errors);
        else
                log_info("reloaded: %s", text);
        systemd_notify(server->settings.systemd, "READY=1");
        answer_reload(server, errors ? errors : "", text);
        free(text);
        config_unref(config);
        if (server->reload_again)
                begin_reload(server);
        take_turns(server);
}

static const struct reload_events reload_events = { .loaded = on_loaded };

static void begin_reload(struct server *server) {
        struct client *client;
        int r;

        server->reload_again = reload_is_reading(server->reload);
        if (server->reload_again)
                return;
        TAILQ_FOREACH(client, &server->clients, link)
        if (client->reload == CLIENT_RELOAD_ASKED)
                client->reload = CLIENT_RELOAD_READING;
        systemd_notify(server->settings.systemd, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, loop_now_usec());
        r = reload_start(server->reload);
        if (r < 0)
                on_loaded(NULL, strerror(-r), server);
}

void server_reload(struct server *server) {
        if (!server->draining)
                begin_reload(server);
}

/* --- Questions and orders --- */

static void handle_status(struct server *server, struct client *client, struct message *message) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        struct proto_status request;

        if (proto_get_status(&message->payload, &request) < 0) {
                client_close(client);
                return;
        }
        proto_put_status_head(&payload, &(struct proto_status_head){
                                                .pid = (uint32_t)getpid(),
                                                .version = POOLD_VERSION,
                                                .uptime_usec = loop_now_usec() - server->started_usec,
                                                .socket = server->listener ? listener_path(server->listener) : "",
                                                .state = server->draining ? "stopping" : "running",
                                        });
        client_send(client, PROTO_STATUS_HEAD, &payload, NULL);
        for (size_t i = 0; i < pools_count(server->pools); i++)
                report_pool(client, pools_at(server->pools, i));
        report_done(client, "", "");
        client_finish(client);
}

static void handle_stop(struct server *server, struct client *client, struct message *message) {
        struct proto_stop request;

        if (proto_get_stop(&message->payload, &request) < 0) {
                client_close(client);
                return;
        }
        /* The connection stays open until we are gone: that is what the client waits for. */
        report_done(client, "", "");
        client_hold(client);
        server_drain(server, request.flags & PROTO_STOP_NOW);
}

static void handle_reload(struct server *server, struct client *client, struct message *message) {
        struct proto_reload request;

        if (proto_get_reload(&message->payload, &request) < 0) {
                client_close(client);
                return;
        }
        client->reload = CLIENT_RELOAD_ASKED;
        client_hold(client);
        server_reload(server);
}

/* Only what poold knows to be a run is signalled: a pid that somebody has read a while ago may be another's by now. */
static void handle_kill(struct server *server, struct client *client, struct message *message) {
        struct proto_kill request;
        bool found = false;

        if (proto_get_kill(&message->payload, &request) < 0 || request.signo >= NSIG) {
                client_close(client);
                return;
        }
        for (size_t i = 0; i < pools_count(server->pools) && !found; i++)
                found = live_pool_signal(pools_at(server->pools, i), (pid_t)request.pid, (int)request.signo);
        report_done(client, found ? "" : "no run has this pid; `poolctl ps` lists them", "");
        client_finish(client);
}

static void on_client_request(struct client *client, struct message *message, void *data) {
        struct server *server = data;

        switch (message->type) {
        case PROTO_RUN:
                runs_serve(server->runs, client, message);
                take_turns(server);
                break;
        case PROTO_EXPLAIN:
                runs_explain(server->runs, client, message);
                break;
        case PROTO_STATUS:
                handle_status(server, client, message);
                break;
        case PROTO_RELOAD:
                handle_reload(server, client, message);
                break;
        case PROTO_STOP:
                handle_stop(server, client, message);
                break;
        case PROTO_KILL:
                handle_kill(server, client, message);
                break;
        default:
                client_close(client);
        }
}

static const struct client_events client_events = {
        .request = on_client_request,
        .closed = on_client_closed,
};

/* --- New clients --- */

static void add_client(struct server *server, int fd) {
        struct sock_peer peer;
        struct client *client;
        int r;

        r = sock_peer(fd, &peer);
        if (r < 0 || peer.uid != geteuid()) {
                log_warn("client of another user refused");
                fd_close(fd);
                return;
        }
        client = client_new(server->loop, fd, loop_now_usec() + config_of(server)->request_timeout_sec * SEC_USEC,
                            &client_events, server);
        if (!client) {
                log_err("cannot take a client: out of memory");
                return;
        }
        client->peer = peer;
        TAILQ_INSERT_TAIL(&server->clients, client, link);
        client_start(client);
}

/* One a turn: to find that there is no second costs more than a turn does when there is. */
static void on_listener(void *data, unsigned events) {
        struct server *server = data;
        int fd = accept4(listener_fd(server->listener), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        (void)events;
        if (fd >= 0) {
                server->accept_failing = false;
                add_client(server, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                if (!server->accept_failing)
                        log_warn("cannot accept clients for the time being: %s", strerror(errno));
                server->accept_failing = true;
                loop_set_events(server->accept_source, 0);
                loop_set_deadline(server->accept_timer, loop_now_usec() + ACCEPT_PAUSE_USEC);
        }
}

static void on_accept_timer(void *data, unsigned events) {
        struct server *server = data;

        (void)events;
        if (server->accept_source)
                loop_set_events(server->accept_source, LOOP_READ);
}

/* --- Life --- */

static void on_drain_timer(void *data, unsigned events) {
        struct server *server = data;

        (void)events;
        log_warn("leaving %u running scripts to finish alone", pools_count_workers(server->pools, POOL_BUSY));
        loop_stop(server->loop);
}

static int set_up(struct server *server) {
        const struct pools_settings pools_settings = {
                .loop = server->loop,
                .programs = server->settings.programs,
                .groups = server->settings.groups,
                .may_be_nice = server->settings.may_be_nice,
                .changed = on_pools_changed,
                .data = server,
        };
        struct pools_changes changes;

        server->accept_timer = loop_add_timer(server->loop, on_accept_timer, server);
        server->drain_timer = loop_add_timer(server->loop, on_drain_timer, server);
        server->accept_source =
                loop_add_fd(server->loop, listener_fd(server->listener), LOOP_READ, on_listener, server);
        server->reload = reload_new(server->loop, server->settings.config_path, &reload_events, server);
        server->pools = pools_new(&pools_settings);
        if (server->pools) {
                server->runs = runs_new(server->loop, server->pools);
                server->tell = tell_new(server->loop, server->settings.systemd, server->pools);
        }
        if (!server->accept_timer || !server->drain_timer || !server->accept_source || !server->reload ||
            !server->runs || !server->tell)
                return -ENOMEM;
        server->metrics = metrics_new(&(struct metrics_settings){
                .loop = server->loop,
                .address = server->settings.config->metrics,
                .pools = server->pools,
        });
        return pools_configure(server->pools, server->settings.config, &changes);
}

int server_new(struct loop *loop, const struct server_settings *settings, struct listener *listener,
               struct server **ret_server) {
        struct server *server = calloc(1, sizeof(*server));
        int r;

        if (!server) {
                listener_free(listener);
                return -ENOMEM;
        }
        server->loop = loop;
        server->settings = *settings;
        server->listener = listener;
        server->started_usec = loop_now_usec();
        TAILQ_INIT(&server->clients);
        r = set_up(server);
        if (r < 0) {
                server_free(server);
                return r;
        }
        take_turns(server);
        *ret_server = server;
        return 0;
}

struct server *server_free(struct server *server) {
        struct client *client;

        while ((client = TAILQ_FIRST(&server->clients)))
                on_client_closed(client, server);
        metrics_free(server->metrics);
        tell_free(server->tell);
        reload_free(server->reload);
        runs_free(server->runs);
        pools_free(server->pools);
        loop_source_free(server->accept_source);
        loop_source_free(server->accept_timer);
        loop_source_free(server->drain_timer);
        listener_free(server->listener);
        free(server);
        return NULL;
}

void server_drain(struct server *server, bool now) {
        const uint32_t timeout_sec = config_of(server)->drain_timeout_sec;

        if (now)
                pools_end_runs(server->pools);
        if (!server->draining) {
                uint32_t n_runs = pools_count_workers(server->pools, POOL_BUSY);

                server->draining = true;
                log_info("stopping, %u scripts running", n_runs);
                tell_stopping(server->tell);
                server->accept_source = loop_source_free(server->accept_source);
                server->metrics = metrics_free(server->metrics); /* a successor may want the address */
                server->listener = listener_free(server->listener);
                runs_drain(server->runs);
                pools_drain(server->pools);
                loop_set_deadline(server->drain_timer, loop_now_usec() + timeout_sec * SEC_USEC);
        }
        take_turns(server);
}
