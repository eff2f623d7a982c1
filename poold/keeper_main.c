/*
 * poold-keeper PROGRAM ARGV0 ARGUMENT...: the parent of one worker, for as long as that lives.
 *
 * It leads a session, in which the worker has a process group of its own. So the worker stands to it as a shell's job
 * stands to the shell: the kernel lets the group be stopped (setpgid(2), orphaned process group), and tells us of it
 * and of the worker's end, which we pass on to the client. None of that needs poold. We end as the worker has ended,
 * which is how poold learns of it.
 *
 * The worker is born with a controlling terminal, since only a session's leader could give it one later, and that is
 * not the worker. A run without a terminal drops it, which costs the worker less than 2 us.
 *
 * We see to the limits of the pool's: we end a run whose time is up, and if the worker has a control group (groups.h)
 * we put it there, stay outside ourselves, tell the client of a kill for lack of memory, and remove the group.
 *
 * From poold: SIGHUP is passed on to the worker's group, SIGTERM kills it, KEEPER_SIGNAL names another one for it. Other
 * signals, such as those that a script sends to its parent, which under python3 is another process, do nothing.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "footprint.h"
#include "keeper.h"
#include "lib/channel.h"
#include "lib/end.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "lib/signal_mask.h"
#include "patience.h"

#define KILL_AFTER_MS 2000
#define KILL_AFTER_TIMEOUT_MS 10000 /* run_timeout(5) promises it */

struct keeper {
        pid_t worker;
        pid_t first_group; /* in which the worker began, and what its modules have started is */
        pid_t group;       /* whose turn on the terminal it is next */
        int terminal;
        int master; /* of it, so that it does not hang up in a worker that drops it */
        int signal_fd;
        bool has_group;         /* KEEPER_FD_GROUP is the worker's control group */
        struct channel *client; /* NULL once that is gone */
        bool is_done;           /* the client has said so */
        int64_t kill_at_ms;     /* 0: not at all */
        int64_t end_at_ms;      /* the run's time is up; 0: never */
        struct proto_limits limits;
        char pool[PROTO_POOL_BYTES]; /* its name, "" until there is a run with limits */
};

/* What the worker is to have, until it does. */
struct gifts {
        int client, master, slave;
};

static int64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- Start --- */

/* By its master and not by name, which another mount may hide. Without a terminal there is less to be had, no more. */
static void open_terminal(struct gifts *gifts) {
        int unlocked = 0;

        gifts->slave = -1;
        gifts->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (gifts->master >= 0 && ioctl(gifts->master, TIOCSPTLCK, &unlocked) == 0)
                gifts->slave = ioctl(gifts->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (gifts->slave >= 0 && ioctl(gifts->slave, TIOCSCTTY, 0) == 0)
                return;
        gifts->slave = fd_close(gifts->slave);
        gifts->master = fd_close(gifts->master);
}

/* Gives @fd the number @to, which lies below those of all that we have opened. */
static void place(int fd, int to) {
        if (fd >= 0 && dup2(fd, to) < 0)
                _exit(127);
}

/* Tells poold that all depends on @path, in the place of the worker that there is none of. */
static void tell_missing(const char *path) {
        struct channel *control = channel_new(KEEPER_FD_CONTROL, PROTO_WORKER, PROTO_SERVER);
        struct footprint *footprint = footprint_new();
        struct wire_writer payload = { 0 };

        if (control && footprint && footprint_add(footprint, path) == 0 && footprint_put(footprint, &payload) == 0)
                channel_send(control, PROTO_FILES, &payload, NULL);
}

__attribute__((noreturn)) static void become_worker(const struct gifts *gifts, pid_t keeper, char **argv) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* how the keeper ends is how the worker has ended */
        if (getppid() != keeper)
                _exit(127);
        place(gifts->client, KEEPER_FD_CLIENT);
        place(gifts->master, KEEPER_FD_MASTER);
        place(gifts->slave, KEEPER_FD_SLAVE);
        signal_mask_set(0);
        patience_set(true, getpriority(PRIO_PROCESS, 0));
        execv(argv[1], argv + 2);
        /* When it is there again, poold tries at once. */
        tell_missing(argv[1]);
        dprintf(STDERR_FILENO, "poold-keeper: cannot start %s: %s\n", argv[1], strerror(errno));
        _exit(127);
}

