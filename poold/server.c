#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "fit.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/sock.h"
#include "pool.h"
#include "stats.h"
#include "worker.h"

#define SEC_USEC UINT64_C(1000000)
#define ACCEPT_PAUSE_USEC (SEC_USEC / 10) /* when fds have run out */
#define ACCEPTS_A_TURN 64

/* A pool, and what the server has for it. */
struct served_pool {
        struct server *server;
        const struct config_pool *config;
        struct pool *pool;
        struct fit *fit;
        struct stats stats;
        char **envp; /* what its workers start with; the strings are borrowed */
};

struct server {
        struct loop *loop;
        struct server_settings settings;
        struct listener *listener; /* NULL once draining */
        struct loop_source *accept_source, *accept_timer, *pool_timer, *drain_timer;
        struct client_list clients;
        struct served_pool *pools;
        size_t n_pools;
        size_t n_ready_told; /* what systemd knows */
        uint64_t started_usec;
        bool draining;
};

static void run_pools(struct server *server);

static struct worker *worker_of(struct pool_worker *policy) {
        return (struct worker *)((char *)policy - offsetof(struct worker, policy));
}

static struct served_pool *served_pool_of(struct server *server, const struct worker *worker) {
        for (size_t i = 0; i < server->n_pools; i++)
                if (server->pools[i].pool == worker->policy.pool)
                        return &server->pools[i];
        return NULL;
}

/* --- What becomes of a client --- */

static void refuse(struct server *server, struct client *client, const char *reason, const char *detail) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        bool other_interpreter = strcmp(reason, "interpreter") == 0;

        proto_put_refused(&payload, &(struct proto_refused){
                                            .reason = reason,
                                            .detail = detail,
                                            .python = other_interpreter ? "" : server->settings.python,
                                    });
        client_send(client, PROTO_REFUSED, &payload, NULL);
        client_finish(client);
}

static void on_client_closed(struct client *client, void *data) {
        struct server *server = data;
        struct worker *worker = client->worker;

        if (worker) {
                worker_catch_up(worker);
                worker->client = NULL;
                if (!worker->finished) {
                        log_info("pool=%s pid=%d client gone, ending its run", pool_name(worker->policy.pool),
                                 worker->pid);
                        worker_hang_up(worker);
                }
        }
        TAILQ_REMOVE(&server->clients, client, link);
        client_free(client);
}

/* --- Runs --- */

/*
 * The pool that the run names, else the first that fits and has a worker, else the first that fits.
 * Returns 0 and the pool; or FIT_MISS, why, and the pool that the miss counts for; or negative errno.
 */
static int choose_pool(struct server *server, const struct proto_run *run, const int *fds,
                       struct served_pool **ret_pool, struct fit_miss *ret_miss) {
        struct served_pool *fitting = NULL;
        struct fit_miss miss;
        int r;

        *ret_pool = &server->pools[0];
        *ret_miss = (struct fit_miss){ .reason = "pool" };
        snprintf(ret_miss->detail, sizeof(ret_miss->detail), "there is no pool \"%.100s\"", run->pool);
        for (size_t i = 0; i < server->n_pools; i++) {
                struct served_pool *pool = &server->pools[i];

                if (run->pool[0] && strcmp(run->pool, pool->config->name) != 0)
                        continue;
                r = fit_check(pool->fit, run, fds, &miss);
                if (r < 0)
                        return r;
                if (r == 0 && (!fitting || !pool_count(fitting->pool, POOL_IDLE)))
                        if (!fitting || pool_count(pool->pool, POOL_IDLE))
                                fitting = pool;
                if (r == FIT_MISS && strcmp(ret_miss->reason, "pool") == 0) {
                        *ret_miss = miss;
                        *ret_pool = pool;
                }
        }
        if (!fitting)
                return FIT_MISS;
        *ret_pool = fitting;
        return 0;
}

/* Why a pool that fits has no worker. */
static void explain_empty(const struct pool *pool, struct fit_miss *ret_miss) {
        const char *state = pool_state_name(pool);

        ret_miss->reason = strcmp(state, "ready") == 0 ? "empty" : state;
        if (strcmp(state, "warming") == 0 && pool_warmup_ms(pool))
                ret_miss->reason = "empty"; /* there have been some, they are just used up */
        snprintf(ret_miss->detail, sizeof(ret_miss->detail), "pool \"%.100s\" has no idle worker", pool_name(pool));
}

