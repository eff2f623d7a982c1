#include "live_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/cputime.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/pyargs.h"
#include "worker.h"

#define SEC_USEC UINT64_C(1000000)

/* So many times in a row, files may change while workers load them. */
#define MAX_CHANGED_STARTS 3

/* One worker: on the policy's lists, and as a process. */
struct member {
        struct pool_worker policy; /* first: a pool_worker is a member */
        struct live_pool *pool;
        struct worker *process;
        uint64_t warmup_cpu_usec, taken_usec; /* what it had used when it was ready; when its run began */
        char *group;                          /* the control group's name; NULL: it has none */
        bool is_watched;                      /* what it depends on is known */
};

struct live_pool {
        struct live_pool_settings settings;
        char *name;
        struct pool *policy;
        struct fit *fit;
        struct stats stats;
        struct watch_set *files;   /* what its workers depend on */
        bool is_stale;             /* that is to be learnt anew */
        uint32_t n_changed_starts; /* in a row: workers whose files have changed while they were loaded */
        uint32_t n_waiting;
        uint64_t interpreter_usec; /* what its last worker took before it imported anything; 0: not known */
        char **envp;               /* what its workers start with; the strings are borrowed */
        char **argv;               /* likewise; the strings are its own */
};

static struct member *member_of(struct pool_worker *policy) {
        return (struct member *)policy;
}

static const char *name_of(const struct member *member) {
        return pool_name(member->pool->policy);
}

static void changed(struct live_pool *pool) {
        pool->settings.changed(pool->settings.data);
}

/* --- What a worker says and does --- */

/* Writes a text of several lines to the log, each line with its identity. */
static void log_text(const struct member *member, const char *text) {
        while (*text) {
                int length = (int)strcspn(text, "\n");

                log_warn("pool=%s pid=%d | %.*s", name_of(member), worker_pid(member->process), length, text);
                text += length + (text[length] == '\n');
        }
}

static void on_ready(const struct proto_ready *ready, void *data) {
        struct member *member = data;

        if (member->policy.state != POOL_STARTING)
                return;
        member->pool->n_changed_starts = 0;
        pool_ready(&member->policy, loop_now_usec());
        member->pool->interpreter_usec = ready->init_usec;
        member->warmup_cpu_usec = cputime_usec(worker_pid(member->process));
        histogram_add(&member->pool->stats.warmup, member->policy.ready_usec - member->policy.spawned_usec);
        log_info("pool=%s pid=%d ready warmup_ms=%u interpreter_ms=%u modules_ms=%u", name_of(member),
                 worker_pid(member->process), pool_warmup_ms(member->pool->policy),
                 (unsigned)(ready->init_usec / 1000), (unsigned)(ready->preload_usec / 1000));
        changed(member->pool);
}

/* --- Changed files --- */

/* Those idle, or soon to be, that have loaded what has changed. A worker that is still loading finds it out itself. */
static bool has_stale_workers(const struct live_pool *pool) {
        const struct pool_worker *worker;

        TAILQ_FOREACH(worker, pool_workers(pool->policy, POOL_STARTING), link)
        if (((const struct member *)worker)->is_watched)
                return true;
        return pool_count(pool->policy, POOL_IDLE);
}

/* Gives up all workers but those that run a script. */
static void retire(struct live_pool *pool) {
        pool->is_stale = true;
        pool_retire(pool->policy, loop_now_usec());
}

static void on_file_changed(const char *path, void *data) {
        struct live_pool *pool = data;

        if (!has_stale_workers(pool) && pool_count(pool->policy, POOL_STARTING))
                return;
        if (!pool->is_stale)
                log_info("pool=%s files have changed, recycling idle=%u starting=%u: %s", pool_name(pool->policy),
                         pool_count(pool->policy, POOL_IDLE), pool_count(pool->policy, POOL_STARTING),
                         path ? path : "more than could be followed");
        retire(pool);
}

static void on_files(const struct proto_files *files, void *data) {
        struct member *member = data;
        struct live_pool *pool = member->pool;
        int r;

        watch_read(pool->settings.watch); /* what its modules have done themselves while they were loaded */
        if (member->policy.state != POOL_STARTING)
                return; /* and @files with it */
        r = watch_set_add(pool->files, files, pool->is_stale);
        if (r == WATCH_OVERGROWN) {
                log_info("pool=%s workers have loaded too many different files, recycling",
                         pool_name(pool->policy));
                retire(pool);
                changed(pool);
                return;
        }
        if (r < 0)
                log_err("pool=%s cannot watch its files: %s", pool_name(pool->policy), strerror(-r));
        pool->is_stale = false;
        member->is_watched = true;
        worker_watched(member->process, r != 0);
}

