#include "runs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cgroup.h"
#include "identity.h"
#include "lib/log.h"
#include "pool.h"
#include "stats.h"

#define SEC_USEC UINT64_C(1000000)
/* execve(2) takes 6 MB of arguments and environment, 9 bytes for the shortest: no client has more, honestly. */
#define MAX_STRINGS ((6 << 20) / 9)

/* A run that waits for a worker of a pool. */
struct waiting {
        TAILQ_ENTRY(waiting) link;
        struct runs *runs;
        struct client *client;
        struct live_pool *pool;
        bool fits_others;           /* another pool than that, too */
        struct wire_writer payload; /* RUN's */
        struct fdset fds;
        uint64_t since_usec;
        struct loop_source *deadline;
};
TAILQ_HEAD(waiting_list, waiting);

struct runs {
        struct loop *loop;
        struct pools *pools;
        struct identity *identity;
        struct cgroups *cgroups;
        struct waiting_list queue;
        size_t n_fitting_others;   /* of those who wait */
        uint64_t idle_pools;       /* a number for those that had idle workers after the last turn */
        bool has_other_idle_pools; /* others have now */
        bool draining;
};

struct runs *runs_new(struct loop *loop, struct pools *pools) {
        struct runs *runs = calloc(1, sizeof(*runs));

        if (!runs)
                return NULL;
        runs->loop = loop;
        runs->pools = pools;
        runs->identity = identity_new();
        runs->cgroups = cgroups_new("/sys/fs/cgroup");
        TAILQ_INIT(&runs->queue);
        return runs->identity && runs->cgroups ? runs : runs_free(runs);
}

struct runs *runs_free(struct runs *runs) {
        if (!runs)
                return NULL;
        cgroups_free(runs->cgroups);
        identity_free(runs->identity);
        free(runs);
        return NULL;
}

/* --- The choice of a pool --- */

/* Does @run leave it open which pool serves it, or name this one? And does that serve any more? */
static bool may_serve(const struct live_pool *pool, const struct proto_run *run) {
        const struct pool *policy = live_pool_policy(pool);

        return !pool_is_draining(policy) && (!run->pool[0] || strcmp(run->pool, pool_name(policy)) == 0);
}

/* What runs what no worker does: the interpreter that a worker would have been; "": the client finds that out. */
static const char *python_for(const struct runs *runs, const struct proto_run *run) {
        for (size_t i = 0; i < pools_count(runs->pools); i++) {
                const struct live_pool *pool = pools_at(runs->pools, i);

                if (may_serve(pool, run) && live_pool_has_interpreter(pool, run))
                        return live_pool_python(pool);
        }
        return "";
}

/* How near the pool that has said so is to what the run asks for: of several misses the nearest one's counts. */
static int nearness(const struct decline *miss) {
        if (strcmp(miss->reason, "interpreter") == 0)
                return 0;
        return strcmp(miss->reason, "options") == 0 ? 1 : 2;
}

static bool has_idle(const struct live_pool *pool) {
        return pool_count(live_pool_policy(pool), POOL_IDLE);
}

/* Can a worker of @pool be expected at all? */
static bool is_worth_waiting_for(const struct live_pool *pool) {
        return !pool_is_failing(live_pool_policy(pool)) && live_pool_config(pool)->max_workers;
}

/* As an old generation is, whose new one fails. */
static bool is_better_to_wait_for(const struct live_pool *pool, const struct live_pool *other) {
        return is_worth_waiting_for(pool) && !is_worth_waiting_for(other);
}

/*
 * How long a run that found no worker is to wait for one of @pool. By default no longer than python3 takes to start at
 * all, and only if a worker can be expected by then: nothing is known of what the script would import.
 */