static int open_client(struct keeper *keeper, struct gifts *gifts) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        gifts->client = pair[1];
        keeper->client = channel_new(pair[0], PROTO_KEEPER, PROTO_CLIENT | PROTO_WORKER);
        return keeper->client ? 0 : -ENOMEM;
}

static int open_signals(struct keeper *keeper) {
        sigset_t ours;

        signal_mask_set(SIGNAL_MASK_ALL);
        sigemptyset(&ours);
        sigaddset(&ours, SIGCHLD);
        sigaddset(&ours, SIGHUP);
        sigaddset(&ours, SIGTERM);
        sigaddset(&ours, KEEPER_SIGNAL);
        keeper->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
        return keeper->signal_fd < 0 ? -errno : 0;
}

/* Low numbers are the worker's, see keeper.h. */
static int reserve_numbers(void) {
        for (int number = KEEPER_FD_CLIENT; number < KEEPER_FDS_END; number++)
                if (fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, number) != number)
                        return -EMFILE;
        return 0;
}

/* A child that only has its place in a process group, until it is dismissed or we end. Returns its pid, or -1. */
static pid_t fork_idler(void) {
        const pid_t self = getpid();
        pid_t pid = fork();

        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                while (getppid() == self)
                        pause();
                _exit(0);
        }
        return pid;
}

static void dismiss_idler(pid_t pid) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
}

/*
 * As fork(2), into the worker's control group if it has one: born there, it need not be moved, for which the kernel
 * makes every process of the machine that forks or ends wait.
 */
