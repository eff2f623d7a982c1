#include "context.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/dents.h"
#include "lib/fd.h"
#include "lib/oom_score.h"
#include "lib/signal_mask.h"
#include "lib/stages.h"

#define MAX_PROBED_FDS (1 << 20)
#define MAX_LOW_FDS 64
#define OWN_FDS 16      /* at most, which are open at once beside those that came through execve(2) */
#define MORE_BYTES 4096 /* of a run than its arguments and environment, unless it has many files */

/*
 * The raw call, see lib/signal_mask.h. The disposition is the first word of what the kernel returns, and all that
 * survives execve(2).
 */
static uint64_t find_ignored_signals(void) {
        uint64_t ignored = 0;

        for (int signo = 1; signo <= CONTEXT_N_SIGNALS; signo++) {
                uintptr_t action[8] = { 0 };

                if (syscall(SYS_rt_sigaction, signo, NULL, action, sizeof(uint64_t)) == 0 &&
                    action[0] == (uintptr_t)SIG_IGN)
                        ignored |= UINT64_C(1) << (signo - 1);
        }
        return ignored;
}

static int add_fd(struct context *context, uint64_t number, struct miss *ret_miss) {
        if (context->n_fds == CONTEXT_MAX_FDS)
                return miss_set(ret_miss, "fds", "more than %d files are open", CONTEXT_MAX_FDS);
        context->fd_numbers[context->n_fds++] = number;
        return 0;
}

/* "0" to "2147483647"; -1 for "." and "..". */
static int parse_number(const char *name) {
        int number = 0;

        for (; *name; name++) {
                if (*name < '0' || *name > '9')
                        return -1;
                number = number * 10 + (*name - '0');
        }
        return number;
}

/* Nothing that closes on exec can be the caller's: such are the files of a tool that we run under, as valgrind's are. */
static bool is_of_a_tool(int number) {
        return number >= PROTO_FD_NUMBERS_END && fcntl(number, F_GETFD) != 0;
}

static int add_listed_fds(struct context *context, int folder_fd, struct miss *ret_miss) {
        struct dents dents;
        const char *name;

        dents_init(&dents, folder_fd);
        while ((name = dents_next(&dents))) {
                int number = parse_number(name);
                int r = 0;

                if (number >= 0 && number != folder_fd && !is_of_a_tool(number))
                        r = add_fd(context, (uint64_t)number, ret_miss);
                if (r)
                        return r;
        }
        if (dents.error)
                return miss_set(ret_miss, "fds", "cannot list the open files: %s", strerror(-dents.error));
        return 0;
}

/* Where /proc is not mounted. */
static int probe_fds(struct context *context, struct miss *ret_miss) {
        const rlim_t n_numbers = context->limits[RLIMIT_NOFILE].rlim_cur;
        struct pollfd pollfds[256];
        int r;

        if (n_numbers > MAX_PROBED_FDS)
                return miss_set(ret_miss, "fds", "cannot tell which files are open: /proc is not mounted");
        for (unsigned first = 0; first < n_numbers; first += 256) {
                unsigned n_pollfds = n_numbers - first < 256 ? (unsigned)n_numbers - first : 256;

                for (unsigned i = 0; i < n_pollfds; i++)
                        pollfds[i] = (struct pollfd){ .fd = (int)(first + i) };
                while (poll(pollfds, n_pollfds, 0) < 0)
                        if (errno != EINTR)
                                return miss_set(ret_miss, "fds", "cannot tell which files are open: %s",
                                                strerror(errno));
                for (unsigned i = 0; i < n_pollfds; i++) {
                        r = pollfds[i].revents & POLLNVAL ? 0 : add_fd(context, first + i, ret_miss);
                        if (r)
                                return r;
                }
        }
        return 0;
}

/*
 * From Linux 6.2 on the size of /proc/self/fd is how many files are open. Where all of them are low, asking for each
 * number is faster than reading the folder, for which the kernel makes an inode for each. Returns whether all are found.
 */