static uint64_t wait_usec(const struct live_pool *pool, uint64_t now_usec) {
        const struct config_pool *config = live_pool_config(pool);
        uint64_t expected_usec, most_usec = live_pool_interpreter_usec(pool) / 2;

        if (config->on_empty == CONFIG_ON_EMPTY_WAIT)
                return is_worth_waiting_for(pool) ? config->wait_timeout_sec * SEC_USEC : 0;
        expected_usec = pool_expected_usec(live_pool_policy(pool), live_pool_n_waiting(pool));
        return expected_usec <= now_usec + most_usec ? most_usec : 0;
}

/*
 * The pool that the run names, else the first that fits and has an idle worker, else the first that fits and may have
 * one, else the first that fits.
 * Returns NULL if none does.
 */
static struct live_pool *find_fitting(const struct runs *runs, const struct fit_run *candidate) {
        struct live_pool *fitting = NULL;

        for (size_t i = 0; i < pools_count(runs->pools); i++) {
                struct live_pool *pool = pools_at(runs->pools, i);

                if (!may_serve(pool, candidate->run) ||
                    (fitting && !has_idle(pool) && !is_better_to_wait_for(pool, fitting)))
                        continue;
                if (live_pool_check(pool, candidate, NULL) == DECLINED)
                        continue;
                fitting = pool;
                if (has_idle(pool))
                        break;
        }
        return fitting;
}

/* Of a run that no pool fits, why not. Returns the pool that this miss counts for. */
static struct live_pool *find_miss(const struct runs *runs, const struct fit_run *candidate,
                                   struct decline *ret_miss) {
        struct live_pool *missing = NULL;

        for (size_t i = 0; i < pools_count(runs->pools); i++) {
                struct live_pool *pool = pools_at(runs->pools, i);
                struct decline miss;

                if (!may_serve(pool, candidate->run) || live_pool_check(pool, candidate, &miss) == 0 ||
                    (missing && nearness(&miss) <= nearness(ret_miss)))
                        continue;
                missing = pool;
                *ret_miss = miss;
        }
        if (missing)
                return missing;
        decline(ret_miss, "pool", "there is no pool \"%.100s\"", candidate->run->pool);
        return pools_at(runs->pools, 0);
}

/* Returns 0 and the pool; or DECLINED, why, and the pool that the miss counts for; or negative errno. */
static int choose_pool(const struct runs *runs, const struct proto_run *run, struct live_pool **ret_pool,
                       struct decline *ret_miss) {
        _cleanup_fit_run_ struct fit_run candidate;

        if (fit_run_init(&candidate, run) < 0)
                return -ENOMEM;
        *ret_pool = find_fitting(runs, &candidate);
        if (*ret_pool)
                return 0;
        *ret_pool = find_miss(runs, &candidate, ret_miss);
        return DECLINED;
}

/* The same, the client itself being looked at first. What is wrong with that counts for the first pool. */
static int choose(const struct runs *runs, const struct client *client, const struct proto_run *run,
                  struct live_pool **ret_pool, struct decline *ret_miss) {
        int r;

        pools_look_at_files(runs->pools);
        r = identity_check(runs->identity, channel_fd(client->channel), &client->peer, run, ret_miss);

        if (r == 0)
                r = cgroups_check(runs->cgroups, run->control_groups, loop_now_usec(), ret_miss);
        if (r == 0)
                return choose_pool(runs, run, ret_pool, ret_miss);
        *ret_pool = pools_at(runs->pools, 0);
        return r;
}

/* --- Answers --- */

static void refuse(const struct runs *runs, struct client *client, const struct proto_run *run, const char *reason,
                   const char *detail) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_refused(&payload, &(struct proto_refused){
                                            .reason = reason,
                                            .detail = detail,
                                            .python = python_for(runs, run),
                                    });
        client_send(client, PROTO_REFUSED, &payload, NULL);
        client_finish(client);
}

static void deny(struct client *client, const struct decline *miss) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_denied(&payload, &(struct proto_denied){ .reason = miss->reason, .detail = miss->detail });
        client_send(client, PROTO_DENIED, &payload, NULL);
        client_finish(client);
}