/* A worker has seen a mixture of old and new. That is nobody's fault, if it does not go on. */
static void on_changed_start(struct member *member, const char *path) {
        struct live_pool *pool = member->pool;
        char error[512];

        log_info("pool=%s pid=%d has changed while it was loaded: %s", pool_name(pool->policy),
                 worker_pid(member->process), path);
        if (++pool->n_changed_starts < MAX_CHANGED_STARTS) {
                retire(pool);
                changed(pool);
                return;
        }
        snprintf(error, sizeof(error), "%.400s is written each time the modules are imported", path);
        log_warn("pool=%s %s", pool_name(pool->policy), error);
        pool_failed(&member->policy, error, loop_now_usec());
        worker_dismiss(member->process);
        changed(pool);
}

static void on_failed(const struct proto_failed *failed, void *data) {
        struct member *member = data;

        if (member->policy.state != POOL_STARTING)
                return;
        if (failed->changed[0]) {
                on_changed_start(member, failed->changed);
                return;
        }
        log_warn("pool=%s pid=%d cannot import module=%s%s", name_of(member), worker_pid(member->process),
                 failed->module, failed->goes_on ? ", and goes on without it" : "");
        log_text(member, failed->traceback);
        if (failed->goes_on)
                return;
        pool_failed(&member->policy, failed->traceback, loop_now_usec());
        worker_dismiss(member->process);
        changed(member->pool);
}

static void on_declined(const struct proto_declined *declined, void *data) {
        struct member *member = data;

        stats_unhit(&member->pool->stats, declined->reason);
        if (strcmp(declined->reason, "stale") == 0) {
                log_info("pool=%s files have changed, recycling idle=%u: found by a worker", name_of(member),
                         pool_count(member->pool->policy, POOL_IDLE));
                retire(member->pool);
        }
}

static void describe_end(int wait_status, char *ret_text, size_t n_text) {
        if (WIFSIGNALED(wait_status))
                snprintf(ret_text, n_text, "the worker died by signal %d (%s)", WTERMSIG(wait_status),
                         strsignal(WTERMSIG(wait_status)));
        else
                snprintf(ret_text, n_text, "the worker exited with status %d", WEXITSTATUS(wait_status));
}

static void on_gone(int wait_status, void *data) {
        struct member *member = data;
        struct live_pool *pool = member->pool;
        char error[128];

        describe_end(wait_status, error, sizeof(error));
        if (member->policy.state == POOL_STARTING || member->policy.state == POOL_IDLE)
                log_warn("pool=%s pid=%d ended unasked in state %s, wait status 0x%x", name_of(member),
                         worker_pid(member->process), pool_worker_state_name(member->policy.state),
                         (unsigned)wait_status);
        else
                log_debug("pool=%s pid=%d ended in state %s, wait status 0x%x", name_of(member),
                          worker_pid(member->process), pool_worker_state_name(member->policy.state),
                          (unsigned)wait_status);
        pool_remove(&member->policy, error, loop_now_usec());
        worker_free(member->process);
        groups_remove(pool->settings.groups, member->group);
        free(member);
        changed(pool);
}

static const struct worker_events worker_events = {
        .ready = on_ready,
        .failed = on_failed,
        .files = on_files,
        .declined = on_declined,
        .gone = on_gone,
};

/* --- What the policy asks for --- */

/*
 * Gives the worker a control group. Returns 0, also if it can do without one and then *ret_fd is -1, or negative errno.
 */
static int add_group(struct member *member, int *ret_fd) {
        const struct live_pool_settings *settings = &member->pool->settings;
        const uint64_t memory_max_bytes = settings->pool->memory_max_bytes;
        int r;

        *ret_fd = -1;
        if (groups_problem(settings->groups))
                return 0;
        r = groups_add(settings->groups, memory_max_bytes, &member->group, ret_fd);
        if (r < 0)
                log_warn("pool=%s cannot make a control group: %s", settings->pool->name, strerror(-r));
        return memory_max_bytes ? r : 0;
}