static bool find_low_fds(struct context *context, int folder_fd) {
        bool is_folder_found = false;
        struct stat st;
        off_t n_left;

        if (fstat(folder_fd, &st) < 0)
                return false;
        n_left = st.st_size;
        for (int fd = 0; fd < MAX_LOW_FDS && n_left > 0; fd++) {
                if (fcntl(fd, F_GETFD) < 0)
                        continue;
                n_left--;
                if (fd == folder_fd)
                        is_folder_found = true;
                else
                        context->fd_numbers[context->n_fds++] = (uint64_t)fd;
        }
        if (n_left == 0 && is_folder_found)
                return true;
        context->n_fds = 0;
        return false;
}

/* Must come before any fd is opened: those that are open now came through execve(2). */
static int find_fds(struct context *context, struct miss *ret_miss) {
        _cleanup_fd_ int folder_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        traits_collect(folder_fd, context->traits);
        fd_read_whole_text(folder_fd, "../cgroup", context->control_groups, sizeof(context->control_groups));
        if (folder_fd < 0)
                return probe_fds(context, ret_miss);
        if (find_low_fds(context, folder_fd))
                return 0;
        return add_listed_fds(context, folder_fd, ret_miss);
}

static void fill_standard_fds(const struct context *context) {
        unsigned n_standard = 0;
        int fd;

        for (size_t i = 0; i < context->n_fds; i++)
                n_standard += context->fd_numbers[i] <= STDERR_FILENO;
        for (; n_standard <= STDERR_FILENO; n_standard++) {
                fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (fd > STDERR_FILENO)
                        fd_close(fd);
        }
}

/* What cannot be known is what a process has that nobody has changed: nobody can see the difference. */
static void find_priorities(struct context *context) {
        long io_priority = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);

        context->scheduling = (struct scheduling){ 0 };
        scheduling_get(0, &context->scheduling);
        context->io_priority = io_priority < 0 ? 0 : (uint32_t)io_priority;
        context->timer_slack = (uint64_t)syscall(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
        context->oom_score_adj = oom_score_get();
}

static int find_affinity(struct context *context, struct miss *ret_miss) {
        long n_bytes = syscall(SYS_sched_getaffinity, 0, sizeof(context->affinity), context->affinity);

        if (n_bytes < 0)
                return miss_set(ret_miss, "affinity", "cannot tell on which CPUs to run: %s", strerror(errno));
        memset((char *)context->affinity + n_bytes, 0, -(size_t)n_bytes % sizeof(uint64_t));
        context->n_affinity = (uint32_t)(((size_t)n_bytes + sizeof(uint64_t) - 1) / sizeof(uint64_t));
        return 0;
}

int context_collect(struct context *ret_context, struct miss *ret_miss) {
        struct context *context = ret_context;
        int r;

        context->n_fds = 0;
        context->terminal = PROTO_TERMINAL_NONE;
        memset(context->is_terminal, 0, sizeof(context->is_terminal));
        context->cwd_fd = -1;
        context->blocked_signals = signal_mask_set(SIGNAL_MASK_ALL);
        context->ignored_signals = find_ignored_signals();
        for (int resource = 0; resource < (int)RLIM_NLIMITS; resource++)
                getrlimit(resource, &context->limits[resource]);
        context->umask = umask(0);
        umask((mode_t)context->umask);
        context->pid = (uint32_t)getpid();
        context->uid = (uint32_t)geteuid();
        context->leads_group = getpgrp() == (pid_t)context->pid;
        find_priorities(context);
        r = find_affinity(context, ret_miss);
        if (r)
                return r;
        r = find_fds(context, ret_miss);
        if (r)
                return r;
        if (context->limits[RLIMIT_NOFILE].rlim_cur < context->n_fds + OWN_FDS)
                return miss_set(ret_miss, "fds", "too few files may be open at once (ulimit -n)");
        fill_standard_fds(context);

        context->cwd_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (context->cwd_fd < 0)
                return miss_set(ret_miss, "cwd", "cannot open the current folder: %s", strerror(errno));
        return 0;
}

void context_fini(struct context *context) {
        context->cwd_fd = fd_close(context->cwd_fd);
}

