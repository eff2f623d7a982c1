#include "process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <linux/pidfd.h> as of Linux 6.9; the C library's headers are older than the kernels we run on. */
#define SIGNAL_PROCESS_GROUP (1U << 2) /* PIDFD_SIGNAL_PROCESS_GROUP */

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

/* The raw call: sigprocmask(3) leaves out the signals that glibc uses. */
static void set_blocked_signals(uint64_t mask) {
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

bool process_stop_self(int signo) {
        const uintptr_t default_action[8] = { 0 };
        sigset_t pending;

        /* We may have inherited that it is ignored, which the script may have changed for itself. */
        syscall(SYS_rt_sigaction, signo, default_action, NULL, sizeof(uint64_t));
        kill(getpid(), signo);
        set_blocked_signals(~(UINT64_C(1) << (signo - 1)));
        set_blocked_signals(UINT64_MAX);
        return sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
}
