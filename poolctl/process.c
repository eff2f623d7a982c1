#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fd.h"

/* <linux/pidfd.h> as of Linux 6.9 and 6.15; the C library's headers are older than the kernels we run on. */
#define SIGNAL_PROCESS_GROUP (1U << 2) /* PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9 */
#define INFO_EXIT (UINT64_C(1) << 3)   /* PIDFD_INFO_EXIT, Linux 6.15 */

struct pidfd_info {
        uint64_t mask;
        uint64_t cgroupid;
        uint32_t pid, tgid, ppid;
        uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
        int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_info) == 64, "PIDFD_INFO_SIZE_VER0");

#define GET_INFO _IOWR(0xFF, 11, struct pidfd_info) /* PIDFD_GET_INFO, Linux 6.13 */

static bool has_ended(const struct process *process) {
        struct pollfd pollfd = { .fd = process->pidfd, .events = POLLIN };

        return poll(&pollfd, 1, 0) > 0;
}

void process_signal(const struct process *process, int signo, bool group) {
        unsigned flags = group ? SIGNAL_PROCESS_GROUP : 0;

        if (syscall(SYS_pidfd_send_signal, process->pidfd, signo, NULL, flags) == 0)
                return;
        /* An older kernel: a process that has not ended keeps its number. */
        if (group && errno == EINVAL && !has_ended(process))
                kill(-process->pid, signo);
}

/* Would @signo have its default action there? So we assume if /proc does not tell. */
static bool is_default(const struct process *process, int signo) {
        const uint64_t bit = UINT64_C(1) << (signo - 1);
        bool result = true;
        char line[256];
        FILE *file;

        snprintf(line, sizeof(line), "/proc/%d/status", process->pid);
        file = fopen(line, "re");
        if (!file)
                return true;
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, "SigCgt:", 7) == 0 || strncmp(line, "SigIgn:", 7) == 0)
                        result &= !(strtoull(line + 7, NULL, 16) & bit);
        fclose(file);
        return result;
}

void process_stop(const struct process *process, int signo, bool group) {
        process_signal(process, signo, group);
        if (is_default(process, signo))
                process_signal(process, SIGSTOP, group);
}

/* Returns 0, PROCESS_UNREAPED, or negative errno: before Linux 6.15, and before 6.13 even if it was not reaped. */
static int ask_pidfd(const struct process *process, int *ret_wait_status) {
        struct pidfd_info info = { .mask = INFO_EXIT };

        if (ioctl(process->pidfd, GET_INFO, &info) < 0)
                return -errno;
        if (!(info.mask & INFO_EXIT))
                return PROCESS_UNREAPED;
        *ret_wait_status = info.exit_code;
        return 0;
}

/*
 * May we see what /proc hides from others? The status of a process that we may not see reads as 0. What has ended
 * has no executable any more, which we are told only if we may.
 */
static bool is_visible(const struct process *process) {
        char path[64], target[1];

        snprintf(path, sizeof(path), "/proc/%d/exe", process->pid);
        return readlink(path, target, sizeof(target)) < 0 && errno == ENOENT;
}

/* How a process ended that nobody has waited for yet: the last field of proc_pid_stat(5). Returns 0 or -ESRCH. */
static int read_zombie(const struct process *process, int *ret_wait_status) {
        _cleanup_fd_ int fd = -1;
        char text[2048], *state, *status;
        ssize_t n_read;

        snprintf(text, sizeof(text), "/proc/%d/stat", process->pid);
        fd = open(text, O_RDONLY | O_CLOEXEC);
        n_read = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (n_read <= 0 || !is_visible(process))
                return -ESRCH;
        text[n_read] = '\0';
        state = strrchr(text, ')');
        status = strrchr(text, ' ');
        if (!state || strncmp(state, ") Z ", 4) != 0)
                return -ESRCH;
        /* Only while it is there has nobody else its number. */
        if (syscall(SYS_pidfd_send_signal, process->pidfd, 0, NULL, 0) < 0)
                return -ESRCH;
        *ret_wait_status = (int)strtol(status, NULL, 10);
        return 0;
}

int process_wait_status(const struct process *process, int *ret_wait_status) {
        int r = ask_pidfd(process, ret_wait_status);

        if (r == 0 || read_zombie(process, ret_wait_status) == 0)
                return 0;
        return ask_pidfd(process, ret_wait_status); /* it may have been reaped just then */
}

/* The raw call: sigprocmask(3) leaves out the signals that glibc uses. */
static void set_blocked_signals(uint64_t mask) {
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

bool process_stop_self(int signo, bool group) {
        sigset_t pending;

        kill(group ? 0 : getpid(), signo);
        set_blocked_signals(~(UINT64_C(1) << (signo - 1)));
        set_blocked_signals(UINT64_MAX);
        return sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
}

int process_end_like(int wait_status) {
        const struct rlimit no_core = { 0, 0 };
        const uintptr_t default_action[8] = { 0 };
        int signo;

        if (!WIFSIGNALED(wait_status))
                return WEXITSTATUS(wait_status);
        signo = WTERMSIG(wait_status);
        prctl(PR_SET_DUMPABLE, 0);
        setrlimit(RLIMIT_CORE, &no_core);
        syscall(SYS_rt_sigaction, signo, default_action, NULL, sizeof(uint64_t));
        kill(getpid(), signo);
        set_blocked_signals(~(UINT64_C(1) << (signo - 1)));
        return 128 + signo; /* the first process of a container does not die by its own signals */
}
