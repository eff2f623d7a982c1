#pragma once

/*
 * The protocol between poolctl, poold and its workers: this header is its specification.
 *
 * A Unix stream socket carries messages in both directions. Each is a header of PROTO_HEADER_BYTES
 *
 *     u32 magic   u16 version   u16 type   u32 payload bytes   u16 fds   u16 zero
 *
 * and a payload: its fields, one behind the other, as lib/wire.h writes them. The fds travel as SCM_RIGHTS with the
 * header's first byte. All integers are little-endian.
 *
 * A peer of another version is answered with REFUSED (reason "version") and dropped. To make that possible, the header
 * and the message REFUSED are the same in every version.
 *
 *     client  -> server   RUN                       one run
 *     server  -> worker   ASSIGN                    the same run; the connection, its last fd, is the worker's from then on
 *     worker  -> client   ASSIGNED                  who runs it, before anything of it has begun
 *     worker  -> client   EXIT                      how it ended
 *     server  -> client   REFUSED                   nothing was started; the client runs python3 itself
 *     worker  -> client   REFUSED                   the same, after ASSIGNED; poold gets DECLINED
 *
 * With ASSIGNED the client gets a socket to the worker's parent, poold-keeper, which outlives poold:
 *
 *     keeper  -> client   STOPPED                   the worker was stopped by a signal
 *     keeper  -> client   GONE                      how the worker's process ended; counts if there was no EXIT
 *     keeper  -> client   WHY                       why a limit of the pool's ends the run; comes before the end
 *     client  -> keeper   KEEP                      what is to be done for the run
 *     worker  -> keeper   LIMITS                    what holds for the run, from now on; over the client's socket, before it is that
 *
 * A client that goes without KEEP's DONE takes its run with it: the keeper sends SIGHUP to the worker's process group,
 * and SIGKILL 2 s later.
 *
 *     client  -> server   EXPLAIN                   the same run, which is only to be judged
 *     server  -> client   EXPLAINED                 how it would be served; or DENIED
 *
 *     client  -> server   STATUS, STOP, KILL        answered with DONE, STATUS with more before that
 *
 * A run that finds no idle worker may be told to wait for one:
 *
 *     server  -> client   WAITING                   there will be ASSIGNED, REFUSED or DENIED
 *
 * Where its pool is not to be done without (on_empty = fail):
 *
 *     server  -> client   DENIED                    nothing was started, nor is to be
 *
 * Exactly one side starts the script. RUN carries an eventfd(2) with the count 1, the claim: the worker reads it
 * before it starts, the client reads it before it gives up waiting, after PROTO_REPLY_MS. Whoever got the 1 has the run.
 * A client whose connection ends before that takes the claim back, and may ask again with another one.
 */

#include <stdint.h>

#include "wire.h"

#define PROTO_MAGIC UINT32_C(0x4c4f4f50) /* "POOL" */
#define PROTO_VERSION 1
#define PROTO_HEADER_BYTES 16
#define PROTO_REPLY_MS 1000
#define PROTO_POOL_BYTES 65     /* a pool's name has 1 to 64 letters */
#define PROTO_CGROUP_BYTES 4096 /* RUN's `control_groups`, a line for each hierarchy, has fewer */
#define PROTO_MAX_FDS 253       /* SCM_MAX_FD, see unix(7) */

/* Who may send or receive a message; a bit mask, since a client's peer is first poold and then a worker. */
enum proto_role {
        PROTO_CLIENT = 1 << 0,
        PROTO_SERVER = 1 << 1,
        PROTO_WORKER = 1 << 2,
        PROTO_KEEPER = 1 << 3,
};

/* The first fds of RUN and ASSIGN; behind them come the client's own, in the order of `fd_numbers`. */
enum {
        PROTO_RUN_FD_CWD,
        PROTO_RUN_FD_CLAIM,
        PROTO_RUN_FD_FIRST,
};

/* Numbers of fds from here on are a worker's own: a client that has such fds is not served warm. */
#define PROTO_FD_NUMBERS_END 640

/* RUN's `terminal`. If there is one, the client's terminal is the fd behind the client's own. */
enum {
        PROTO_TERMINAL_NONE,
        PROTO_TERMINAL_BACKGROUND, /* whoever reads it is stopped, and the client decides */
        PROTO_TERMINAL_FOREGROUND, /* it is the script's from the beginning */
        PROTO_N_TERMINALS,
};

