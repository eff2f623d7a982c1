#include "pyref.h"

#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "context.h"
#include "descriptors.h"
#include "keeper.h"
#include "lib/channel.h"
#include "lib/end.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/stages.h"
#include "patience.h"
#include "python.h"
#include "terminal.h"
#include "threads.h"
#include "title.h"
#include "turn.h"

#define LARGE_BYTES (64 << 10)

#define TRACEBACK_BYTES (64 << 10) /* of what a module says; it can be anything */

struct job {
        struct channel *control;
        struct channel *client; /* NULL until there is one */
        struct own_socket control_socket;
        struct own_socket client_socket;
        struct fdset assigned;      /* what the client gets with ASSIGNED; its terminal last, if there is one */
        pid_t pid;                  /* who may speak on them: not a child that the script forks */
        const char *python;         /* the interpreter, as the script has it in sys.executable */
        struct proto_limits limits; /* for the keeper to see to */
        struct footprint *footprint;
};

static struct job job;

uint64_t job_now_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void job_die(int wait_status) {
        _exit(end_like(wait_status));
}

/* A forked child has nothing to say to anybody, and keeps nobody waiting for an end of file. */
static void close_in_child(void) {
        if (own_socket_is_there(&job.control_socket))
                close(job.control_socket.fd);
        if (own_socket_is_there(&job.client_socket))
                close(job.client_socket.fd);
        fdset_fini(&job.assigned);
        job.control_socket.fd = job.client_socket.fd = -1;
}

static void send_failure(struct python_failure *failure, bool goes_on) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        if (failure->traceback && strlen(failure->traceback) > TRACEBACK_BYTES)
                failure->traceback[TRACEBACK_BYTES] = '\0';
        proto_put_failed(&writer, &(struct proto_failed){
                                          .module = failure->module,
                                          .traceback = failure->traceback,
                                          .goes_on = goes_on,
                                  });
        channel_send(job.control, PROTO_FAILED, &writer, NULL);
}

static void send_skipped(struct python_failure *failure) {
        send_failure(failure, true);
}

/* What has been loaded may be old or new, or some of each. */
static void send_changed(const char *path) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_failed(&writer, &(struct proto_failed){ .changed = path });
        channel_send(job.control, PROTO_FAILED, &writer, NULL);
}

static int send_ready(uint64_t init_usec, uint64_t preload_usec) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_ready(&writer, &(struct proto_ready){
                                         .pid = (uint32_t)job.pid,
                                         .init_usec = init_usec,
                                         .preload_usec = preload_usec,
                                 });
        return channel_send(job.control, PROTO_READY, &writer, NULL);
}

/* Tells the client who we are, and gives it what it needs to deal with us. All of that is closed here. */
static int introduce(bool has_terminal) {
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct fdset *fds = &job.assigned;
        const size_t n_fds = fds->n_fds;
        int r;

        if (!has_terminal)
                fds->n_fds = PROTO_ASSIGNED_FD_TERMINAL;
        proto_put_assigned(&writer, &(struct proto_assigned){
                                            .pid = (uint32_t)job.pid,
                                            .group = (uint32_t)getpgrp(),
                                    });
        r = channel_send(job.client, PROTO_ASSIGNED, &writer, fds);
        fds->n_fds = n_fds;
        fdset_fini(fds);
        return r;
}

/*
 * Tells the keeper what holds for the run, over what is still our end of the client's socket. Returns 0 or negative
 * errno: without its limits there is no run.
 */
static int send_limits(void) {
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct channel *keeper;
        int r;

        if (!job.limits.run_timeout_sec && !job.limits.memory_max_bytes)
                return 0;
        keeper = channel_new(job.assigned.fds[PROTO_ASSIGNED_FD_KEEPER], PROTO_WORKER, PROTO_KEEPER);
        if (!keeper)
                return -ENOMEM;
        proto_put_limits(&writer, &job.limits);
        r = channel_send(keeper, PROTO_LIMITS, &writer, NULL);
        channel_release(keeper);
        return r == CHANNEL_AGAIN ? -EAGAIN : r;
}

/* poold may be gone, which is no concern of the client's: errors don't count. */
static void send_declined(const char *reason) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_declined(&writer, &(struct proto_declined){ .reason = reason });
        channel_send(job.control, PROTO_DECLINED, &writer, NULL);
}

/* Before it is claimed, a run can go back to its client. */
static void send_refused(const struct decline *why) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        send_declined(why->reason);
        proto_put_refused(&writer, &(struct proto_refused){ .reason = why->reason,
                                                            .detail = why->detail,
                                                            .python = job.python[0] == '/' ? job.python : "" });
        channel_send(job.client, PROTO_REFUSED, &writer, NULL);
}

