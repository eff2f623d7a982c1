#pragma once

/*
 * One worker as a process: spawned, spoken to over its control socket, watched, reaped. Our child is its keeper
 * (keeper_main.c), which ends as the worker has ended. What its events mean is for whoever owns it.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "lib/channel.h"
#include "loop.h"

struct worker;

/* @data is what worker_new() was given. */
struct worker_events {
        void (*ready)(const struct proto_ready *ready, void *data);
        void (*failed)(const struct proto_failed *failed, void *data);
        /* What it depends on; worker_watched() answers. */
        void (*files)(const struct proto_files *files, void *data);
        void (*declined)(const struct proto_declined *declined, void *data);
        /* The process has ended and is reaped; the callee calls worker_free(). */
        void (*gone)(int wait_status, void *data);
};

struct worker_command {
        char *const *argv; /* the keeper, and its arguments: the worker's program, and its arguments */
        char *const *envp;
        int group_fd; /* the worker's control group; -1: ours */
        struct proto_setup setup;
};

/* Spawns a worker; all arguments are borrowed, @events and @data for its life. Returns 0 or negative errno. */
int worker_new(struct loop *loop, const struct worker_command *command, const struct worker_events *events,
               void *data, struct worker **ret_worker);

/* Frees what stands for the process; the process itself must be gone or is left alone. */
void worker_free(struct worker *worker);

/*
 * Hands a run over: @payload is that of RUN, @fds are its fds and the client's connection, all borrowed.
 * Returns 0, or negative errno if the worker could not be reached: it has started nothing then.
 */
int worker_assign(struct worker *worker, const struct wire_writer *payload, const struct fdset *fds);

/* All that it depends on is watched, but for what it has to look after itself: everything, if @is_unwatched. */
void worker_watched(struct worker *worker, bool is_unwatched);

/* Hears what it has said of its run meanwhile, and calls back. */
void worker_listen(struct worker *worker);

/* Ends an idle or starting worker: its control socket is closed, or it is killed if it does not listen. */
void worker_dismiss(struct worker *worker);

/* Ends a run: SIGHUP for its process group, as a closed terminal sends, and SIGKILL if it does not go. */
void worker_hang_up(struct worker *worker);

/* Sends @signo, or none if that is 0, to the process group of its run. */
void worker_signal(struct worker *worker, int signo);

/* Its process; its keeper's until it is ready. */
pid_t worker_pid(const struct worker *worker);