static pid_t fork_worker(const struct keeper *keeper) {
        struct clone_args arguments = {
                .flags = CLONE_INTO_CGROUP,
                .exit_signal = SIGCHLD,
                .cgroup = KEEPER_FD_GROUP,
        };

        if (!keeper->has_group)
                return fork();
        return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

/*
 * The worker is in a process group of which it is not the leader, since that does not live long. If its client leads
 * one, it makes itself a leader later; there would be no way back.
 */
static int start_worker(struct keeper *keeper, const struct gifts *gifts, char **argv) {
        const pid_t self = getpid();
        pid_t leader = fork_idler();
        int r;

        if (leader < 0 || setpgid(leader, leader) < 0)
                return -errno;
        keeper->worker = fork_worker(keeper);
        r = keeper->worker < 0 ? -errno : 0;
        if (keeper->worker == 0) {
                setpgid(0, leader);
                become_worker(gifts, self, argv);
        }
        if (r == 0)
                setpgid(keeper->worker, leader);
        keeper->first_group = keeper->group = leader;
        dismiss_idler(leader);
        return r;
}

static int start(struct keeper *keeper, char **argv) {
        struct gifts gifts = { -1, -1, -1 };
        int r;

        keeper->has_group =
                fd_set_cloexec(KEEPER_FD_GROUP, true) == 0; /* before it is the number of something else */
        r = reserve_numbers();
        if (r == 0)
                r = open_signals(keeper);
        if (r == 0)
                r = open_client(keeper, &gifts);
        if (r < 0)
                return r;
        open_terminal(&gifts);
        keeper->terminal = gifts.slave;
        keeper->master = gifts.master;
        r = start_worker(keeper, &gifts, argv);
        if (r < 0)
                return r;
        /* Nobody else may keep open what the others wait for the end of. */
        syscall(SYS_close_range, KEEPER_FD_CONTROL, KEEPER_FDS_END - 1, 0);
        fd_close(gifts.client);
        return 0;
}

/* --- Signals --- */

/* The worker's process group, also when it has ended but is not reaped. */
static pid_t group_of_worker(const struct keeper *keeper) {
        pid_t group = getpgid(keeper->worker);

        return group > 0 && group != getpgrp() ? group : keeper->first_group;
}

/*
 * To the worker's process group, or another one of our session. If all of that has ended, its number may be somebody
 * else's by now: then no child of ours can join it (setpgid(2)), and one that has joined it keeps it what it is.
 */
static void signal_group(const struct keeper *keeper, pid_t group, int signo) {
        pid_t idler;

        if (group == getpgid(keeper->worker)) {
                kill(-group, signo);
                return;
        }
        idler = kill(-group, 0) < 0 ? -1 : fork_idler();
        if (idler < 0)
                return;
        if (setpgid(idler, group) == 0)
                kill(-group, signo);
        dismiss_idler(idler);
}

/* To the worker's process group, and what belongs to it. */
static void signal_all(const struct keeper *keeper, int signo) {
        pid_t group = group_of_worker(keeper);

        signal_group(keeper, group, signo);
        if (group != keeper->first_group)
                signal_group(keeper, keeper->first_group, signo);
}

/* --- The client --- */

static void tell(struct keeper *keeper, enum proto_type type, const struct wire_writer *payload) {
        if (keeper->client)
                channel_send(keeper->client, type, payload, NULL);
}

/* Whoever had the terminal last, be it a job of a shell in the script, gets it back. */
static void set_foreground(struct keeper *keeper, bool on) {
        pid_t now = keeper->terminal < 0 ? -1 : tcgetpgrp(keeper->terminal);

        if (now <= 0)
                return; /* it is gone */
        if (!on && now != getpgrp())
                keeper->group = now;
        if (on && now != getpgrp())
                return;
        if (tcsetpgrp(keeper->terminal, on ? keeper->group : getpgrp()) < 0 && on)
                tcsetpgrp(keeper->terminal, group_of_worker(keeper));
}

static void carry_out(struct keeper *keeper, const struct proto_keep *keep) {
        if (keep->orders & PROTO_KEEP_FOREGROUND)
                set_foreground(keeper, true);
        if (keep->orders & PROTO_KEEP_BACKGROUND)
                set_foreground(keeper, false);
        if (keep->orders & PROTO_KEEP_CONTINUE) {
                if (keeper->group != group_of_worker(keeper))
                        signal_group(keeper, keeper->group, SIGCONT);
                signal_all(keeper, SIGCONT);
        }
        if (keep->orders & PROTO_KEEP_SIGNAL)
                signal_group(keeper, group_of_worker(keeper), (int)keep->signo);
        if (keep->orders & PROTO_KEEP_HANGUP)
                keeper->master = fd_close(keeper->master);
        if (keep->orders & PROTO_KEEP_DONE) {
                keeper->is_done = true;
                keeper->end_at_ms = 0;
                kill(keeper->worker, SIGCONT); /* it is to end, see turn.h */
        }
}

/* The time of a run begins with it, and goes on while it is stopped, but not while the machine sleeps. */
static void set_limits(struct keeper *keeper, const struct proto_limits *limits) {
        keeper->limits = *limits; /* its strings are the message's */
        snprintf(keeper->pool, sizeof(keeper->pool), "%s", limits->pool);
        keeper->limits.pool = keeper->pool;
        if (limits->run_timeout_sec)
                keeper->end_at_ms = now_ms() + (int64_t)limits->run_timeout_sec * 1000;
}

/* Its run goes with it. */
static void lose_client(struct keeper *keeper) {
        keeper->client = channel_free(keeper->client);
        keeper->master = fd_close(keeper->master);
        if (keeper->is_done)
                return;
        signal_all(keeper, SIGHUP);
        signal_all(keeper, SIGCONT);
        keeper->kill_at_ms = now_ms() + KILL_AFTER_MS;
}

static int handle_message(struct keeper *keeper, struct message *message) {
        struct proto_limits limits;
        struct proto_keep keep;
        int r;

        if (message->type == PROTO_LIMITS) {
                r = proto_get_limits(&message->payload, &limits);
                if (r == 0)
                        set_limits(keeper, &limits);
                return r;
        }
        r = proto_get_keep(&message->payload, &keep);
        if (r == 0)
                carry_out(keeper, &keep);
        return r;
}

/* Reads all that there is. */
static void hear(struct keeper *keeper) {
        int r = 0;

        while (r == 0) {
                _cleanup_message_ struct message message;

                r = channel_next(keeper->client, &message);
                if (r == 0)
                        r = handle_message(keeper, &message);
                else if (r == CHANNEL_AGAIN)
                        r = channel_read(keeper->client);
        }
        if (r != CHANNEL_AGAIN)
                lose_client(keeper);
}

/* --- The pool's limits --- */

static void tell_why(struct keeper *keeper, const char *text) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        log_warn("pool=%s pid=%d %s", keeper->pool, keeper->worker, text);
        proto_put_why(&payload, &(struct proto_why){ .text = text });
        tell(keeper, PROTO_WHY, &payload);
}