/* It finds no worker, and does not wait for one, or no longer. */
static void refuse_empty(const struct runs *runs, struct client *client, const struct proto_run *run,
                         struct live_pool *pool) {
        struct decline miss = { .reason = "empty" };

        live_pool_check_idle(pool, &miss);
        live_pool_note_empty(pool);
        stats_miss(live_pool_stats(pool), miss.reason);
        if (live_pool_config(pool)->on_empty == CONFIG_ON_EMPTY_FAIL)
                deny(client, &miss);
        else
                refuse(runs, client, run, miss.reason, miss.detail);
}

static void refuse_error(const struct runs *runs, struct client *client, const struct proto_run *run, int error) {
        log_err("cannot serve a run: %s", strerror(-error));
        refuse(runs, client, run, "error", strerror(-error));
}

/* --- The queue --- */

static bool fits_others(const struct runs *runs, const struct proto_run *run, const struct live_pool *pool) {
        _cleanup_fit_run_ struct fit_run candidate;

        if (fit_run_init(&candidate, run) < 0)
                return false;
        for (size_t i = 0; i < pools_count(runs->pools); i++) {
                const struct live_pool *other = pools_at(runs->pools, i);

                if (other != pool && may_serve(other, run) && live_pool_check(other, &candidate, NULL) == 0)
                        return true;
        }
        return false;
}

/* @pool is the one that it waits for; NULL: none any more. */
static void set_pool(struct waiting *waiting, const struct proto_run *run, struct live_pool *pool) {
        struct runs *runs = waiting->runs;

        if (waiting->pool)
                live_pool_count_waiting(waiting->pool, -1);
        if (pool)
                live_pool_count_waiting(pool, 1);
        waiting->pool = pool;
        runs->n_fitting_others -= waiting->fits_others ? 1 : 0;
        waiting->fits_others = pool && fits_others(runs, run, pool);
        runs->n_fitting_others += waiting->fits_others ? 1 : 0;
}

/* It no longer waits. */
static void leave(struct waiting *waiting) {
        stats_wait(live_pool_stats(waiting->pool), loop_now_usec() - waiting->since_usec);
        set_pool(waiting, NULL, NULL);
        TAILQ_REMOVE(&waiting->runs->queue, waiting, link);
        waiting->client->waiting = NULL;
        waiting->deadline = loop_source_free(waiting->deadline);
}

static void waiting_free(struct waiting *waiting) {
        loop_source_free(waiting->deadline);
        fdset_fini(&waiting->fds);
        wire_writer_fini(&waiting->payload);
        free(waiting);
}

/* The run that waits; its fields are borrowed from what it has sent. */
static struct proto_run waiting_run(const struct waiting *waiting) {
        struct wire_reader reader;
        struct proto_run run = { 0 };

        wire_reader_init(&reader, waiting->payload.data, waiting->payload.n_bytes);
        proto_get_run(&reader, &run); /* as it did when it came */
        return run;
}

static void give_up(struct waiting *waiting) {
        const struct proto_run run = waiting_run(waiting);
        struct live_pool *pool = waiting->pool;

        leave(waiting);
        refuse_empty(waiting->runs, waiting->client, &run, pool);
        waiting_free(waiting);
}

static void on_deadline(void *data, unsigned events) {
        struct waiting *waiting = data;

        (void)events;
        give_up(waiting);
}

static struct waiting *waiting_new(struct runs *runs, struct client *client, const struct wire_writer *payload) {
        struct waiting *waiting = calloc(1, sizeof(*waiting));

        if (!waiting)
                return NULL;
        waiting->runs = runs;
        waiting->client = client;
        waiting->since_usec = loop_now_usec();
        waiting->deadline = loop_add_timer(runs->loop, on_deadline, waiting);
        waiting->payload.data = malloc(payload->n_bytes);
        if (!waiting->deadline || !waiting->payload.data) {
                waiting_free(waiting);
                return NULL;
        }
        memcpy(waiting->payload.data, payload->data, payload->n_bytes);
        waiting->payload.n_bytes = waiting->payload.n_allocated = payload->n_bytes;
        return waiting;
}

