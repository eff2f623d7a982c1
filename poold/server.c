#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cgroup.h"
#include "client.h"
#include "identity.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/sock.h"
#include "live_pool.h"
#include "machine.h"
#include "report.h"

#define SEC_USEC UINT64_C(1000000)
#define ACCEPT_PAUSE_USEC (SEC_USEC / 10) /* when fds have run out */
#define ACCEPTS_A_TURN 64
/* execve(2) takes 6 MB of arguments and environment, 9 bytes for the shortest: no client has more, honestly. */
#define MAX_STRINGS ((6 << 20) / 9)

struct server {
        struct loop *loop;
        struct server_settings settings;
        struct listener *listener; /* NULL once draining */
        struct identity *identity;
        struct cgroups *cgroups;
        struct machine *machine;
        struct loop_source *accept_source, *accept_timer, *pool_timer, *drain_timer;
        struct client_list clients;
        struct live_pool **pools; /* in the configuration's order */
        size_t n_pools;
        size_t n_ready_told; /* what systemd knows; SIZE_MAX: nothing yet */
        uint64_t started_usec;
        bool accept_failing; /* the log has been told */
        bool draining;
};

static void take_turns(struct server *server);

/* --- What becomes of a client --- */

/* Does @run leave it open which pool serves it, or name this one? */
static bool may_serve(const struct live_pool *pool, const struct proto_run *run) {
        return !run->pool[0] || strcmp(run->pool, pool_name(live_pool_policy(pool))) == 0;
}

/* What runs what no worker does: the interpreter that a worker would have been; "": the client finds that out. */
static const char *python_for(const struct server *server, const struct proto_run *run) {
        for (size_t i = 0; i < server->n_pools; i++)
                if (may_serve(server->pools[i], run) && live_pool_has_interpreter(server->pools[i], run))
                        return live_pool_python(server->pools[i]);
        return "";
}

static void refuse(const struct server *server, struct client *client, const struct proto_run *run,
                   const char *reason, const char *detail) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_refused(&payload, &(struct proto_refused){
                                            .reason = reason,
                                            .detail = detail,
                                            .python = python_for(server, run),
                                    });
        client_send(client, PROTO_REFUSED, &payload, NULL);
        client_finish(client);
}

static void on_client_closed(struct client *client, void *data) {
        struct server *server = data;

        TAILQ_REMOVE(&server->clients, client, link);
        client_free(client);
}

/* --- Runs --- */

/* How near the pool that has said so is to what the run asks for: of several misses the nearest one's counts. */
static int nearness(const struct decline *miss) {
        if (strcmp(miss->reason, "interpreter") == 0)
                return 0;
        return strcmp(miss->reason, "options") == 0 ? 1 : 2;
}

/*
 * The pool that the run names, else the first that fits and has an idle worker, else the first that fits.
 * Returns 0 and the pool; or DECLINED, why, and the pool that the miss counts for; or negative errno.
 */
static int choose_pool(const struct server *server, const struct proto_run *run, struct live_pool **ret_pool,
                       struct decline *ret_miss) {
        struct live_pool *fitting = NULL, *missing = NULL;
        int r;

        for (size_t i = 0; i < server->n_pools; i++) {
                struct live_pool *pool = server->pools[i];
                const struct pool *policy = live_pool_policy(pool);
                struct decline miss;

                if (!may_serve(pool, run))
                        continue;
                r = live_pool_check(pool, run, &miss);
                if (r < 0)
                        return r;
                if (r == 0 && (!fitting || pool_count(policy, POOL_IDLE)))
                        fitting = pool;
                if (fitting && pool_count(live_pool_policy(fitting), POOL_IDLE))
                        break;
                if (r == DECLINED && (!missing || nearness(&miss) > nearness(ret_miss))) {
                        missing = pool;
                        *ret_miss = miss;
                }
        }
        if (!fitting && !missing) {
                missing = server->pools[0];
                ret_miss->reason = "pool";
                snprintf(ret_miss->detail, sizeof(ret_miss->detail), "there is no pool \"%.100s\"", run->pool);
        }
        *ret_pool = fitting ? fitting : missing;
        return fitting ? 0 : DECLINED;
}