/* As timeout(1) ends a command: a stopped one has to go on to hear of it. */
static void end_run(struct keeper *keeper) {
        char text[128];

        snprintf(text, sizeof(text), "ended after %u s, the run_timeout of pool \"%s\"",
                 keeper->limits.run_timeout_sec, keeper->pool);
        tell_why(keeper, text);
        signal_group(keeper, group_of_worker(keeper), SIGTERM);
        signal_group(keeper, group_of_worker(keeper), SIGCONT);
        keeper->end_at_ms = 0;
        if (!keeper->kill_at_ms)
                keeper->kill_at_ms = now_ms() + KILL_AFTER_TIMEOUT_MS;
}

/* How many processes of the worker's control group the kernel has killed for their memory. */
static unsigned long count_oom_kills(const struct keeper *keeper) {
        _cleanup_fd_ int fd =
                !keeper->has_group ? -1 : openat(KEEPER_FD_GROUP, "memory.events", O_RDONLY | O_CLOEXEC);
        char text[512];
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        const char *found;

        if (n_bytes < 0)
                return 0;
        text[n_bytes] = '\0';
        found = strstr(text, "\noom_kill ");
        return found ? strtoul(found + strlen("\noom_kill "), NULL, 10) : 0;
}

static void explain_kill(struct keeper *keeper, int wait_status) {
        char text[160];

        if (!WIFSIGNALED(wait_status) || WTERMSIG(wait_status) != SIGKILL || !count_oom_kills(keeper))
                return;
        if (keeper->limits.memory_max_bytes)
                snprintf(text, sizeof(text), "killed for its memory, by the memory_max of pool \"%s\", %llu bytes",
                         keeper->pool, (unsigned long long)keeper->limits.memory_max_bytes);
        else
                snprintf(text, sizeof(text), "killed by the kernel for lack of memory");
        tell_why(keeper, text);
}

/* What the run has left behind keeps it, and is left alone: the group is poold's then, or its successor's. */
static void remove_group(const struct keeper *keeper) {
        char link[32], path[PATH_MAX];
        ssize_t n_bytes;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", KEEPER_FD_GROUP);
        n_bytes = !keeper->has_group ? -1 : readlink(link, path, sizeof(path) - 1);
        if (n_bytes <= 0)
                return;
        path[n_bytes] = '\0';
        rmdir(path);
}

/* --- The worker --- */

static void on_stop(struct keeper *keeper, int signo) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_stopped(&payload, &(struct proto_stopped){ .signo = (uint32_t)signo });
        tell(keeper, PROTO_STOPPED, &payload);
        if (keeper->is_done)
                kill(keeper->worker, SIGCONT);
}