/*
 * Gives the run to the next worker that takes it. The client is told first: should poold die in between, the client
 * finds the claim unread and nothing started. @fds are the run's, borrowed; the client's socket is appended.
 * Returns 0, or POOL_EMPTY.
 */
static int hand_over(struct served_pool *pool, struct client *client, const struct wire_writer *payload,
                     struct fdset *fds) {
        struct pool_worker *policy;

        fds->fds[fds->n_fds++] = channel_fd(client->channel); /* RUN may have one fd less than a message can */
        while (pool_take(pool->pool, loop_now_usec(), &policy) == 0) {
                _cleanup_writer_ struct wire_writer assigned = { 0 };
                struct worker *worker = worker_of(policy);
                int r;

                proto_put_assigned(&assigned, &(struct proto_assigned){ .pid = (uint32_t)worker->pid });
                client_send(client, PROTO_ASSIGNED, &assigned, &(struct fdset){ 1, { worker->pidfd } });
                r = worker_assign(worker, payload, fds);
                if (r == 0) {
                        worker->client = client;
                        client->worker = worker;
                        fds->n_fds--;
                        return 0;
                }
                log_warn("pool=%s pid=%d lost at handoff: %s", pool_name(pool->pool), worker->pid, strerror(-r));
                pool_finished(policy, loop_now_usec());
                worker_dismiss(worker);
        }
        fds->n_fds--;
        return POOL_EMPTY;
}

static void handle_run(struct server *server, struct client *client, struct message *message) {
        const struct wire_writer payload = {
                .data = (uint8_t *)message->payload.at,
                .n_bytes = (size_t)(message->payload.end - message->payload.at),
        };
        const int *client_fds = message->fds.fds + PROTO_RUN_FD_FIRST;
        struct served_pool *pool;
        struct proto_run run;
        struct fit_miss miss;
        int r;

        if (proto_get_run(&message->payload, &run) < 0 ||
            run.fd_numbers.count != message->fds.n_fds - PROTO_RUN_FD_FIRST) {
                on_client_closed(client, server);
                return;
        }
        if (server->draining) {
                refuse(server, client, "stopping", "poold is stopping");
                return;
        }
        r = choose_pool(server, &run, client_fds, &pool, &miss);
        if (r == 0) {
                r = hand_over(pool, client, &payload, &message->fds);
                if (r == POOL_EMPTY)
                        explain_empty(pool->pool, &miss);
        }
        if (r == 0) {
                stats_hit(&pool->stats, loop_now_usec() - client->accepted_usec);
                client_hold(client);
        } else if (r > 0) {
                stats_miss(&pool->stats, miss.reason);
                refuse(server, client, miss.reason, miss.detail);
        } else {
                log_err("cannot serve a run: %s", strerror(-r));
                refuse(server, client, "error", strerror(-r));
        }
        run_pools(server);
}

/* --- Questions and orders --- */

static void send_workers(struct client *client, const struct pool *pool) {
        uint64_t now_usec = loop_now_usec();

        for (enum pool_worker_state state = POOL_STARTING; state < POOL_DYING; state++) {
                struct pool_worker *policy;

                TAILQ_FOREACH(policy, pool_workers(pool, state), link) {
                        _cleanup_writer_ struct wire_writer payload = { 0 };

                        proto_put_status_worker(&payload, &(struct proto_status_worker){
                                                                  .pid = (uint32_t)worker_of(policy)->pid,
                                                                  .state = pool_worker_state_name(state),
                                                                  .age_usec = now_usec - policy->spawned_usec,
                                                          });
                        client_send(client, PROTO_STATUS_WORKER, &payload, NULL);
                }
        }
}

static void send_misses(struct client *client, const struct stats *stats) {
        for (size_t i = 0; i < stats->n_misses; i++) {
                _cleanup_writer_ struct wire_writer payload = { 0 };

                proto_put_status_miss(&payload, &(struct proto_status_miss){
                                                        .reason = stats->misses[i].reason,
                                                        .count = stats->misses[i].count,
                                                });
                client_send(client, PROTO_STATUS_MISS, &payload, NULL);
        }
}