/* The fds of ASSIGNED; the terminal only for a run that asked for one: the master of the script's. */
enum {
        PROTO_ASSIGNED_FD_PROCESS, /* the worker's pidfd */
        PROTO_ASSIGNED_FD_KEEPER,  /* a socket to its parent */
        PROTO_ASSIGNED_FD_TERMINAL,
        PROTO_ASSIGNED_N_FDS,
};

/* KEEP's orders, carried out in this order. */
enum {
        PROTO_KEEP_FOREGROUND = 1 << 0, /* the group that had the script's terminal last has it again */
        PROTO_KEEP_BACKGROUND = 1 << 1, /* none has it */
        PROTO_KEEP_CONTINUE = 1 << 2,   /* what was stopped goes on */
        PROTO_KEEP_SIGNAL = 1 << 3,     /* `signo` for the worker's process group */
        PROTO_KEEP_HANGUP = 1 << 4,     /* the client's terminal is gone, so the script's is */
        PROTO_KEEP_DONE = 1 << 5,       /* the run has ended: what it left behind is not to be hung up */
};

/*
 * What counts of a place of FILES, the first letter of a line; the rest is a name there. The place itself counts, too:
 * that it is neither moved nor deleted.
 */
enum {
        PROTO_PLACE_FILE = 'f',    /* a file in this folder, or a link: all that happens to it */
        PROTO_PLACE_MISSING = 'm', /* nothing of that name is there, and nothing is to appear */
        PROTO_PLACE_MODULE = 'i',  /* whatever could be imported by that name comes or goes */
        PROTO_PLACE_PATH = 'p',    /* likewise each of `modules`, and what describes packages: sys.path */
        PROTO_PLACE_LINK = 'l',    /* the place is a symbolic link */
        PROTO_PLACE_CONTENT = 'c', /* it is a file that has other names; only its content counts */
};

/* RUN's `stages`: when poold had reached them, nanoseconds of CLOCK_MONOTONIC (lib/stages.h). */
enum {
        PROTO_STAGE_ACCEPTED, /* the client's connection */
        PROTO_STAGE_RECEIVED, /* the whole run */
        PROTO_STAGE_ASSIGNS,  /* is about to give it to a worker */
        PROTO_N_STAGES,
};

/* STOP's flags. */
enum {
        PROTO_STOP_NOW = 1 << 0, /* end running scripts too */
};

/* What STATUS_WORKERS says of each. */
enum {
        PROTO_WORKER_PID,
        PROTO_WORKER_AGE_USEC,   /* since it was started */
        PROTO_WORKER_SINCE_USEC, /* since it is in this state */
        PROTO_WORKER_CPU_USEC,   /* what it had used when it was ready */
        PROTO_WORKER_N_NUMBERS,
};

/* Tables follow, which the formatter would tear apart. */
/* clang-format off */

/*
 * The catalogue, from which all else is made:
 * M(number, TYPE, name, senders, receivers, largest payload, least fds, most fds)
 */