static int start_process(struct member *member) {
        const struct live_pool_settings *settings = &member->pool->settings;
        _cleanup_fd_ int group_fd = -1;
        char *modules_owned = NULL, *path_owned = NULL;
        struct worker_command command = {
                .argv = member->pool->argv,
                .envp = member->pool->envp,
                .setup.pool = settings->pool->name,
                .setup.nice = settings->may_be_nice ? settings->pool->nice : 0,
                .setup.run_timeout_sec = settings->pool->run_timeout_sec,
                .setup.memory_max_bytes = settings->pool->memory_max_bytes,
                .setup.tolerant = settings->pool->on_module_error == CONFIG_ON_MODULE_ERROR_WARN,
        };
        struct timespec now;
        int r;

        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        command.setup.spawned_nsec = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
        r = add_group(member, &group_fd);
        command.group_fd = group_fd;
        command.setup.has_group = group_fd >= 0;
        if (r == 0)
                r = wire_strv_from_array(settings->pool->modules, &command.setup.modules, &modules_owned);
        if (r == 0)
                r = wire_strv_from_array(settings->pool->path, &command.setup.path, &path_owned);
        if (r == 0)
                r = worker_new(settings->loop, &command, &worker_events, member, &member->process);
        free(modules_owned);
        free(path_owned);
        return r;
}

static int spawn_member(struct pool *policy, void *data, uint64_t now_usec) {
        struct live_pool *pool = data;
        struct member *member = calloc(1, sizeof(*member));
        int r = -ENOMEM;

        pool->stats.n_starts++;
        if (member) {
                member->pool = pool;
                r = start_process(member);
        }
        if (r < 0) {
                log_err("pool=%s cannot start %s: %s", pool_name(policy), pool->argv[0], strerror(-r));
                if (member)
                        groups_remove(pool->settings.groups, member->group);
                free(member);
                return r;
        }
        pool_add(policy, &member->policy, now_usec);
        log_debug("pool=%s pid=%d starting", pool_name(policy), worker_pid(member->process));
        return 0;
}

static void dismiss_member(struct pool_worker *policy, void *data) {
        struct live_pool *pool = data;
        const uint32_t start_timeout_sec = pool->settings.pool->start_timeout_sec;

        if (!policy->ready_usec && loop_now_usec() >= policy->spawned_usec + start_timeout_sec * SEC_USEC)
                log_warn("pool=%s pid=%d has not imported its modules within start_timeout, %u s",
                         pool_name(pool->policy), member_pid(policy), start_timeout_sec);
        pool->stats.n_recycled += policy->ready_usec ? 1 : 0;
        worker_dismiss(member_of(policy)->process);
}

static const struct pool_actions pool_actions = {
        .spawn = spawn_member,
        .dismiss = dismiss_member,
};

/* --- Life --- */