static void send_pool(struct client *client, const struct served_pool *served) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        const struct pool *pool = served->pool;

        proto_put_status_pool(&payload,
                              &(struct proto_status_pool){
                                      .name = pool_name(pool),
                                      .state = pool_state_name(pool),
                                      .size = pool_size(pool),
                                      .starting = pool_count(pool, POOL_STARTING),
                                      .idle = pool_count(pool, POOL_IDLE),
                                      .busy = pool_count(pool, POOL_BUSY),
                                      .hits = served->stats.n_hits,
                                      .warmup_ms = pool_warmup_ms(pool),
                                      .handoff_p50_usec = stats_handoff_usec(&served->stats, 50),
                                      .handoff_p99_usec = stats_handoff_usec(&served->stats, 99),
                                      .last_error = pool_last_error(pool),
                              });
        client_send(client, PROTO_STATUS_POOL, &payload, NULL);
        send_misses(client, &served->stats);
        send_workers(client, pool);
}

static void send_done(struct client *client, const char *error) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_done(&payload, &(struct proto_done){ .error = error });
        client_send(client, PROTO_DONE, &payload, NULL);
}

static void handle_status(struct server *server, struct client *client, struct message *message) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        struct proto_status request;

        if (proto_get_status(&message->payload, &request) < 0) {
                on_client_closed(client, server);
                return;
        }
        proto_put_status_head(&payload,
                              &(struct proto_status_head){
                                      .pid = (uint32_t)getpid(),
                                      .version = POOLD_VERSION,
                                      .uptime_usec = loop_now_usec() - server->started_usec,
                                      .socket = server->listener ? listener_path(server->listener) : "",
                                      .state = server->draining ? "stopping" : "running",
                              });
        client_send(client, PROTO_STATUS_HEAD, &payload, NULL);
        for (size_t i = 0; i < server->n_pools; i++)
                send_pool(client, &server->pools[i]);
        send_done(client, "");
        client_finish(client);
}

static void handle_stop(struct server *server, struct client *client, struct message *message) {
        struct proto_stop request;

        if (proto_get_stop(&message->payload, &request) < 0) {
                on_client_closed(client, server);
                return;
        }
        /* The connection stays open until we are gone: that is what the client waits for. */
        send_done(client, "");
        client_hold(client);
        server_drain(server, request.flags & PROTO_STOP_NOW);
}

static void on_client_request(struct client *client, struct message *message, void *data) {
        struct server *server = data;

        switch (message->type) {
        case PROTO_RUN:
                handle_run(server, client, message);
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
                            loop_now_usec() + server->settings.config->request_timeout_sec * SEC_USEC, &client_events,
                            server);
        if (!client) {
                log_err("cannot take a client: out of memory");
                return;
        }
        TAILQ_INSERT_TAIL(&server->clients, client, link);
        client_start(client);
}

