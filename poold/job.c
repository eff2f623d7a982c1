#include "pyref.h"

#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "context.h"
#include "descriptors.h"
#include "lib/channel.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "patience.h"
#include "python.h"
#include "terminal.h"

#define TRACEBACK_BYTES (64 << 10) /* of what a module says; it can be anything */

struct job {
        struct channel *control;
        struct channel *client; /* NULL until there is one */
        struct own_socket control_socket;
        struct own_socket client_socket;
        pid_t pid; /* who may speak on them: not a child that the script forks */
};

static struct job job;

uint64_t job_now_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void job_die(int wait_status) {
        if (WIFSIGNALED(wait_status)) {
                sigset_t only;

                signal(WTERMSIG(wait_status), SIG_DFL);
                sigemptyset(&only);
                sigaddset(&only, WTERMSIG(wait_status));
                pthread_sigmask(SIG_UNBLOCK, &only, NULL);
                kill(getpid(), WTERMSIG(wait_status));
                _exit(128 + WTERMSIG(wait_status));
        }
        _exit(WEXITSTATUS(wait_status));
}

/* A forked child has nothing to say to anybody, and keeps nobody waiting for an end of file. */
static void close_in_child(void) {
        if (own_socket_is_there(&job.control_socket))
                close(job.control_socket.fd);
        if (own_socket_is_there(&job.client_socket))
                close(job.client_socket.fd);
        job.control_socket.fd = job.client_socket.fd = -1;
}

static int send_failed(struct python_failure *failure) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        if (failure->traceback && strlen(failure->traceback) > TRACEBACK_BYTES)
                failure->traceback[TRACEBACK_BYTES] = '\0';
        proto_put_failed(&writer,
                         &(struct proto_failed){ .module = failure->module, .traceback = failure->traceback });
        return channel_send(job.control, PROTO_FAILED, &writer, NULL);
}

static int send_ready(uint64_t init_usec, uint64_t preload_usec) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_ready(&writer, &(struct proto_ready){ .init_usec = init_usec, .preload_usec = preload_usec });
        return channel_send(job.control, PROTO_READY, &writer, NULL);
}

/* poold may be gone, which is no concern of the client's: errors don't count. */
static void send_finished(int wait_status, const char *declined) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_finished(&writer,
                           &(struct proto_finished){ .wait_status = (uint32_t)wait_status, .declined = declined });
        channel_send(job.control, PROTO_FINISHED, &writer, NULL);
}

static void send_exit(int wait_status) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_ended(&writer, &(struct proto_ended){ .wait_status = (uint32_t)wait_status });
        channel_send(job.client, PROTO_EXIT, &writer, NULL);
}

/* Before it is claimed, a run can go back to its client. */
static void send_refused(const struct decline *why) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        send_finished(0, why->reason);
        proto_put_refused(&writer,
                          &(struct proto_refused){ .reason = why->reason, .detail = why->detail, .python = "" });
        channel_send(job.client, PROTO_REFUSED, &writer, NULL);
}

/*
 * From now on the kernel ends our process group, which is a session of its own, when the client goes: also with no
 * poold there any more. The client sends nothing once it has a worker, so nothing else raises the signal.
 */
static void follow_client(void) {
        int fd = channel_fd(job.client);
        char byte;

        if (getpgrp() != getpid())
                return;
        fcntl(fd, F_SETOWN, -getpid());
        fcntl(fd, F_SETSIG, SIGHUP);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC);
        if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
                kill(0, SIGHUP); /* it went before */
}

static void unfollow_client(void) {
        int fd = channel_fd(job.client);

        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_ASYNC);
        fcntl(fd, F_SETOWN, 0);
}

/* Closes all but the client's connection: whoever reads what the script wrote sees its end before the client ends.
 */
static void close_all_others(void) {
        unsigned fd = (unsigned)channel_fd(job.client);

        close_range(0, fd - 1, 0);
        close_range(fd + 1, ~0U, 0);
}

/*
 * Says how the run has ended, to poold first. If a script has closed or replaced our sockets, poold says it when
 * this process is gone. What the kernel has left to do for us afterwards it does when it has nothing better to do.
 */
static void report(int wait_status) {
        if (getpid() == job.pid && own_socket_is_there(&job.control_socket) &&
            own_socket_is_there(&job.client_socket)) {
                unfollow_client();
                terminal_leave();
                send_finished(wait_status, "");
                close_all_others();
                send_exit(wait_status);
        }
        sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 });
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

/* The client's standard input, which may lie anywhere in @fds; -1 if it is closed there. */
static int find_stdin(const struct fdset *fds, const struct wire_u64v *numbers) {
        for (uint32_t i = 0; i < numbers->count; i++)
                if (wire_u64v_at(numbers, i) == STDIN_FILENO)
                        return fds->fds[PROTO_RUN_FD_FIRST + i];
        return -1;
}