/* It has ended, but is only reaped at last: until then the number of its group is its own. */
static void on_end(struct keeper *keeper, int wait_status) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        /* Our end hangs up those in the foreground. */
        if (keeper->terminal >= 0 && tcgetpgrp(keeper->terminal) != getpgrp())
                tcsetpgrp(keeper->terminal, getpgrp());
        if (keeper->client)
                hear(keeper);
        explain_kill(keeper, wait_status);
        proto_put_ended(&payload, &(struct proto_ended){ .wait_status = (uint32_t)wait_status });
        tell(keeper, PROTO_GONE, &payload);
        /* Of what it has started nobody is left to take care, be it modules that did or a run that is not wanted. */
        if (!keeper->client && !keeper->is_done)
                signal_all(keeper, SIGKILL);
        waitpid(keeper->worker, NULL, 0);
        remove_group(keeper);
}

/* Returns whether it has ended, and *ret_wait_status. */
static bool look_at_worker(struct keeper *keeper, int *ret_wait_status) {
        siginfo_t info = { 0 };

        if (waitid(P_PID, (id_t)keeper->worker, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid)
                on_stop(keeper, info.si_status);
        info.si_pid = 0;
        if (waitid(P_PID, (id_t)keeper->worker, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
                return false;
        *ret_wait_status = end_wait_status(&info);
        on_end(keeper, *ret_wait_status);
        return true;
}

/* Returns as look_at_worker(). */
static bool on_signals(struct keeper *keeper, int *ret_wait_status) {
        struct signalfd_siginfo signals[8];
        ssize_t n_bytes = read(keeper->signal_fd, signals, sizeof(signals));

        for (size_t i = 0; n_bytes > 0 && i < (size_t)n_bytes / sizeof(signals[0]); i++) {
                if (signals[i].ssi_pid != (uint32_t)getppid())
                        continue;
                if (signals[i].ssi_signo == SIGTERM)
                        signal_all(keeper, SIGKILL);
                else if (signals[i].ssi_signo == SIGHUP)
                        signal_all(keeper, SIGHUP);
                else if (signals[i].ssi_signo == (uint32_t)KEEPER_SIGNAL)
                        signal_group(keeper, group_of_worker(keeper), signals[i].ssi_int);
        }
        return look_at_worker(keeper, ret_wait_status);
}

/* Does what is due. Returns how long to wait for more, -1 for ever. */
static int look_at_clock(struct keeper *keeper) {
        const int64_t now = now_ms();
        int64_t next_ms;

        if (keeper->kill_at_ms && keeper->kill_at_ms <= now) {
                keeper->kill_at_ms = 0;
                signal_all(keeper, SIGKILL);
        }
        if (keeper->end_at_ms && keeper->end_at_ms <= now)
                end_run(keeper);
        next_ms = keeper->end_at_ms;
        if (keeper->kill_at_ms && (!next_ms || keeper->kill_at_ms < next_ms))
                next_ms = keeper->kill_at_ms;
        if (!next_ms)
                return -1;
        return next_ms <= now ? 0 : next_ms - now > INT_MAX ? INT_MAX : (int)(next_ms - now);
}

static int keep(struct keeper *keeper) {
        int wait_status;

        for (;;) {
                struct pollfd pollfds[] = {
                        { .fd = keeper->signal_fd, .events = POLLIN },
                        { .fd = keeper->client ? channel_fd(keeper->client) : -1, .events = POLLIN },
                };
                int n = poll(pollfds, 2, look_at_clock(keeper));

                if (n > 0 && pollfds[0].revents && on_signals(keeper, &wait_status))
                        return wait_status;
                if (n > 0 && pollfds[1].revents)
                        hear(keeper);
        }
}

int main(int argc, char **argv) {
        struct keeper keeper = { 0 };
        int r;

        if (argc < 3)
                return 2;
        r = start(&keeper, argv);
        if (r < 0) {
                dprintf(STDERR_FILENO, "poold-keeper: cannot start %s: %s\n", argv[1], strerror(-r));
                return 127;
        }
        return end_like(keep(&keeper));
}
