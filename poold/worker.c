#include "worker.h"

#include <errno.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "keeper.h"
#include "lib/end.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "spawn.h"

#define KILL_AFTER_USEC (2 * UINT64_C(1000000))
#define TAKEN_AFTER_USEC (UINT64_C(2000) * PROTO_REPLY_MS) /* the client has run its script itself by then */

struct worker {
        struct loop *loop;
        const struct worker_events *events;
        void *data;

        pid_t pid;    /* its own; 0 until it is ready */
        pid_t keeper; /* our child */
        int keeper_fd;
        struct channel *control; /* NULL once it is dismissed */
        struct loop_source *control_source, *process_source;
        struct loop_source *timer; /* for the run to have been taken; or else to kill */

        bool assigned;  /* it has a run, or had one */
        bool ending;    /* it is to go */
        int kill_signo; /* for the keeper, when the time has come */
};

static void on_process(void *data, unsigned events);
static void on_control(void *data, unsigned events);
static void on_timer(void *data, unsigned events);

static int start_process(struct worker *worker, const struct worker_command *command) {
        _cleanup_writer_ struct wire_writer setup = { 0 };
        _cleanup_fd_ int theirs = -1;
        int r, pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        theirs = pair[1];
        worker->control = channel_new(pair[0], PROTO_SERVER, PROTO_WORKER);
        if (!worker->control)
                return -ENOMEM;
        fd_set_nonblock(pair[0], true);
        proto_put_setup(&setup, &command->setup);
        r = channel_send(worker->control, PROTO_SETUP, &setup, NULL);
        if (r < 0)
                return r;
        return spawn(command->argv[0], command->argv, command->envp, theirs, command->group_fd, &worker->keeper,
                     &worker->keeper_fd);
}

static int watch(struct worker *worker) {
        unsigned events = LOOP_READ | (channel_is_flushing(worker->control) ? LOOP_WRITE : 0U);

        worker->control_source =
                loop_add_fd(worker->loop, channel_fd(worker->control), events, on_control, worker);
        worker->process_source = loop_add_fd(worker->loop, worker->keeper_fd, LOOP_READ, on_process, worker);
        worker->timer = loop_add_timer(worker->loop, on_timer, worker);
        return worker->control_source && worker->process_source && worker->timer ? 0 : -ENOMEM;
}

int worker_new(struct loop *loop, const struct worker_command *command, const struct worker_events *events,
               void *data, struct worker **ret_worker) {
        struct worker *worker = calloc(1, sizeof(*worker));
        int r;

        if (!worker)
                return -ENOMEM;
        worker->loop = loop;
        worker->events = events;
        worker->data = data;
        worker->keeper_fd = -1;
        worker->kill_signo = SIGTERM;
        r = start_process(worker, command);
        if (r == 0) {
                r = watch(worker);
                if (r < 0) {
                        kill(worker->keeper, SIGKILL); /* and the worker with it */
                        waitpid(worker->keeper, NULL, 0);
                }
        }
        if (r < 0) {
                worker_free(worker);
                return r;
        }
        *ret_worker = worker;
        return 0;
}

static void close_control(struct worker *worker) {
        worker->control_source = loop_source_free(worker->control_source);
        worker->control = channel_free(worker->control);
}

static void free_now(void *object) {
        free(object);
}

void worker_free(struct worker *worker) {
        close_control(worker);
        worker->process_source = loop_source_free(worker->process_source);
        worker->timer = loop_source_free(worker->timer);
        worker->keeper_fd = fd_close(worker->keeper_fd);
        loop_defer_free(worker->loop, free_now, worker);
}

static int handle_message(struct worker *worker, struct message *message) {
        union {
                struct proto_ready ready;
                struct proto_failed failed;
                struct proto_files files;
                struct proto_declined declined;
        } fields;
        int r = -EPROTO;

        switch (message->type) {
        case PROTO_READY:
                r = proto_get_ready(&message->payload, &fields.ready);
                if (r == 0) {
                        worker->pid = (pid_t)fields.ready.pid;
                        worker->events->ready(&fields.ready, worker->data);
                }
                break;
        case PROTO_FAILED:
                r = proto_get_failed(&message->payload, &fields.failed);
                if (r == 0)
                        worker->events->failed(&fields.failed, worker->data);
                break;
        case PROTO_FILES:
                r = proto_get_files(&message->payload, &fields.files);
                if (r == 0)
                        worker->events->files(&fields.files, worker->data);
                break;
        case PROTO_DECLINED:
                r = proto_get_declined(&message->payload, &fields.declined);
                if (r == 0)
                        worker->events->declined(&fields.declined, worker->data);
                break;
        }
        return r;
}