/* The same, the client itself being looked at first. What is wrong with that counts for the first pool. */
static int choose(const struct server *server, const struct client *client, const struct proto_run *run,
                  struct live_pool **ret_pool, struct decline *ret_miss) {
        int r = identity_check(server->identity, channel_fd(client->channel), &client->peer, run, ret_miss);

        if (r == 0)
                r = cgroups_check(server->cgroups, client->peer.pid, loop_now_usec(), ret_miss);
        if (r == 0)
                return choose_pool(server, run, ret_pool, ret_miss);
        *ret_pool = server->pools[0];
        return r;
}

/* Once a worker has the run, it and the client need nobody else. */
static void serve_run(struct server *server, struct client *client, struct message *message,
                      const struct proto_run *run, const struct wire_writer *payload) {
        struct live_pool *pool;
        struct decline miss;
        int r;

        r = choose(server, client, run, &pool, &miss);
        if (r == 0)
                r = live_pool_assign(pool, client->channel, payload, &message->fds, &miss);
        if (r == 0) {
                stats_hit(live_pool_stats(pool), loop_now_usec() - client->accepted_usec);
                on_client_closed(client, server);
        } else if (r > 0) {
                stats_miss(live_pool_stats(pool), miss.reason);
                refuse(server, client, run, miss.reason, miss.detail);
        } else {
                log_err("cannot serve a run: %s", strerror(-r));
                refuse(server, client, run, "error", strerror(-r));
        }
}

/* Does it say of its process what a process can be? What a peer sends must not cost a worker. */
static bool is_sound(const struct proto_run *run, size_t n_fds) {
        const size_t n_terminals = run->terminal == PROTO_TERMINAL_NONE ? 0 : 1;

        if (run->terminal >= PROTO_N_TERMINALS || (run->terminal_numbers.count && !n_terminals) ||
            (size_t)run->fd_numbers.count + n_terminals + PROTO_RUN_FD_FIRST != n_fds ||
            run->limits.count != 2 * RLIM_NLIMITS || run->nice < 1 || run->nice > 40 || run->priority > 99 ||
            run->io_priority > UINT16_MAX || (uint64_t)run->argv.count + run->env.count > MAX_STRINGS)
                return false;
        for (uint32_t i = 1; i < run->fd_numbers.count; i++)
                if (wire_u64v_at(&run->fd_numbers, i) <= wire_u64v_at(&run->fd_numbers, i - 1))
                        return false;
        return true;
}

/* Is @message a run that can be one? */
static bool get_run(struct message *message, struct proto_run *ret_run) {
        return proto_get_run(&message->payload, ret_run) == 0 && is_sound(ret_run, message->fds.n_fds);
}

static void handle_run(struct server *server, struct client *client, struct message *message) {
        const struct wire_writer payload = {
                .data = (uint8_t *)message->payload.at,
                .n_bytes = (size_t)(message->payload.end - message->payload.at),
        };
        struct proto_run run;

        if (!get_run(message, &run))
                on_client_closed(client, server);
        else if (server->draining)
                refuse(server, client, &run, "stopping", "poold is stopping");
        else
                serve_run(server, client, message, &run, &payload);
        take_turns(server);
}

/* --- Questions and orders --- */

static void handle_explain(struct server *server, struct client *client, struct message *message) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        struct decline miss;
        struct live_pool *pool;
        struct proto_run run;
        int r;

        if (!get_run(message, &run)) {
                on_client_closed(client, server);
                return;
        }
        r = choose(server, client, &run, &pool, &miss);
        if (r == 0) {
                miss = (struct decline){ .reason = "" }; /* another pool's */
                r = live_pool_check_idle(pool, &miss);
        }
        if (r < 0) {
                refuse(server, client, &run, "error", strerror(-r));
                return;
        }
        proto_put_explained(&payload,
                            &(struct proto_explained){
                                    .pool = pool_name(live_pool_policy(pool)),
                                    .reason = miss.reason,
                                    .detail = miss.detail,
                                    .python = miss.reason[0] ? python_for(server, &run) : live_pool_python(pool),
                            });
        client_send(client, PROTO_EXPLAINED, &payload, NULL);
        client_finish(client);
}