/* Puts a run at the end of the queue. Returns 0 or -ENOMEM. */
static int enqueue(struct runs *runs, struct client *client, struct message *message, const struct proto_run *run,
                   const struct wire_writer *payload, struct live_pool *pool, uint64_t for_usec) {
        struct waiting *waiting = waiting_new(runs, client, payload);
        _cleanup_writer_ struct wire_writer answer = { 0 };

        if (!waiting || loop_set_deadline(waiting->deadline, waiting->since_usec + for_usec) < 0) {
                if (waiting)
                        waiting_free(waiting);
                return -ENOMEM;
        }
        waiting->fds = message->fds;
        fdset_init(&message->fds); /* they have moved */
        TAILQ_INSERT_TAIL(&runs->queue, waiting, link);
        client->waiting = waiting;
        set_pool(waiting, run, pool);
        client_hold(client);
        proto_put_waiting(&answer, &(struct proto_waiting){
                                           .timeout_ms = (uint32_t)(for_usec / 1000) + PROTO_REPLY_MS,
                                   });
        client_send(client, PROTO_WAITING, &answer, NULL);
        return 0;
}

/* --- Serving --- */

/* For a client that wants to know when. */
static void set_stages(const struct client *client, const struct wire_writer *payload) {
        proto_set_stages(payload, (const uint64_t[PROTO_N_STAGES]){
                                          [PROTO_STAGE_ACCEPTED] = client->accepted_usec * 1000,
                                          [PROTO_STAGE_RECEIVED] = client->received_usec * 1000,
                                          [PROTO_STAGE_ASSIGNS] = loop_now_usec() * 1000,
                                  });
}

/* Once a worker has the run, it and the client need nobody else. Returns as live_pool_assign(). */
static int hand_over(struct live_pool *pool, struct client *client, const struct wire_writer *payload,
                     struct fdset *fds, uint64_t waited_usec) {
        int r;

        if (client->received_usec)
                set_stages(client, payload);
        r = live_pool_assign(pool, client->channel, payload, fds);
        if (r == 0) {
                stats_hit(live_pool_stats(pool), loop_now_usec() - client->accepted_usec - waited_usec);
                client_close(client);
        }
        return r;
}

/* The pool for a run that @pool, whose idle workers have all turned out to have died, was to have. */
static struct live_pool *choose_after(const struct runs *runs, const struct proto_run *run,
                                      struct live_pool *pool) {
        struct live_pool *other;
        struct decline miss;

        if (choose_pool(runs, run, &other, &miss) == 0 && (has_idle(other) || is_better_to_wait_for(other, pool)))
                return other;
        return pool;
}

static void serve(struct runs *runs, struct client *client, struct message *message, const struct proto_run *run,
                  const struct wire_writer *payload) {
        struct live_pool *pool;
        struct decline miss;
        uint64_t for_usec;
        int r;

        r = choose(runs, client, run, &pool, &miss);
        while (r == 0 && has_idle(pool) && !live_pool_n_waiting(pool)) {
                r = hand_over(pool, client, payload, &message->fds, 0);
                if (r == 0)
                        return;
                if (r == POOL_EMPTY) {
                        pool = choose_after(runs, run, pool);
                        r = 0;
                }
        }
        if (r == DECLINED) {
                stats_miss(live_pool_stats(pool), miss.reason);
                refuse(runs, client, run, miss.reason, miss.detail);
        }
        if (r == 0) {
                for_usec = wait_usec(pool, loop_now_usec());
                if (for_usec)
                        r = enqueue(runs, client, message, run, payload, pool, for_usec);
                else
                        refuse_empty(runs, client, run, pool);
        }
        if (r < 0)
                refuse_error(runs, client, run, r);
}