#define PROTO_MESSAGES(M)                                                                                        \
        M(1, REFUSED, refused, PROTO_SERVER | PROTO_WORKER, PROTO_CLIENT, 64 << 10, 0, 0)                         \
        M(2, RUN, run, PROTO_CLIENT, PROTO_SERVER, 16 << 20, PROTO_RUN_FD_FIRST, PROTO_MAX_FDS - 1)               \
        M(3, ASSIGN, run, PROTO_SERVER, PROTO_WORKER, 16 << 20, PROTO_RUN_FD_FIRST + 1, PROTO_MAX_FDS)            \
        M(4, ASSIGNED, assigned, PROTO_WORKER, PROTO_CLIENT, 64, PROTO_ASSIGNED_FD_TERMINAL, PROTO_ASSIGNED_N_FDS)  \
        M(5, EXIT, ended, PROTO_WORKER, PROTO_CLIENT, 64, 0, 0)                                                   \
        M(6, GONE, ended, PROTO_KEEPER, PROTO_CLIENT, 64, 0, 0)                                                   \
        M(7, SETUP, setup, PROTO_SERVER, PROTO_WORKER, 1 << 20, 0, 0)                                             \
        M(8, READY, ready, PROTO_WORKER, PROTO_SERVER, 64, 0, 0)                                                  \
        M(9, FAILED, failed, PROTO_WORKER, PROTO_SERVER, 1 << 20, 0, 0)                                           \
        M(10, DECLINED, declined, PROTO_WORKER, PROTO_SERVER, 64 << 10, 0, 0)                                     \
        M(11, STATUS, status, PROTO_CLIENT, PROTO_SERVER, 64, 0, 0)                                               \
        M(12, STATUS_HEAD, status_head, PROTO_SERVER, PROTO_CLIENT, 64 << 10, 0, 0)                               \
        M(13, STATUS_POOL, status_pool, PROTO_SERVER, PROTO_CLIENT, 2 << 20, 0, 0)                                \
        M(14, STATUS_MISS, status_miss, PROTO_SERVER, PROTO_CLIENT, 64 << 10, 0, 0)                               \
        M(15, STATUS_WORKERS, status_workers, PROTO_SERVER, PROTO_CLIENT, 2 << 20, 0, 0)                          \
        M(16, DONE, done, PROTO_SERVER, PROTO_CLIENT, 64 << 10, 0, 0)                                             \
        M(17, STOP, stop, PROTO_CLIENT, PROTO_SERVER, 64, 0, 0)                                                   \
        M(18, EXPLAIN, run, PROTO_CLIENT, PROTO_SERVER, 16 << 20, PROTO_RUN_FD_FIRST, PROTO_MAX_FDS - 1)          \
        M(19, EXPLAINED, explained, PROTO_SERVER, PROTO_CLIENT, 64 << 10, 0, 0)                                   \
        M(20, STOPPED, stopped, PROTO_KEEPER, PROTO_CLIENT, 64, 0, 0)                                             \
        M(21, KEEP, keep, PROTO_CLIENT, PROTO_KEEPER, 64, 0, 0)                                                   \
        M(22, FILES, files, PROTO_WORKER, PROTO_SERVER, 16 << 20, 0, 0)                                           \
        M(23, WATCHED, watched, PROTO_SERVER, PROTO_WORKER, 64, 0, 0)                                             \
        M(24, WAITING, waiting, PROTO_SERVER, PROTO_CLIENT, 64, 0, 0)                                             \
        M(25, RELOAD, reload, PROTO_CLIENT, PROTO_SERVER, 64, 0, 0)                                               \
        M(26, KILL, kill, PROTO_CLIENT, PROTO_SERVER, 64, 0, 0)                                                   \
        M(27, DENIED, denied, PROTO_SERVER, PROTO_CLIENT, 64 << 10, 0, 0)                                         \
        M(28, LIMITS, limits, PROTO_WORKER, PROTO_KEEPER, 256, 0, 0)                                              \
        M(29, WHY, why, PROTO_KEEPER, PROTO_CLIENT, 1024, 0, 0)

/* Nothing was started. `reason` is the miss's name, `detail` is for a person, `python` the interpreter to run. */
#define PROTO_FIELDS_refused(F) F(str, reason) F(str, detail) F(str, python)

/* The same, and none is to be run. */
#define PROTO_FIELDS_denied(F) F(str, reason) F(str, detail)

/* A run, and everything of the client's process that it inherits. Signals are masks, bit 0 is signal 1. */
#define PROTO_FIELDS_run(F)                                                                                       \
        F(str, pool)             /* the pool asked for by name, or "" */                                          \
        F(strv, argv)            /* python's arguments, without the program's own name */                         \
        F(strv, env)             /* NAME=value */                                                                 \
        F(u64v, fd_numbers)      /* the number that each of the client's fds has there, ascending */                         \
        F(u32, leads_group)      /* 1: it is the leader of its process group */                                   \
        F(u32, terminal)         /* PROTO_TERMINAL_* */                                                           \
        F(u64v, terminal_numbers) /* of the fds that are the terminal, ascending: none of them comes */            \
        F(u32, umask)                                                                                             \
        F(u32, nice)             /* getpriority(2) as the kernel has it: 20 - nice, 1 to 40 */                    \
        F(u32, policy)           /* of its scheduling, and the priority, as lib/scheduling.h has them */          \
        F(u32, priority)                                                                                          \
        F(u32, io_priority)      /* ioprio_get(2) */                                                              \
        F(u64, timer_slack)      /* PR_GET_TIMERSLACK, nanoseconds */                                             \
        F(u32, oom_score_adj)    /* as lib/oom_score.h has it */                                                   \
        F(u64, ignored_signals)                                                                                   \
        F(u64, blocked_signals)                                                                                   \
        F(u64v, limits)          /* soft and hard limit of each resource of getrlimit(2), in order */             \
        F(u64v, affinity)        /* sched_getaffinity(2), 64 CPUs a word */                                       \
        F(u64v, traits)          /* where it stands, as lib/traits.h has it */                                    \
        F(u32, pid)              /* its own, and its effective user id, as it sees them itself */                 \
        F(u32, uid)                                                                                               \
        F(str, control_groups)   /* its /proc/self/cgroup; "" if that cannot be read, or is too long */           \
        F(u64v, stages)          /* the last: PROTO_N_STAGES of them if poold is to fill them in, else none */