/* A folder is an error at python3's start, and a terminal to read the program from is a prompt. */
static int check_stdin(const struct python_run *run, int fd, struct decline *why) {
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
                return decline(why, "stdin", "standard input is a folder");
        if (run->args.kind == PYARGS_STDIN && (fd < 0 || isatty(fd)))
                return decline(why, "stdin", "the program is to be read from %s",
                               fd < 0 ? "nowhere" : "a terminal");
        return 0;
}

/* The fds of a terminal come behind the client's own. Returns 0 or DECLINED. */
static int take_terminal(const struct fdset *fds, const struct proto_run *context, struct decline *why) {
        const int *own = fds->fds + PROTO_RUN_FD_FIRST + context->fd_numbers.count;

        if (!context->terminal_fds)
                return 0;
        return terminal_take(own[PROTO_TERMINAL_FD_SLAVE], own[PROTO_TERMINAL_FD_KEEPER], why);
}

/* All that can be checked before the claim is. Returns 0, DECLINED, or negative (printed). */
static int prepare(struct message *message, struct proto_run *context, struct python_run *run,
                   struct decline *why) {
        int r;

        if (proto_get_run(&message->payload, context) < 0)
                return decline(why, "protocol", "not a run");
        r = parse_arguments(context, run, why);
        if (r == 0)
                r = descriptors_lift(&message->fds, &context->fd_numbers, context->terminal_fds + 1, why);
        if (r == 0)
                r = take_terminal(&message->fds, context, why);
        if (r == 0)
                r = check_stdin(run, find_stdin(&message->fds, &context->fd_numbers), why);
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
static int become(struct message *message, const struct proto_run *context) {
        int r;

        r = descriptors_place(&message->fds, &context->fd_numbers);
        if (r < 0)
                return r;
        if (context->terminal_fds)
                terminal_await(fdset_steal(&message->fds, PROTO_RUN_FD_FIRST + context->fd_numbers.count +
                                                                  PROTO_TERMINAL_FD_SLAVE));
        message_fini(message);
        context_adopt_late(context);
        follow_client();
        return 0;
}

/* Serves the run that @message assigns. Its payload lives as long as the process. Returns the wait status. */
static int serve(struct message *message) {
        struct proto_run context = { 0 };
        struct python_run run;
        struct decline why;
        int r;

        r = take_client(message);
        if (r == 0)
                r = prepare(message, &context, &run, &why);
        if (r < 0 && job.client)
                r = decline(&why, "worker", "the worker failed before the start: %s", strerror(-r));
        if (r == 0) {
                r = claim(message->fds.fds[PROTO_RUN_FD_CLAIM]);
                if (r == DECLINED) {
                        send_finished(0, "abandoned");
                        return 0;
                }
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
        r = python_run(&run, &context);
        report(r);
        return r;
}

/* Receives without the GIL, for the threads that modules have started. */
static int receive(struct message *ret_message) {
        int r;

        Py_BEGIN_ALLOW_THREADS r = channel_receive(job.control, ret_message);
        Py_END_ALLOW_THREADS return r;
}

/* Returns 0 or negative: nothing to wait for. */
static int preload(const struct message *message, uint64_t init_usec) {
        struct wire_reader reader = message->payload;
        struct python_failure failure = { 0 };
        struct placeholders holders;
        struct proto_setup setup;
        uint64_t began_usec = job_now_usec();
        int r;

        if (message->type != PROTO_SETUP || proto_get_setup(&reader, &setup) < 0)
                return -EPROTO;
        placeholders_init(&holders);
        r = python_preload(&setup, &failure);
        placeholders_fini(&holders);
        if (r < 0) {
                send_failed(&failure);
                python_failure_fini(&failure);
                return r;
        }
        patience_set(false);
        return send_ready(init_usec, job_now_usec() - began_usec);
}

static int start(int control) {
        int fd = descriptors_hide(control);

        if (fd < 0)
                return fd;
        own_socket_init(&job.control_socket, fd);
        job.client_socket.fd = -1;
        job.pid = getpid();
        job.control = channel_new(fd, PROTO_WORKER, PROTO_SERVER);
        return job.control ? -pthread_atfork(NULL, NULL, close_in_child) : -ENOMEM;
}

int job_main(int control, uint64_t started_usec) {
        uint64_t init_usec = job_now_usec() - started_usec;
        struct message message;
        int r;

        r = start(control);
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
                return serve(&message);
        log_err("worker pid=%d dropped by a bad message: %s", getpid(), strerror(r < 0 ? -r : EPROTO));
        return 1 << 8;
}