static void on_listener(void *data, unsigned events) {
        struct server *server = data;

        (void)events;
        for (int i = 0; i < ACCEPTS_A_TURN && server->listener; i++) {
                int fd = accept4(listener_fd(server->listener), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd >= 0) {
                        add_client(server, fd);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                        log_warn("cannot accept clients for a moment: %s", strerror(errno));
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

/* --- Workers --- */

/* Writes a text of several lines to the log, each line with its identity. */
static void log_text(const char *pool, pid_t pid, const char *text) {
        while (*text) {
                int length = (int)strcspn(text, "\n");

                log_warn("pool=%s pid=%d | %.*s", pool, pid, length, text);
                text += length + (text[length] == '\n');
        }
}

static void on_worker_ready(struct worker *worker, const struct proto_ready *ready, void *data) {
        struct server *server = data;

        if (worker->policy.state != POOL_STARTING)
                return;
        pool_ready(&worker->policy, loop_now_usec());
        log_info("pool=%s pid=%d ready warmup_ms=%u interpreter_ms=%u modules_ms=%u", pool_name(worker->policy.pool),
                 worker->pid, pool_warmup_ms(worker->policy.pool), (unsigned)(ready->init_usec / 1000),
                 (unsigned)(ready->preload_usec / 1000));
        run_pools(server);
}

static void on_worker_failed(struct worker *worker, const struct proto_failed *failed, void *data) {
        struct server *server = data;
        const char *name = pool_name(worker->policy.pool);

        if (worker->policy.state != POOL_STARTING)
                return;
        log_warn("pool=%s pid=%d cannot import module=%s", name, worker->pid, failed->module);
        log_text(name, worker->pid, failed->traceback);
        pool_failed(&worker->policy, failed->traceback, loop_now_usec());
        worker_dismiss(worker);
        run_pools(server);
}

static void on_worker_finished(struct worker *worker, const struct proto_finished *finished, void *data) {
        if (finished->declined[0]) {
                struct served_pool *pool = served_pool_of(data, worker);

                stats_miss(&pool->stats, finished->declined);
                pool->stats.n_hits--;
        }
}

static void describe_end(int wait_status, char *ret_text, size_t n_text) {
        if (WIFSIGNALED(wait_status))
                snprintf(ret_text, n_text, "the worker died by signal %d (%s) before it was ready",
                         WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
        else
                snprintf(ret_text, n_text, "the worker exited with status %d before it was ready",
                         WEXITSTATUS(wait_status));
}

static void on_worker_gone(struct worker *worker, int wait_status, void *data) {
        struct server *server = data;
        const char *name = pool_name(worker->policy.pool);
        struct client *client = worker->client;
        char error[128];

        describe_end(wait_status, error, sizeof(error));
        if (worker->policy.state == POOL_STARTING || worker->policy.state == POOL_IDLE)
                log_warn("pool=%s pid=%d ended unasked in state %s, wait status 0x%x", name, worker->pid,
                         pool_worker_state_name(worker->policy.state), (unsigned)wait_status);
        if (client) {
                _cleanup_writer_ struct wire_writer payload = { 0 };

                proto_put_ended(&payload, &(struct proto_ended){ .wait_status = (uint32_t)wait_status });
                client_send(client, PROTO_GONE, &payload, NULL);
                client->worker = NULL;
                client_finish(client);
        }
        pool_remove(&worker->policy, error, loop_now_usec());
        worker_free(worker);
        run_pools(server);
}

static const struct worker_events worker_events = {
        .ready = on_worker_ready,
        .failed = on_worker_failed,
        .finished = on_worker_finished,
        .gone = on_worker_gone,
};

/* --- Pools --- */

static int spawn_worker(struct pool *pool, void *data, uint64_t now_usec) {
        struct served_pool *served = data;
        struct server *server = served->server;
        char *modules_owned = NULL, *path_owned = NULL;
        struct worker_command command = {
                .program = server->settings.worker_program,
                .envp = served->envp,
                .setup.pool = served->config->name,
        };
        struct worker *worker;
        int r;

        r = wire_strv_from_array(served->config->modules, &command.setup.modules, &modules_owned);
        if (r == 0)
                r = wire_strv_from_array(served->config->path, &command.setup.path, &path_owned);
        if (r == 0)
                r = worker_new(server->loop, &command, &worker_events, server, &worker);
        free(modules_owned);
        free(path_owned);
        if (r < 0) {
                log_err("pool=%s cannot start %s: %s", pool_name(pool), command.program, strerror(-r));
                return r;
        }
        pool_add(pool, &worker->policy, now_usec);
        log_debug("pool=%s pid=%d starting", pool_name(pool), worker->pid);
        return 0;
}

static void dismiss_worker(struct pool_worker *policy, void *data) {
        (void)data;
        worker_dismiss(worker_of(policy));
}

static const struct pool_actions pool_actions = {
        .spawn = spawn_worker,
        .dismiss = dismiss_worker,
};

static uint32_t count_workers(const struct server *server, enum pool_worker_state state) {
        uint32_t n = 0;

        for (size_t i = 0; i < server->n_pools; i++)
                n += pool_count(server->pools[i].pool, state);
        return n;
}

static void tell_systemd(struct server *server) {
        size_t n_ready = 0;

        for (size_t i = 0; i < server->n_pools; i++)
                n_ready += strcmp(pool_state_name(server->pools[i].pool), "ready") == 0 ? 1 : 0;
        if (server->draining || n_ready == server->n_ready_told)
                return;
        server->n_ready_told = n_ready;
        systemd_notify(server->settings.systemd, "STATUS=%zu of %zu pools ready", n_ready, server->n_pools);
}

/* Lets every pool do what is due, and ends the loop when there is nothing left to wait for. */
static void run_pools(struct server *server) {
        const uint32_t max_starting = server->settings.config->max_starting;
        uint64_t next_usec = LOOP_NEVER;

        for (size_t i = 0; i < server->n_pools; i++) {
                uint32_t n_starting = count_workers(server, POOL_STARTING);
                uint32_t n_spawns = n_starting < max_starting ? max_starting - n_starting : 0;
                uint64_t pool_usec = pool_run(server->pools[i].pool, n_spawns, loop_now_usec());

                next_usec = pool_usec < next_usec ? pool_usec : next_usec;
        }
        loop_set_deadline(server->pool_timer, next_usec);
        tell_systemd(server);
        if (server->draining && !count_workers(server, POOL_BUSY) && !count_workers(server, POOL_DYING))
                loop_stop(server->loop);
}

static void on_pool_timer(void *data, unsigned events) {
        (void)events;
        run_pools(data);
}

/* Our own environment, what is meant for poold alone left out, with the pool's variables in it. */
static char **make_environment(const struct config_pool *config) {
        static const char *const ours[] = { "INVOCATION_ID=", "JOURNAL_STREAM=", "MANAGERPID=", "SYSTEMD_EXEC_PID=" };
        size_t n_environ = 0, n_config = 0, n = 0;
        char **envp;

        while (environ[n_environ])
                n_environ++;
        while (config->env[n_config])
                n_config++;
        envp = calloc(n_environ + n_config + 1, sizeof(*envp));
        if (!envp)
                return NULL;
        for (size_t i = 0; i < n_environ; i++) {
                bool left_out = false;

                for (size_t j = 0; j < sizeof(ours) / sizeof(ours[0]); j++)
                        left_out |= strncmp(environ[i], ours[j], strlen(ours[j])) == 0;
                for (size_t j = 0; j < n_config; j++)
                        left_out |= strncmp(environ[i], config->env[j], strcspn(config->env[j], "=") + 1) == 0;
                if (!left_out)
                        envp[n++] = environ[i];
        }
        memcpy(envp + n, config->env, n_config * sizeof(*envp));
        return envp;
}

static int add_pool(struct server *server, const struct config_pool *config) {
        struct served_pool *served = &server->pools[server->n_pools];
        const struct pool_settings settings = {
                .size = config->size,
                .max_workers = config->max_workers,
                .start_timeout_sec = config->start_timeout_sec,
        };

        served->server = server;
        served->config = config;
        served->pool = pool_new(config->name, &settings, &pool_actions, served);
        if (!served->pool)
                return -ENOMEM;
        server->n_pools++;
        served->envp = make_environment(config);
        if (served->envp)
                served->fit = fit_new(served->envp);
        return served->fit ? 0 : -ENOMEM;
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
        server->pools = calloc(server->settings.config->n_pools, sizeof(*server->pools));
        if (!server->accept_timer || !server->pool_timer || !server->drain_timer || !server->accept_source ||
            !server->pools)
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
        TAILQ_INIT(&server->clients);
        r = set_up(server);
        if (r < 0) {
                server_free(server);
                return r;
        }
        run_pools(server);
        *ret_server = server;
        return 0;
}

static void free_pool(struct served_pool *served) {
        for (enum pool_worker_state state = POOL_STARTING; state < POOL_N_STATES; state++) {
                struct pool_worker *policy;

                while ((policy = TAILQ_FIRST(pool_workers(served->pool, state)))) {
                        pool_remove(policy, "", loop_now_usec());
                        worker_free(worker_of(policy));
                }
        }
        served->pool = pool_free(served->pool);
        served->fit = fit_free(served->fit);
        stats_fini(&served->stats);
        free(served->envp);
}

struct server *server_free(struct server *server) {
        struct client *client;

        while ((client = TAILQ_FIRST(&server->clients))) {
                TAILQ_REMOVE(&server->clients, client, link);
                client_free(client);
        }
        for (size_t i = 0; i < server->n_pools; i++)
                free_pool(&server->pools[i]);
        free(server->pools);
        loop_source_free(server->accept_source);
        loop_source_free(server->accept_timer);
        loop_source_free(server->pool_timer);
        loop_source_free(server->drain_timer);
        listener_free(server->listener);
        free(server);
        return NULL;
}

static void end_runs(struct server *server) {
        for (size_t i = 0; i < server->n_pools; i++) {
                struct pool_worker *policy;

                TAILQ_FOREACH(policy, pool_workers(server->pools[i].pool, POOL_BUSY), link)
                        worker_hang_up(worker_of(policy));
        }
}

void server_drain(struct server *server, bool now) {
        const uint32_t timeout_sec = server->settings.config->drain_timeout_sec;

        if (now)
                end_runs(server);
        if (!server->draining) {
                server->draining = true;
                log_info("stopping, %u scripts running", count_workers(server, POOL_BUSY));
                systemd_notify(server->settings.systemd, "STOPPING=1\nSTATUS=waiting for %u running scripts",
                               count_workers(server, POOL_BUSY));
                server->accept_source = loop_source_free(server->accept_source);
                server->listener = listener_free(server->listener);
                for (size_t i = 0; i < server->n_pools; i++)
                        pool_drain(server->pools[i].pool);
                loop_set_deadline(server->drain_timer, loop_now_usec() + timeout_sec * SEC_USEC);
        }
        run_pools(server);
}