/* `reason` is "" if it would be served warm, by `pool`. Else all is as in REFUSED. */
#define PROTO_FIELDS_explained(F) F(str, pool) F(str, reason) F(str, detail) F(str, python)

#define PROTO_FIELDS_waiting(F) F(u32, timeout_ms) /* as PROTO_REPLY_MS, instead of it */
#define PROTO_FIELDS_assigned(F) F(u32, pid) F(u32, group) /* its process group */
#define PROTO_FIELDS_ended(F) F(u32, wait_status) /* as waitpid(2) has it */

/*
 * What a new worker is to be. `modules` are imported in order; `path` goes before the rest of sys.path. What has changed
 * since `spawned_nsec` (CLOCK_REALTIME_COARSE, as files have it) it may have seen before.
 */
#define PROTO_FIELDS_setup(F)                                                                                     \
        F(str, pool)                                                                                              \
        F(strv, modules)                                                                                          \
        F(strv, path)                                                                                             \
        F(u32, tolerant)         /* 1: it goes on without a module that cannot be imported */                     \
        F(u64, spawned_nsec)                                                                                      \
        F(u32, nice)             /* of the warm-up */                                                             \
        F(u32, run_timeout_sec)  /* of its run; 0: none, as with the next */                                      \
        F(u64, memory_max_bytes)                                                                                  \
        F(u32, has_group)        /* 1: the last is its control group's to hold */
#define PROTO_FIELDS_ready(F) F(u32, pid) F(u64, init_usec) F(u64, preload_usec)
#define PROTO_FIELDS_failed(F)                                                                                    \
        F(str, module) F(str, traceback)                                                                          \
        F(str, changed)          /* what has changed while it was imported: try again; or "" */                   \
        F(u32, goes_on)          /* 1: it goes on without that module */

/*
 * What a worker depends on (poold/footprint.h): `places` are absolute paths without links in them, each followed by what
 * counts there, PROTO_PLACE_*; `inodes` is another number where something else is to be found at one of the paths. Sent
 * before READY or FAILED. WATCHED answers it: what happens from then on, poold sees. With `unwatched` it cannot, and the
 * worker looks itself before it starts a run.
 */
#define PROTO_FIELDS_files(F) F(strv, modules) F(strv, places) F(u64, inodes)
#define PROTO_FIELDS_watched(F) F(u32, unwatched)
#define PROTO_FIELDS_declined(F) F(str, reason)
#define PROTO_FIELDS_stopped(F) F(u32, signo)
/* Those of the pool's that the keeper sees to; 0: none. */
#define PROTO_FIELDS_limits(F) F(str, pool) F(u32, run_timeout_sec) F(u64, memory_max_bytes)
#define PROTO_FIELDS_why(F) F(str, text) /* for a person, behind the program's name */
#define PROTO_FIELDS_keep(F) F(u32, orders) /* PROTO_KEEP_* */ F(u32, signo)

/*
 * STATUS is answered by a head, then each pool followed by its misses and its workers of each state, then DONE.
 * `size` is how many workers it keeps idle now; `is_auto`: nobody has configured that number.
 */
