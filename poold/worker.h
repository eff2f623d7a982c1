#pragma once

/*
 * One worker as a process: spawned, spoken to over its control socket, watched through its pidfd, reaped. Its state
 * is the pool's business (`struct pool_worker`, embedded), what its events mean is the server's.
 */

#include <sys/types.h>

#include "lib/channel.h"
#include "loop.h"
#include "pool.h"

struct client;

struct worker {
        struct pool_worker policy;
        struct loop *loop;
        const struct worker_events *events;
        void *data;

        pid_t pid;
        int pidfd;
        struct channel *control; /* NULL once it is dismissed */
        struct loop_source *control_source, *process_source, *kill_timer;

        struct client *client; /* whose run it serves; NULL if none, or if the client has gone away */
        bool listens;          /* it has been ready, so it sees when its control socket closes */
        bool finished;         /* it has said that its run is over */
};

struct worker_events {
        void (*ready)(struct worker *worker, const struct proto_ready *ready, void *data);
        void (*failed)(struct worker *worker, const struct proto_failed *failed, void *data);
        void (*finished)(struct worker *worker, const struct proto_finished *finished, void *data);
        /* The process has ended and is reaped; the callee forgets the worker and calls worker_free(). */
        void (*gone)(struct worker *worker, int wait_status, void *data);
};

struct worker_command {
        const char *program;
        char *const *envp;
        struct proto_setup setup;
};

/* Spawns a worker; all arguments are borrowed, @events and @data for its life. Returns 0 or negative errno. */
int worker_new(struct loop *loop, const struct worker_command *command, const struct worker_events *events, void *data,
               struct worker **ret_worker);

/* Frees what stands for the process; the process itself must be gone or is left alone. */
void worker_free(struct worker *worker);

/*
 * Hands a run over: @payload is that of RUN, @fds are its fds and the client's connection, all borrowed.
 * Returns 0, or negative errno if the worker could not be reached: it has started nothing then.
 */
int worker_assign(struct worker *worker, const struct wire_writer *payload, const struct fdset *fds);

/* Reads what the worker has said but poold has not looked at, so that `finished` is up to date. */
void worker_catch_up(struct worker *worker);

/* Ends an idle or starting worker: its control socket is closed, or it is killed if it does not listen. */
void worker_dismiss(struct worker *worker);

/* Ends a run: SIGHUP for its process group, as a closed terminal sends, and SIGKILL for what is left after a while. */
void worker_hang_up(struct worker *worker);