/* Closes all but the client's connection: whoever reads what the script wrote sees its end before the client ends.
 */
static void close_all_others(void) {
        unsigned fd = (unsigned)channel_fd(job.client);

        close_range(0, fd - 1, 0);
        close_range(fd + 1, ~0U, 0);
}

/*
 * Ends as the run has, and says so before. What the kernel has left to do for us then it does when it has nothing better
 * to do. If a script has closed or replaced our socket, or left threads that we cannot stop, the keeper says it when this
 * process is gone.
 */
__attribute__((noreturn)) static void report(int wait_status) {
        struct wire_writer writer = { 0 };
        bool is_told;

        proto_put_ended(&writer, &(struct proto_ended){ .wait_status = (uint32_t)wait_status });
        is_told = getpid() == job.pid && own_socket_is_there(&job.client_socket) && threads_stop();
        if (is_told) {
                close_all_others();
                stages_note("tells");
                channel_send(job.client, PROTO_EXIT, &writer, NULL);
        }
        stages_end();
        if (is_told) {
                patience_set_for_good();
                turn_take();
        }
        job_die(wait_status);
}

/* Returns 0 if the run is ours to start, DECLINED if the client has given it up, or negative errno. */
static int claim(int fd) {
        uint64_t count;
        int r;

        r = fd_set_nonblock(fd, true);
        if (r < 0)
                return r;
        if (read(fd, &count, sizeof(count)) == sizeof(count))
                return 0;
        return errno == EAGAIN ? DECLINED : -EIO;
}

static int parse_arguments(const struct proto_run *context, struct python_run *run, struct decline *why) {
        run->argc = (int)context->argv.count;
        run->argv = wire_strv_to_array(&context->argv, 0);
        if (!run->argv)
                return -ENOMEM;
        if (pyargs_parse(run->argv, run->argc, &run->args))
                return decline(why, "options", "no warm worker can have the option %s", run->args.unsupported);
        return 0;
}

/* The fd that has @number at the client, which may lie anywhere in @fds; -1 if it has none. */
static int find_fd(const struct fdset *fds, const struct proto_run *context, int number) {
        const struct wire_u64v *const terminals = &context->terminal_numbers, *const numbers =
                                                                                      &context->fd_numbers;

        for (uint32_t i = 0; number >= 0 && i < terminals->count; i++)
                if (wire_u64v_at(terminals, i) == (uint64_t)number)
                        return fds->fds[PROTO_RUN_FD_FIRST + numbers->count];
        for (uint32_t i = 0; number >= 0 && i < numbers->count; i++)
                if (wire_u64v_at(numbers, i) == (uint64_t)number)
                        return fds->fds[PROTO_RUN_FD_FIRST + i];
        return -1;
}

/* What python3 would read from. A folder as standard input is an error at its start. */
static int find_inputs(struct python_run *run, const struct fdset *fds, const struct proto_run *context,
                       struct decline *why) {
        struct stat st;

        run->input = find_fd(fds, context, STDIN_FILENO);
        run->script_input = -1;
        if (run->args.kind == PYARGS_SCRIPT)
                run->script_input = find_fd(fds, context, script_fd_number(run->args.target));
        if (run->input >= 0 && fstat(run->input, &st) == 0 && S_ISDIR(st.st_mode))
                return decline(why, "stdin", "standard input is a folder");
        if (run->args.kind == PYARGS_STDIN && run->input < 0)
                return decline(why, "stdin", "the program is to be read from nowhere");
        return 0;
}

/* The client's terminal comes behind its own fds. Returns 0 or DECLINED. */
static int take_terminal(struct fdset *fds, const struct proto_run *context, struct decline *why) {
        if (context->terminal == PROTO_TERMINAL_NONE)
                return 0;
        return terminal_take(fds->fds[PROTO_RUN_FD_FIRST + context->fd_numbers.count],
                             context->terminal == PROTO_TERMINAL_FOREGROUND, why);
}

/* Those that poold does not watch. */
static int check_files(struct decline *why) {
        const char *path = footprint_find_change(job.footprint);

        return path ? decline(why, "stale", "%.400s has changed since the worker loaded it", path) : 0;
}

/* All that can be checked before the claim is. Returns 0, DECLINED, or negative (printed). */
static int prepare(struct message *message, struct proto_run *context, struct python_run *run,
                   struct decline *why) {
        int r;

        r = check_files(why);
        if (r == 0)
                r = parse_arguments(context, run, why);
        if (r == 0)
                r = descriptors_lift(&message->fds, &context->fd_numbers, &context->terminal_numbers,
                                     context->terminal == PROTO_TERMINAL_NONE ? 1 : 2, why);
        if (r == 0)
                r = find_inputs(run, &message->fds, context, why);
        if (r == 0)
                r = context_adopt(context, message->fds.fds[PROTO_RUN_FD_CWD], why);
        return r ? r : python_prepare(run, &context->env, why);
}