/* Handles all that has been said. Returns CHANNEL_AGAIN, CHANNEL_EOF or negative errno. */
static int read_control(struct worker *worker) {
        int r = 0;

        while (worker->control) {
                _cleanup_message_ struct message message = { 0 };

                r = channel_next(worker->control, &message);
                if (r == 0)
                        r = handle_message(worker, &message);
                else if (r == CHANNEL_AGAIN)
                        r = channel_read(worker->control);
                if (r)
                        return r;
        }
        return CHANNEL_EOF;
}

/* Is the run that it was given still in its socket? It then holds files of the client's that others may wait for. */
static bool is_untaken(const struct worker *worker) {
        int n_bytes = 0;

        return worker->control && ioctl(channel_fd(worker->control), SIOCOUTQ, &n_bytes) == 0 && n_bytes > 0;
}

/* It has ended with the run still in its socket: the client will ask again, so that this was no hit. */
static void lose_run(struct worker *worker) {
        log_warn("worker pid=%d ended before it took its run, which goes to another", worker_pid(worker));
        worker->events->declined(&(struct proto_declined){ .reason = "worker" }, worker->data);
}

void worker_watched(struct worker *worker, bool is_unwatched) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_watched(&payload, &(struct proto_watched){ .unwatched = is_unwatched });
        if (worker->control)
                channel_send(worker->control, PROTO_WATCHED, &payload,
                             NULL); /* a lost worker is noticed elsewhere */
}

void worker_listen(struct worker *worker) {
        /* A reset says that not all was read of what we have sent, unix(7). */
        if (read_control(worker) == -ECONNRESET && worker->assigned)
                lose_run(worker);
}

static void on_control(void *data, unsigned events) {
        struct worker *worker = data;
        int r = 0;

        if (events & LOOP_WRITE)
                r = channel_flush(worker->control);
        if (r >= 0 && events & LOOP_READ)
                r = read_control(worker);
        if (!worker->control)
                return;
        if (r == 0 || r == CHANNEL_AGAIN) {
                loop_set_events(worker->control_source,
                                (worker->assigned ? 0U : LOOP_READ) |
                                        (channel_is_flushing(worker->control) ? LOOP_WRITE : 0U));
                return;
        }
        /* It has gone or speaks nonsense. A run may have closed its end and go on, all else has to end. */
        if (r < 0)
                log_warn("worker pid=%d control socket: %s", worker_pid(worker), strerror(-r));
        if (worker->assigned) {
                close_control(worker);
                if (r < 0)
                        lose_run(worker);
        } else {
                worker_dismiss(worker);
        }
}

static void on_process(void *data, unsigned events) {
        struct worker *worker = data;
        siginfo_t info = { 0 };

        (void)events;
        if (waitid(P_PIDFD, (id_t)worker->keeper_fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                return;
        if (worker->assigned && is_untaken(worker))
                lose_run(worker); /* a keeper that is killed may end first, but only just */
        else
                worker_listen(worker); /* its last words come before its end */
        worker->events->gone(end_wait_status(&info), worker->data);
}

int worker_assign(struct worker *worker, const struct wire_writer *payload, const struct fdset *fds) {
        int r;

        if (!worker->control)
                return -EPIPE;
        r = channel_send(worker->control, PROTO_ASSIGN, payload, fds);
        if (r < 0)
                return r;
        worker->assigned = true;
        loop_set_deadline(worker->timer, loop_now_usec() + TAKEN_AFTER_USEC);
        /* What it says of its run can wait for worker_listen(), or its end. That spares a wake-up a run. */
        return loop_set_events(worker->control_source, r == CHANNEL_AGAIN ? LOOP_WRITE : 0U);
}

/* The keeper kills, until it does not answer either. */
static void kill_later(struct worker *worker) {
        worker->ending = true;
        loop_set_deadline(worker->timer, loop_now_usec() + KILL_AFTER_USEC);
}

void worker_dismiss(struct worker *worker) {
        close_control(worker);
        if (!worker->pid)
                kill(worker->keeper, SIGTERM); /* while it imports it does not see what we close */
        kill_later(worker);
}

void worker_hang_up(struct worker *worker) {
        kill(worker->keeper, SIGHUP);
        kill_later(worker);
}

/* By its keeper: only that can know that the group is still the run's. It is our child: its pid is nobody else's. */
void worker_signal(struct worker *worker, int signo) {
        sigqueue(worker->keeper, KEEPER_SIGNAL, (union sigval){ .sival_int = signo });
}

static void on_timer(void *data, unsigned events) {
        struct worker *worker = data;

        (void)events;
        if (!worker->ending && !is_untaken(worker))
                return;
        if (!worker->ending)
                log_warn("worker pid=%d does not answer", worker_pid(worker));
        kill(worker->keeper, worker->kill_signo);
        worker->kill_signo = SIGKILL;
        kill_later(worker);
}

pid_t worker_pid(const struct worker *worker) {
        return worker->pid ? worker->pid : worker->keeper;
}