#define PROTO_FIELDS_status(F) F(u32, flags)
#define PROTO_FIELDS_status_head(F) F(u32, pid) F(str, version) F(u64, uptime_usec) F(str, socket) F(str, state)
#define PROTO_FIELDS_status_pool(F)                                                                               \
        F(str, name)                                                                                              \
        F(str, state)                                                                                             \
        F(str, python)                                                                                            \
        F(u32, size)                                                                                              \
        F(u32, is_auto)                                                                                           \
        F(u32, max_workers)                                                                                       \
        F(u32, starting)                                                                                          \
        F(u32, idle)                                                                                              \
        F(u32, busy)                                                                                              \
        F(u32, waiting)          /* runs, for a worker */                                                         \
        F(u64, hits)                                                                                              \
        F(u64, recycled)         /* workers that went without a run, too old or of changed files */               \
        F(u32, warmup_p50_ms)                                                                                     \
        F(u32, warmup_p99_ms)                                                                                     \
        F(u32, handoff_p50_usec)                                                                                  \
        F(u32, handoff_p99_usec)                                                                                  \
        F(u32, wait_p50_usec)    /* of the runs that had to wait */                                               \
        F(u32, wait_p99_usec)                                                                                     \
        F(str, last_error)
#define PROTO_FIELDS_status_miss(F) F(str, reason) F(u64, count)
/* `workers` has PROTO_WORKER_N_NUMBERS for each. */
#define PROTO_FIELDS_status_workers(F) F(str, state) F(u64v, workers)

/* The end of an answer. `error` is "" or says what was wrong, `text` what there is to say otherwise, each for a person. */
#define PROTO_FIELDS_done(F) F(str, error) F(str, text)
#define PROTO_FIELDS_stop(F) F(u32, flags)
#define PROTO_FIELDS_reload(F) F(u32, flags) /* 0 */
/* `signo` for the process group of the run that has this pid; 0 only asks whether there is one. */
#define PROTO_FIELDS_kill(F) F(u32, pid) F(u32, signo)

#define PROTO_PAYLOADS(P)                                                                                         \
        P(refused) P(run) P(assigned) P(ended) P(setup) P(ready) P(failed) P(declined) P(status) P(status_head)   \
        P(status_pool) P(status_miss) P(status_workers) P(done) P(stop) P(explained) P(stopped) P(keep)     \
        P(waiting) P(reload) P(denied) P(kill) P(limits) P(why) P(files) P(watched)
/* clang-format on */

#define PROTO_ENUM(number, type, name, ...) PROTO_##type = (number),
enum proto_type { PROTO_MESSAGES(PROTO_ENUM) };
#undef PROTO_ENUM

/* How a kind of field is held in memory. Strings and lists are borrowed from the payload. */
#define PROTO_KIND_u32 uint32_t
#define PROTO_KIND_u64 uint64_t
#define PROTO_KIND_str const char *
#define PROTO_KIND_strv struct wire_strv
#define PROTO_KIND_u64v struct wire_u64v

#define PROTO_MEMBER(kind, member) PROTO_KIND_##kind member;
/*
 * For each payload a struct, and
 *   proto_put_NAME(): appends its fields to @writer, which keeps the first error;
 *   proto_get_NAME(): reads them. Returns 0, or -EPROTO if they are not exactly that.
 */
#define PROTO_DECLARE(name)                                                                                       \
        struct proto_##name {                                                                                     \
                PROTO_FIELDS_##name(PROTO_MEMBER)                                                                 \
        };                                                                                                        \
        void proto_put_##name(struct wire_writer *writer, const struct proto_##name *value);                      \
        int proto_get_##name(struct wire_reader *reader, struct proto_##name *ret_value);
PROTO_PAYLOADS(PROTO_DECLARE)
#undef PROTO_DECLARE
#undef PROTO_MEMBER

/* Fills in the stages of @payload, a RUN or ASSIGN that has PROTO_N_STAGES of them. */
void proto_set_stages(const struct wire_writer *payload, const uint64_t stages[PROTO_N_STAGES]);

struct proto_header {
        uint16_t version;
        uint16_t type;
        uint32_t n_payload;
        uint16_t n_fds;
};

void proto_header_write(const struct proto_header *header, uint8_t ret_bytes[PROTO_HEADER_BYTES]);

/*
 * Reads a header and checks it against the catalogue: is it a message that one of @senders may send to @receiver, no
 * larger and with no other number of fds than it may have?
 * Returns 0, -EPROTO if not, or -EPROTONOSUPPORT if the sender speaks another version (and it is not REFUSED).
 */
int proto_header_read(const uint8_t bytes[PROTO_HEADER_BYTES], unsigned senders, unsigned receiver,
                      struct proto_header *ret_header);

/* The message's name as the catalogue has it, or "?". */
const char *proto_type_name(unsigned type);