/* The client's connection is the last fd. Returns 0 or negative errno. */
static int take_client(struct message *message) {
        int fd = descriptors_hide(fdset_steal(&message->fds, message->fds.n_fds - 1));

        if (fd < 0)
                return fd;
        own_socket_init(&job.client_socket, fd);
        job.client = channel_new(fd, PROTO_WORKER, PROTO_CLIENT);
        return job.client ? 0 : -ENOMEM;
}

/* The point of no return: the claimed run's fds, signals and limits become ours. Returns 0 or negative errno. */
static int become(struct message *message, struct proto_run *context) {
        int r;

        r = title_run(context);
        if (r == 0)
                r = descriptors_place(&message->fds, &context->fd_numbers);
        if (r < 0)
                return r;
        if (context->terminal == PROTO_TERMINAL_NONE)
                terminal_drop();
        else
                r = terminal_place(&context->terminal_numbers);
        message_fini(message);
        context_adopt_late(context);
        return r;
}

/* There is nobody left to run it for, or the client runs it itself. Returns the wait status. */
static int abandon(void) {
        send_declined("abandoned");
        return 0;
}

/* For a client that wants to know when; poold has written it down. */
static void begin_stages(const struct proto_run *context, uint64_t woken_nsec) {
        static const char *const names[PROTO_N_STAGES] = {
                [PROTO_STAGE_ACCEPTED] = "accepted",
                [PROTO_STAGE_RECEIVED] = "received",
                [PROTO_STAGE_ASSIGNS] = "assigns",
        };
        const char *variable = context->env.data;

        for (uint32_t i = 0; i < context->env.count; i++, variable = wire_strv_next(variable))
                if (strncmp(variable, "POOLD_TRACE=", strlen("POOLD_TRACE=")) == 0)
                        stages_begin(variable + strlen("POOLD_TRACE="));
        for (uint32_t i = 0; i < context->stages.count && i < PROTO_N_STAGES; i++)
                stages_note_at(names[i], wire_u64v_at(&context->stages, i));
        stages_note_at("woken", woken_nsec);
}

/* Serves the run that @message assigns. Its payload lives as long as the process. Returns the wait status. */
static int serve(struct message *message, uint64_t woken_nsec) {
        struct proto_run context = { 0 };
        struct python_run run;
        struct decline why = { .reason = "worker" };
        int r;

        r = take_client(message);
        if (r == 0)
                r = proto_get_run(&message->payload, &context);
        if (r == 0 && context.stages.count)
                begin_stages(&context, woken_nsec);
        if (r == 0 && context.leads_group)
                setpgid(0, 0);
        if (r == 0)
                r = send_limits();
        /* The client may set its terminal up for the run as soon as it hears of us, so ours is like it before. */
        if (r == 0)
                r = take_terminal(&message->fds, &context, &why);
        if (r == 0 && introduce(context.terminal != PROTO_TERMINAL_NONE) < 0)
                return abandon();
        if (r == 0)
                r = prepare(message, &context, &run, &why);
        stages_note("compiled");
        if (r < 0 && job.client)
                r = decline(&why, "worker", "the worker failed before the start: %s", strerror(-r));
        if (r == 0) {
                r = claim(message->fds.fds[PROTO_RUN_FD_CLAIM]);
                if (r == DECLINED)
                        return abandon();
        }
        if (r == DECLINED) {
                send_refused(&why);
                return 0;
        }
        if (r == 0)
                r = become(message, &context);
        if (r < 0) {
                log_err("worker pid=%d cannot serve: %s", getpid(), strerror(-r));
                return 1 << 8;
        }
        report(python_run(&run, &context));
}

/* Receives without the GIL, for the threads that modules have started. */
static int receive(struct message *ret_message) {
        int r;

        Py_BEGIN_ALLOW_THREADS r = channel_receive(job.control, ret_message);
        Py_END_ALLOW_THREADS return r;
}

/* Returns 0 or -ENOMEM. */
static int note_limits(const struct proto_setup *setup) {
        job.limits = (struct proto_limits){
                .pool = strdup(setup->pool),
                .run_timeout_sec = setup->run_timeout_sec,
                .memory_max_bytes = setup->has_group ? setup->memory_max_bytes : 0,
        };
        context_remember(setup->has_group ? 0 : setup->memory_max_bytes);
        return job.limits.pool ? 0 : -ENOMEM;
}

/*
 * Has poold watch what this worker depends on, and only then looks whether all of that is as it was when it began: so
 * nothing can change in between. Returns as footprint_settle() and receive() do.
 */