/* Our own environment, what is meant for poold alone left out, with the pool's variables in it. */
static char **make_environment(const struct config_pool *config) {
        static const char *const ours[] = { "INVOCATION_ID=", "JOURNAL_STREAM=", "MANAGERPID=",
                                            "SYSTEMD_EXEC_PID=" };
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

/* Returns NULL. */
static char **free_command(char **argv) {
        for (size_t i = 0; argv && argv[i]; i++)
                free(argv[i]);
        free(argv);
        return NULL;
}

/*
 * The keeper's command line: the pool's interpreter, and its command line, which has its path, a word for each option
 * that acts at its start (the others are applied to each run), and the script that makes a worker of it. NULL: no memory.
 */
static char **make_command(const struct live_pool_settings *settings) {
        const struct config_pool *config = settings->pool;
        struct pyargs_cursor cursor = { 0 };
        struct pyargs_option option;
        size_t n_letters = 0, n = 0;
        int n_options = 0;
        char **argv;

        for (; config->options[n_options]; n_options++)
                n_letters += strlen(config->options[n_options]);
        argv = calloc(n_letters + 5, sizeof(*argv));
        if (!argv)
                return NULL;
        argv[n++] = strdup(settings->programs->keeper);
        argv[n++] = strdup(config->python.path);
        argv[n++] = strdup(config->python.path);
        while (pyargs_next(config->options, n_options, &cursor, &option) > 0)
                if (pyargs_is_start(&option) && asprintf(&argv[n++], "-%c%s", option.letter, option.argument) < 0)
                        argv[n - 1] = NULL;
        argv[n++] = strdup(settings->programs->script);
        while (n > 0)
                if (!argv[--n])
                        return free_command(argv);
        return argv;
}

static struct pool_settings policy_settings(const struct config_pool *config) {
        const bool is_auto = config->size == CONFIG_SIZE_AUTO;

        return (struct pool_settings){
                .min_idle = is_auto ? config->min_idle : config->size,
                .max_idle = is_auto ? config->max_idle : config->size,
                .max_workers = config->max_workers,
                .start_timeout_sec = config->start_timeout_sec,
                .max_age_sec = config->max_age_sec,
        };
}

static struct fit *make_fit(const struct config_pool *config, bool is_default, char **envp) {
        return envp ? fit_new(&(struct fit_settings){
                              .interpreter = &config->python,
                              .is_default = is_default,
                              .envp = envp,
                              .options = config->options,
                              .env_sensitive = config->env_sensitive,
                      })
                    : NULL;
}

struct live_pool *live_pool_new(const struct live_pool_settings *settings) {
        const struct pool_settings of_policy = policy_settings(settings->pool);
        struct live_pool *pool = calloc(1, sizeof(*pool));

        if (!pool)
                return NULL;
        pool->settings = *settings;
        config_ref(settings->config);
        pool->name = strdup(settings->pool->name);
        if (pool->name)
                pool->policy = pool_new(pool->name, &of_policy, &pool_actions, pool);
        pool->envp = make_environment(settings->pool);
        pool->argv = make_command(settings);
        pool->fit = make_fit(settings->pool, settings->is_default, pool->envp);
        if (settings->pool->memory_max_bytes && groups_problem(settings->groups))
                log_info("pool=%s memory_max holds for each process alone: %s", settings->pool->name,
                         groups_problem(settings->groups));
        pool->files = watch_set_new(settings->watch, on_file_changed, pool);
        return pool->policy && pool->fit && pool->argv && pool->files ? pool : live_pool_free(pool);
}

void live_pool_inherit(struct live_pool *pool, const struct live_pool *from) {
        pool_inherit(pool->policy, from->policy);
}

void live_pool_reconfigure(struct live_pool *live, struct config *config, const struct config_pool *pool,
                           bool is_default) {
        const struct pool_settings of_policy = policy_settings(pool);
        char **envp = make_environment(pool);
        struct fit *fit = make_fit(pool, is_default, envp);

        if (!fit) {
                log_err("pool=%s keeps its old settings: out of memory", live->name);
                free(envp);
                return;
        }
        fit_free(live->fit);
        free(live->envp);
        live->fit = fit;
        live->envp = envp;
        config_ref(config);
        config_unref(live->settings.config);
        live->settings.config = config;
        live->settings.pool = pool;
        live->settings.is_default = is_default;
        pool_reconfigure(live->policy, &of_policy, loop_now_usec());
}

static void free_members(struct pool *policy) {
        for (enum pool_worker_state state = POOL_STARTING; state < POOL_N_STATES; state++) {
                struct pool_worker *worker;

                while ((worker = TAILQ_FIRST(pool_workers(policy, state)))) {
                        pool_remove(worker, "", loop_now_usec());
                        worker_free(member_of(worker)->process);
                        free(member_of(worker)->group); /* its keeper removes it */
                        free(member_of(worker));
                }
        }
}

struct live_pool *live_pool_free(struct live_pool *pool) {
        if (!pool)
                return NULL;
        if (pool->policy)
                free_members(pool->policy);
        pool_free(pool->policy);
        watch_set_free(pool->files);
        fit_free(pool->fit);
        stats_fini(&pool->stats);
        free_command(pool->argv);
        free(pool->envp);
        free(pool->name);
        config_unref(pool->settings.config);
        free(pool);
        return NULL;
}

uint64_t live_pool_turn(struct live_pool *pool, struct pool_machine *machine, uint32_t n_spawns) {
        return pool_run(pool->policy, machine, n_spawns, loop_now_usec());
}

void live_pool_drain(struct live_pool *pool) {
        pool->files = watch_set_free(pool->files);
        pool_drain(pool->policy);
}

void live_pool_end_runs(struct live_pool *pool) {
        struct pool_worker *worker;

        TAILQ_FOREACH(worker, pool_workers(pool->policy, POOL_BUSY), link)
        worker_hang_up(member_of(worker)->process);
}

/* --- Runs --- */

bool live_pool_has_interpreter(const struct live_pool *pool, const struct proto_run *run) {
        return fit_has_interpreter(pool->fit, run);
}

int live_pool_check(const struct live_pool *pool, const struct fit_run *candidate, struct decline *ret_miss) {
        return fit_check(pool->fit, candidate, ret_miss);
}

/* Why a pool that fits has no worker. */
static void explain_empty(const struct pool *pool, struct decline *ret_miss) {
        const char *state = pool_state_name(pool), *detail = "has no idle worker";

        ret_miss->reason = strcmp(state, "ready") == 0 ? "empty" : state;
        if (strcmp(state, "warming") == 0 && pool_warmup_ms(pool))
                ret_miss->reason = "empty"; /* there have been some, they are just used up */
        if (strcmp(ret_miss->reason, "warming") == 0)
                detail = "has not been ready yet";
        if (strcmp(ret_miss->reason, "degraded") == 0)
                detail = "has no idle worker, since they fail to start: `poolctl status` shows why";
        snprintf(ret_miss->detail, sizeof(ret_miss->detail), "pool \"%.100s\" %s", pool_name(pool), detail);
}

int live_pool_check_idle(const struct live_pool *pool, struct decline *ret_miss) {
        if (pool_count(pool->policy, POOL_IDLE))
                return 0;
        explain_empty(pool->policy, ret_miss);
        return POOL_EMPTY;
}

int live_pool_assign(struct live_pool *pool, struct channel *client, const struct wire_writer *payload,
                     struct fdset *fds) {
        struct pool_worker *worker;
        int r = -EPIPE;

        fds->fds[fds->n_fds++] = channel_fd(client); /* there is room: RUN may have one fd less than ASSIGN */
        while ((r == -EPIPE || r == -ECONNRESET) && pool_take(pool->policy, loop_now_usec(), &worker) == 0) {
                member_of(worker)->taken_usec = loop_now_usec();
                r = worker_assign(member_of(worker)->process, payload, fds);
                if (r < 0) {
                        log_warn("pool=%s pid=%d lost at handoff: %s", pool_name(pool->policy),
                                 worker_pid(member_of(worker)->process), strerror(-r));
                        pool_finished(worker, loop_now_usec());
                        worker_dismiss(member_of(worker)->process);
                }
        }
        fds->n_fds--; /* the client's socket is not ours to close */
        return r == -EPIPE || r == -ECONNRESET ? POOL_EMPTY : r;
}

void live_pool_note_empty(struct live_pool *pool) {
        pool_note_miss(pool->policy, loop_now_usec());
}

void live_pool_count_waiting(struct live_pool *pool, int n) {
        pool->n_waiting = (uint32_t)((int)pool->n_waiting + n);
        pool_set_waiting(pool->policy, pool->n_waiting);
}

uint32_t live_pool_n_waiting(const struct live_pool *pool) {
        return pool->n_waiting;
}

const struct stats *live_pool_stats_now(struct live_pool *pool) {
        struct pool_worker *worker;

        TAILQ_FOREACH(worker, pool_workers(pool->policy, POOL_BUSY), link)
        worker_listen(member_of(worker)->process);
        return &pool->stats;
}

uint64_t live_pool_interpreter_usec(const struct live_pool *pool) {
        return pool->interpreter_usec;
}

const struct config_pool *live_pool_config(const struct live_pool *pool) {
        return pool->settings.pool;
}

const char *live_pool_python(const struct live_pool *pool) {
        return pool->settings.pool->python.path;
}

const struct pool *live_pool_policy(const struct live_pool *pool) {
        return pool->policy;
}

struct stats *live_pool_stats(struct live_pool *pool) {
        return &pool->stats;
}

bool live_pool_signal(struct live_pool *pool, pid_t pid, int signo) {
        struct pool_worker *worker;

        TAILQ_FOREACH(worker, pool_workers(pool->policy, POOL_BUSY), link) {
                if (member_pid(worker) == pid) {
                        worker_signal(member_of(worker)->process, signo);
                        return true;
                }
        }
        return false;
}

int member_pid(const struct pool_worker *policy) {
        return worker_pid(((const struct member *)policy)->process);
}

uint64_t member_since_usec(const struct pool_worker *policy) {
        switch (policy->state) {
        case POOL_IDLE:
                return policy->ready_usec;
        case POOL_BUSY:
                return ((const struct member *)policy)->taken_usec;
        default:
                return policy->spawned_usec;
        }
}

uint64_t member_warmup_cpu_usec(const struct pool_worker *policy) {
        return ((const struct member *)policy)->warmup_cpu_usec;
}