/* Does it say of its process what a process can be? What a peer sends must not cost a worker. */
static bool is_sound(const struct proto_run *run, size_t n_fds) {
        const size_t n_terminals = run->terminal == PROTO_TERMINAL_NONE ? 0 : 1;

        if (run->terminal >= PROTO_N_TERMINALS || (run->terminal_numbers.count && !n_terminals) ||
            (size_t)run->fd_numbers.count + n_terminals + PROTO_RUN_FD_FIRST != n_fds ||
            (run->stages.count && run->stages.count != PROTO_N_STAGES) || run->limits.count != 2 * RLIM_NLIMITS ||
            run->nice < 1 || run->nice > 40 || run->priority > 99 || run->io_priority > UINT16_MAX ||
            strlen(run->control_groups) >= PROTO_CGROUP_BYTES ||
            (uint64_t)run->argv.count + run->env.count > MAX_STRINGS)
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

void runs_serve(struct runs *runs, struct client *client, struct message *message) {
        const struct wire_writer payload = {
                .data = (uint8_t *)message->payload.at,
                .n_bytes = (size_t)(message->payload.end - message->payload.at),
        };
        struct proto_run run;
        bool is_run = get_run(message, &run);

        if (is_run && run.stages.count)
                client->received_usec = loop_now_usec();
        if (!is_run)
                client_close(client);
        else if (runs->draining)
                refuse(runs, client, &run, "stopping", "poold is stopping");
        else
                serve(runs, client, message, &run, &payload);
}

void runs_explain(struct runs *runs, struct client *client, struct message *message) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        struct live_pool *pool;
        struct proto_run run;
        struct decline miss;
        int r;

        if (!get_run(message, &run)) {
                client_close(client);
                return;
        }
        r = choose(runs, client, &run, &pool, &miss);
        if (r == 0) {
                miss = (struct decline){ .reason = "" }; /* another pool's */
                if (!wait_usec(pool, loop_now_usec()))
                        r = live_pool_check_idle(pool, &miss);
        }
        if (r < 0) {
                refuse_error(runs, client, &run, r);
                return;
        }
        if (r == POOL_EMPTY && live_pool_config(pool)->on_empty == CONFIG_ON_EMPTY_FAIL) {
                deny(client, &miss);
                return;
        }
        proto_put_explained(&payload,
                            &(struct proto_explained){
                                    .pool = pool_name(live_pool_policy(pool)),
                                    .reason = miss.reason,
                                    .detail = miss.detail,
                                    .python = miss.reason[0] ? python_for(runs, &run) : live_pool_python(pool),
                            });
        client_send(client, PROTO_EXPLAINED, &payload, NULL);
        client_finish(client);
}

/*
 * Has it a worker for a run that waits for one, or will it have? That one start fails may be somebody's kill, or a file
 * that was half written: then there are better things to do than to have all those who wait run python3 at once.
 */
static bool can_serve(const struct live_pool *pool) {
        const struct pool *policy = live_pool_policy(pool);

        if (pool_is_draining(policy))
                return false;
        return has_idle(pool) || (pool_failures(policy) < 2 && live_pool_config(pool)->max_workers);
}

/* None of the pools is for it any more. */
static void turn_down(struct waiting *waiting, struct live_pool *pool, const struct decline *miss) {
        const struct proto_run run = waiting_run(waiting);

        leave(waiting);
        stats_miss(live_pool_stats(pool), miss->reason);
        refuse(waiting->runs, waiting->client, &run, miss->reason, miss->detail);
        waiting_free(waiting);
}

/* Of the pools there are now. Returns false if none is for it any more, and it is gone. */
static bool choose_again(struct waiting *waiting) {
        const struct proto_run run = waiting_run(waiting);
        struct live_pool *pool;
        struct decline miss;
        int r;

        r = choose_pool(waiting->runs, &run, &pool, &miss);
        if (r == 0)
                set_pool(waiting, &run, pool);
        if (r == 0 && can_serve(pool))
                return true;
        if (r == DECLINED)
                turn_down(waiting, pool, &miss);
        else
                give_up(waiting);
        return false;
}