static int settle(uint64_t spawned_nsec, const char **ret_changed) {
        _cleanup_writer_ struct wire_writer writer = { 0 };
        _cleanup_message_ struct message message = { 0 };
        struct proto_watched watched;
        int r;

        r = footprint_put(job.footprint, &writer);
        if (r == 0)
                r = channel_send(job.control, PROTO_FILES, &writer, NULL);
        if (r == 0)
                r = receive(&message);
        if (r)
                return r;
        if (message.type != PROTO_WATCHED || proto_get_watched(&message.payload, &watched) < 0)
                return -EPROTO;
        return footprint_settle(job.footprint, spawned_nsec, watched.unwatched, ret_changed);
}

/* As glibc's malloc does before it looks for a large one: 0.1 ms after an import, which no run need wait for. */
static void merge_free_pieces(void) {
        void *volatile large = malloc(LARGE_BYTES); /* the compiler sees no reason for it */

        free(large);
}

/* Returns 0, CHANNEL_EOF, or negative: nothing to wait for. */
static int preload(const struct message *message, uint64_t init_usec) {
        struct wire_reader reader = message->payload;
        struct python_failure failure = { 0 };
        struct placeholders holders;
        struct proto_setup setup;
        uint64_t began_usec = job_now_usec();
        const int nice = getpriority(PRIO_PROCESS, 0);
        const char *changed = NULL;
        int r, settled;

        if (message->type != PROTO_SETUP || proto_get_setup(&reader, &setup) < 0)
                return -EPROTO;
        title_start(setup.pool, job.python);
        if (chdir("/") < 0) /* what lies where poold was started is none of the modules' business */
                return -errno;
        patience_set(true, (int)setup.nice > nice ? (int)setup.nice : nice);
        job.footprint = footprint_new();
        if (!job.footprint)
                return -ENOMEM;
        placeholders_init(&holders);
        r = python_preload(&(struct python_preload){ &setup, job.footprint, send_skipped }, &failure);
        placeholders_fini(&holders);
        if (r == 0) { /* what settle() receives takes the place of @setup's texts */
                patience_set(false, nice);
                r = note_limits(&setup);
        }
        settled = settle(setup.spawned_nsec, &changed);
        if (changed)
                send_changed(changed);
        else if (r < 0)
                send_failure(&failure, false);
        python_failure_fini(&failure);
        if (r < 0 || settled)
                return settled == CHANNEL_EOF || settled == -EPROTO ? settled : -1;
        title_idle();
        merge_free_pieces();
        return send_ready(init_usec, job_now_usec() - began_usec);
}

/* Moves what the keeper has given us to where our own fds are. */
static int take_gifts(void) {
        static const int numbers[] = {
                [PROTO_ASSIGNED_FD_KEEPER] = KEEPER_FD_CLIENT,
                [PROTO_ASSIGNED_FD_TERMINAL] = KEEPER_FD_MASTER,
        };
        int fd = fd_open_pid(job.pid);

        fdset_init(&job.assigned);
        for (int i = PROTO_ASSIGNED_FD_PROCESS; i < PROTO_ASSIGNED_N_FDS; i++) {
                fd = descriptors_hide(i == PROTO_ASSIGNED_FD_PROCESS ? fd : numbers[i]);
                if (fd < 0 && i == PROTO_ASSIGNED_FD_TERMINAL)
                        break;
                if (fd < 0)
                        return fd;
                fdset_push(&job.assigned, fd);
        }
        terminal_init(descriptors_hide(KEEPER_FD_SLAVE));
        return 0;
}

static int start(void) {
        int fd = descriptors_hide(KEEPER_FD_CONTROL);

        if (fd < 0)
                return fd;
        own_socket_init(&job.control_socket, fd);
        job.client_socket.fd = -1;
        job.pid = getpid();
        job.python = python_executable();
        job.control = channel_new(fd, PROTO_WORKER, PROTO_SERVER);
        if (!job.control)
                return -ENOMEM;
        return take_gifts() < 0 ? -EBADF : -pthread_atfork(NULL, NULL, close_in_child);
}

int job_main(uint64_t started_usec) {
        uint64_t init_usec = job_now_usec() - started_usec;
        struct message message;
        int r;

        r = start();
        if (r == 0)
                r = receive(&message);
        if (r == 0) {
                r = preload(&message, init_usec);
                message_fini(&message);
                if (r < 0 && r != -EPROTO)
                        return 1 << 8; /* poold has been told */
        }
        if (r == 0)
                r = receive(&message);
        if (r == CHANNEL_EOF)
                return 0; /* poold needs us no more */
        if (r == 0 && message.type == PROTO_ASSIGN)
                return serve(&message, stages_now());
        log_err("worker pid=%d dropped by a bad message: %s", getpid(), strerror(r < 0 ? -r : EPROTO));
        return 1 << 8;
}