/* The fds that go with the run, and the numbers of those that the script's terminal takes the place of. */
static void put_fds(const struct context *context, int claim_fd, struct fdset *ret_fds, uint8_t *numbers,
                    uint8_t *terminal_numbers, struct proto_run *run) {
        uint64_t own[CONTEXT_MAX_FDS], terminal[CONTEXT_MAX_FDS];
        uint32_t n_own = 0, n_terminal = 0;

        ret_fds->n_fds = PROTO_RUN_FD_FIRST;
        ret_fds->fds[PROTO_RUN_FD_CWD] = context->cwd_fd;
        ret_fds->fds[PROTO_RUN_FD_CLAIM] = claim_fd;
        for (size_t i = 0; i < context->n_fds; i++)
                if (context->is_terminal[i]) {
                        terminal[n_terminal++] = context->fd_numbers[i];
                } else {
                        own[n_own++] = context->fd_numbers[i];
                        ret_fds->fds[ret_fds->n_fds++] = (int)context->fd_numbers[i];
                }
        if (context->terminal != PROTO_TERMINAL_NONE)
                ret_fds->fds[ret_fds->n_fds++] = context->terminal_fd;
        wire_u64v_from_array(own, n_own, numbers, &run->fd_numbers);
        wire_u64v_from_array(terminal, n_terminal, terminal_numbers, &run->terminal_numbers);
}

void context_put_run(const struct context *context, const char *pool, const struct wire_strv *argv,
                     const struct wire_strv *env, int claim_fd, struct wire_writer *payload,
                     struct fdset *ret_fds) {
        uint8_t numbers[sizeof(context->fd_numbers)], terminal_numbers[sizeof(context->fd_numbers)];
        uint8_t limits[RLIM_NLIMITS * 2 * sizeof(uint64_t)], traits[sizeof(context->traits)];
        uint8_t affinity[sizeof(context->affinity)], stages[PROTO_N_STAGES * sizeof(uint64_t)] = { 0 };
        uint64_t pairs[RLIM_NLIMITS * 2];
        struct proto_run run = {
                .pool = pool,
                .argv = *argv,
                .env = *env,
                .leads_group = context->leads_group,
                .terminal = context->terminal,
                .umask = context->umask,
                .nice = (uint32_t)(20 - context->scheduling.nice),
                .policy = context->scheduling.policy,
                .priority = context->scheduling.priority,
                .io_priority = context->io_priority,
                .timer_slack = context->timer_slack,
                .oom_score_adj = context->oom_score_adj,
                .ignored_signals = context->ignored_signals,
                .blocked_signals = context->blocked_signals,
                .pid = context->pid,
                .uid = context->uid,
                .control_groups = context->control_groups,
                .stages = { .count = stages_are_noted() ? PROTO_N_STAGES : 0, .data = stages },
        };

        for (size_t i = 0; i < RLIM_NLIMITS; i++) {
                pairs[2 * i] = context->limits[i].rlim_cur;
                pairs[2 * i + 1] = context->limits[i].rlim_max;
        }
        put_fds(context, claim_fd, ret_fds, numbers, terminal_numbers, &run);
        wire_u64v_from_array(pairs, RLIM_NLIMITS * 2, limits, &run.limits);
        wire_u64v_from_array(context->affinity, context->n_affinity, affinity, &run.affinity);
        wire_u64v_from_array(context->traits, N_TRAITS, traits, &run.traits);
        wire_writer_reserve(payload, argv->n_bytes + env->n_bytes + MORE_BYTES);
        proto_put_run(payload, &run);
}

void context_restore_signals(const struct context *context, uint64_t signals) {
        for (int signo = 1; signo <= CONTEXT_N_SIGNALS; signo++)
                if (signals & UINT64_C(1) << (signo - 1))
                        kill(getpid(), signo);
        signal_mask_set(context->blocked_signals);
}

void context_release(struct context *context) {
        for (size_t i = 0; i < context->n_fds; i++)
                if (context->fd_numbers[i] != STDERR_FILENO)
                        close((int)context->fd_numbers[i]);
        context->n_fds = 0;
        context_fini(context);
        if (chdir("/") < 0)
                return; /* the folder stays in use, no more */
}