/* It gets the first worker of any pool that it fits, not only of the one that it was put down for. */
static bool may_choose_again(const struct waiting *waiting) {
        return waiting->runs->has_other_idle_pools && waiting->fits_others && !has_idle(waiting->pool);
}

/* Returns whether it waits no longer. */
static bool turn(struct waiting *waiting) {
        const uint64_t waited_usec = loop_now_usec() - waiting->since_usec;
        struct proto_run run;
        int r;

        if ((!can_serve(waiting->pool) || may_choose_again(waiting)) && !choose_again(waiting))
                return true;
        if (!has_idle(waiting->pool))
                return false;
        r = hand_over(waiting->pool, waiting->client, &waiting->payload, &waiting->fds, waited_usec);
        if (r >= 0)
                return r == 0;
        run = waiting_run(waiting);
        leave(waiting);
        refuse_error(waiting->runs, waiting->client, &run, r);
        waiting_free(waiting);
        return true;
}

/* Calls @visit for each that waits. It may end the one that it is called for. */
static void for_each(struct runs *runs, void (*visit)(struct waiting *waiting)) {
        struct waiting *waiting, *next;

        for (waiting = TAILQ_FIRST(&runs->queue); waiting; waiting = next) {
                next = TAILQ_NEXT(waiting, link);
                visit(waiting);
        }
}

static uint64_t number_idle_pools(const struct runs *runs) {
        uint64_t number = 0;

        for (size_t i = 0; i < pools_count(runs->pools); i++)
                number = number * UINT64_C(1099511628211) + (has_idle(pools_at(runs->pools, i)) ? 2 : 1);
        return number;
}

/* Is there a worker for one of those who wait, or a pool that they must leave? */
static bool is_turn_due(const struct runs *runs) {
        if (runs->has_other_idle_pools && runs->n_fitting_others)
                return true;
        for (size_t i = 0; i < pools_count(runs->pools); i++) {
                const struct live_pool *pool = pools_at(runs->pools, i);

                if (live_pool_n_waiting(pool) && (has_idle(pool) || !can_serve(pool)))
                        return true;
        }
        return false;
}

static bool look_for_turn(struct runs *runs) {
        runs->has_other_idle_pools = number_idle_pools(runs) != runs->idle_pools;
        return is_turn_due(runs);
}

static void take_turns(struct runs *runs) {
        bool is_due = look_for_turn(runs);
        struct waiting *waiting, *next;

        for (waiting = TAILQ_FIRST(&runs->queue); waiting && is_due; waiting = next) {
                next = TAILQ_NEXT(waiting, link);
                if (turn(waiting))
                        is_due = look_for_turn(runs);
        }
}

/*
 * What was idle after the last turn fits none of those that waited then, and those that have come since have been told.
 * So they are not all compared with it again each time.
 */
void runs_turn(struct runs *runs) {
        if (TAILQ_EMPTY(&runs->queue)) {
                runs->idle_pools = 0;
                return;
        }
        pools_look_at_files(runs->pools);
        take_turns(runs);
        runs->idle_pools = number_idle_pools(runs);
}

static void reconsider(struct waiting *waiting) {
        choose_again(waiting);
}

void runs_reconfigured(struct runs *runs) {
        for_each(runs, reconsider);
}

void runs_forget(struct client *client) {
        struct waiting *waiting = client->waiting;

        if (!waiting)
                return;
        leave(waiting);
        waiting_free(waiting);
}

static void turn_away(struct waiting *waiting) {
        const struct proto_run run = waiting_run(waiting);

        leave(waiting);
        refuse(waiting->runs, waiting->client, &run, "stopping", "poold is stopping");
        waiting_free(waiting);
}

void runs_drain(struct runs *runs) {
        runs->draining = true;
        for_each(runs, turn_away);
}
