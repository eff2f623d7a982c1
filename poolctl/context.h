#pragma once

/*
 * What a process inherits through execve(2) and python3 would find: its open files, folder, umask, priorities,
 * signals, limits, CPUs and rights. Collected before anything else, while every open fd is still one that we were given.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "lib/fdset.h"
#include "lib/proto.h"
#include "lib/scheduling.h"
#include "lib/traits.h"
#include "miss.h"

#define CONTEXT_MAX_FDS (PROTO_MAX_FDS - 1 - PROTO_RUN_FD_FIRST - 1)
#define CONTEXT_MAX_CPUS 8192 /* the most that Linux can be built for */
#define CONTEXT_N_SIGNALS 64

struct context {
        size_t n_fds;
        uint64_t fd_numbers[CONTEXT_MAX_FDS];
        bool is_terminal[CONTEXT_MAX_FDS]; /* which of them the script's terminal takes the place of */
        uint32_t terminal;                 /* PROTO_TERMINAL_*: is it to have one? */
        int terminal_fd;                   /* ours then, borrowed */
        int cwd_fd;                        /* owned */
        uint32_t umask;
        struct scheduling scheduling;
        uint32_t io_priority;
        uint32_t oom_score_adj;
        uint64_t timer_slack;
        uint64_t ignored_signals;
        uint64_t blocked_signals;
        struct rlimit limits[RLIM_NLIMITS];
        uint64_t traits[N_TRAITS];
        char control_groups[PROTO_CGROUP_BYTES];
        uint32_t pid, uid;
        bool leads_group;
        uint32_t n_affinity;
        uint64_t affinity[CONTEXT_MAX_CPUS / 64];
};

/*
 * Collects it all. Blocks every signal, and fills those of fd 0, 1 and 2 that are closed with fds that can neither
 * be read nor written and close on exec, so that no fd that is opened later is taken for standard output or the
 * like. Returns 0, or MISS where a worker could not be given the same.
 */
int context_collect(struct context *ret_context, struct miss *ret_miss);

/* Closes what it owns. */
void context_fini(struct context *context);
#define _cleanup_context_ __attribute__((cleanup(context_fini)))

/* Appends RUN to @payload; the fds that go with it, all of them borrowed, replace what is in @ret_fds. */
void context_put_run(const struct context *context, const char *pool, const struct wire_strv *argv,
                     const struct wire_strv *env, int claim_fd, struct wire_writer *payload,
                     struct fdset *ret_fds);

/* Gives signals back as they were found, so that what is pending is delivered. Those of @signals are raised again.
 */
void context_restore_signals(const struct context *context, uint64_t signals);

/*
 * Lets go of the run's files and folder, all but stderr: from now on only the script holds them, so that whoever
 * reads its output sees the end when the script closes it. There is no way back to python3 from here.
 */
void context_release(struct context *context);
