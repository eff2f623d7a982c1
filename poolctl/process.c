#include "process.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/signal_mask.h"

void process_signal(const struct process *process, int signo) {
        syscall(SYS_pidfd_send_signal, process->pidfd, signo, NULL, 0);
}

bool process_stop_self(int signo) {
        const uintptr_t default_action[8] = { 0 };
        sigset_t pending;

        /* We may have inherited that it is ignored, which the script may have changed for itself. */
        syscall(SYS_rt_sigaction, signo, default_action, NULL, sizeof(uint64_t));
        kill(getpid(), signo);
        signal_mask_set(~(UINT64_C(1) << (signo - 1)));
        signal_mask_set(SIGNAL_MASK_ALL);
        return sigpending(&pending) == 0 && sigismember(&pending, SIGCONT) == 1;
}