static void handle_status(struct server *server, struct client *client, struct message *message) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        struct proto_status request;

        if (proto_get_status(&message->payload, &request) < 0) {
                on_client_closed(client, server);
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
        for (size_t i = 0; i < server->n_pools; i++)
                report_pool(client, server->pools[i]);
        report_done(client, "");
        client_finish(client);
}

static void handle_stop(struct server *server, struct client *client, struct message *message) {
        struct proto_stop request;

        if (proto_get_stop(&message->payload, &request) < 0) {
                on_client_closed(client, server);
                return;
        }
        /* The connection stays open until we are gone: that is what the client waits for. */
        report_done(client, "");
        client_hold(client);
        server_drain(server, request.flags & PROTO_STOP_NOW);
}

static void on_client_request(struct client *client, struct message *message, void *data) {
        struct server *server = data;

        switch (message->type) {
        case PROTO_RUN:
                handle_run(server, client, message);
                break;
        case PROTO_EXPLAIN:
                handle_explain(server, client, message);
                break;
        case PROTO_STATUS:
                handle_status(server, client, message);
                break;
        case PROTO_STOP:
                handle_stop(server, client, message);
                break;
        default:
                on_client_closed(client, server);
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
        client = client_new(server->loop, fd,
                            loop_now_usec() + server->settings.config->request_timeout_sec * SEC_USEC,
                            &client_events, server);
        if (!client) {
                log_err("cannot take a client: out of memory");
                return;
        }
        client->peer = peer;
        TAILQ_INSERT_TAIL(&server->clients, client, link);
        client_start(client);
}

static void on_listener(void *data, unsigned events) {
        struct server *server = data;

        (void)events;
        for (int i = 0; i < ACCEPTS_A_TURN && server->listener; i++) {
                int fd = accept4(listener_fd(server->listener), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd >= 0) {
                        server->accept_failing = false;
                        add_client(server, fd);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                        if (!server->accept_failing)
                                log_warn("cannot accept clients for the time being: %s", strerror(errno));
                        server->accept_failing = true;
                        loop_set_events(server->accept_source, 0);
                        loop_set_deadline(server->accept_timer, loop_now_usec() + ACCEPT_PAUSE_USEC);
                }
                return;
        }
}

static void on_accept_timer(void *data, unsigned events) {
        struct server *server = data;

        (void)events;
        if (server->accept_source)
                loop_set_events(server->accept_source, LOOP_READ);
}

/* --- Pools --- */

static uint32_t count_workers(const struct server *server, enum pool_worker_state state) {
        uint32_t n = 0;

        for (size_t i = 0; i < server->n_pools; i++)
                n += pool_count(live_pool_policy(server->pools[i]), state);
        return n;
}

static void tell_systemd(struct server *server) {
        size_t n_ready = 0;

        for (size_t i = 0; i < server->n_pools; i++)
                n_ready += strcmp(pool_state_name(live_pool_policy(server->pools[i])), "ready") == 0 ? 1 : 0;
        if (server->draining || n_ready == server->n_ready_told)
                return;
        server->n_ready_told = n_ready;
        systemd_notify(server->settings.systemd, "STATUS=%zu of %zu pools ready", n_ready, server->n_pools);
}

/* Lets every pool do what is due, and ends the loop when there is nothing left to wait for. */
static void take_turns(struct server *server) {
        const uint32_t max_starting = server->settings.config->max_starting;
        struct pool_machine *machine =
                machine_look(server->machine, count_workers(server, POOL_BUSY), loop_now_usec());
        uint64_t next_usec = LOOP_NEVER;

        /* Those that have nothing get one first, so that none waits for another that takes long. */
        for (size_t i = 0; i < server->n_pools; i++) {
                const struct pool *policy = live_pool_policy(server->pools[i]);

                if (!pool_count(policy, POOL_IDLE) && !pool_count(policy, POOL_STARTING) &&
                    count_workers(server, POOL_STARTING) < max_starting)
                        live_pool_turn(server->pools[i], machine, 1);
        }
        for (size_t i = 0; i < server->n_pools; i++) {
                uint32_t n_starting = count_workers(server, POOL_STARTING);
                uint32_t n_spawns = n_starting < max_starting ? max_starting - n_starting : 0;
                uint64_t pool_usec = live_pool_turn(server->pools[i], machine, n_spawns);

                next_usec = pool_usec < next_usec ? pool_usec : next_usec;
        }
        loop_set_deadline(server->pool_timer, next_usec);
        tell_systemd(server);
        if (server->draining && !count_workers(server, POOL_BUSY) && !count_workers(server, POOL_DYING))
                loop_stop(server->loop);
}

static void on_pool_changed(void *data) {
        take_turns(data);
}

static void on_pool_timer(void *data, unsigned events) {
        (void)events;
        take_turns(data);
}

/* What python3 is for a client without an activated environment: the first pool's interpreter that is of none. */
static const struct interpreter *default_interpreter(const struct config *config) {
        for (size_t i = 0; i < config->n_pools; i++)
                if (!config->pools[i].python.is_environment)
                        return &config->pools[i].python;
        return NULL;
}

static int add_pool(struct server *server, const struct config_pool *config) {
        const struct interpreter *of_default = default_interpreter(server->settings.config);
        struct live_pool *pool = live_pool_new(&(struct live_pool_settings){
                .loop = server->loop,
                .config = config,
                .programs = server->settings.programs,
                .is_default = of_default && interpreter_is_same(&config->python, of_default),
                .changed = on_pool_changed,
                .data = server,
        });

        if (!pool)
                return -ENOMEM;
        server->pools[server->n_pools++] = pool;
        return 0;
}

/* --- Life --- */

static void on_drain_timer(void *data, unsigned events) {
        struct server *server = data;

        (void)events;
        log_warn("leaving %u running scripts to finish alone", count_workers(server, POOL_BUSY));
        loop_stop(server->loop);
}

static int set_up(struct server *server) {
        int r;

        server->accept_timer = loop_add_timer(server->loop, on_accept_timer, server);
        server->pool_timer = loop_add_timer(server->loop, on_pool_timer, server);
        server->drain_timer = loop_add_timer(server->loop, on_drain_timer, server);
        server->accept_source =
                loop_add_fd(server->loop, listener_fd(server->listener), LOOP_READ, on_listener, server);
        server->identity = identity_new();
        server->cgroups = cgroups_new("/sys/fs/cgroup");
        server->machine = machine_new(server->loop, on_pool_changed, server);
        server->pools = calloc(server->settings.config->n_pools, sizeof(struct live_pool *));
        if (!server->accept_timer || !server->pool_timer || !server->drain_timer || !server->accept_source ||
            !server->pools || !server->identity || !server->cgroups || !server->machine)
                return -ENOMEM;
        for (size_t i = 0; i < server->settings.config->n_pools; i++) {
                r = add_pool(server, &server->settings.config->pools[i]);
                if (r < 0)
                        return r;
        }
        return 0;
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
        server->n_ready_told = SIZE_MAX;
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

        while ((client = TAILQ_FIRST(&server->clients))) {
                TAILQ_REMOVE(&server->clients, client, link);
                client_free(client);
        }
        for (size_t i = 0; i < server->n_pools; i++)
                live_pool_free(server->pools[i]);
        free(server->pools);
        loop_source_free(server->accept_source);
        loop_source_free(server->accept_timer);
        loop_source_free(server->pool_timer);
        loop_source_free(server->drain_timer);
        listener_free(server->listener);
        cgroups_free(server->cgroups);
        machine_free(server->machine);
        identity_free(server->identity);
        free(server);
        return NULL;
}

void server_drain(struct server *server, bool now) {
        const uint32_t timeout_sec = server->settings.config->drain_timeout_sec;

        for (size_t i = 0; now && i < server->n_pools; i++)
                live_pool_end_runs(server->pools[i]);
        if (!server->draining) {
                server->draining = true;
                log_info("stopping, %u scripts running", count_workers(server, POOL_BUSY));
                systemd_notify(server->settings.systemd, "STOPPING=1\nSTATUS=waiting for %u running scripts",
                               count_workers(server, POOL_BUSY));
                server->accept_source = loop_source_free(server->accept_source);
                server->listener = listener_free(server->listener);
                for (size_t i = 0; i < server->n_pools; i++)
                        live_pool_drain(server->pools[i]);
                loop_set_deadline(server->drain_timer, loop_now_usec() + timeout_sec * SEC_USEC);
        }
        take_turns(server);
}
