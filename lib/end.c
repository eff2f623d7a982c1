#include "end.h"

#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CORE_DUMPED 0x80 /* WCOREFLAG, which not every C library tells; see WCOREDUMP() in wait(2) */

int end_wait_status(const siginfo_t *info) {
        if (info->si_code == CLD_EXITED)
                return (info->si_status & 0xff) << 8;
        return info->si_status | (info->si_code == CLD_DUMPED ? CORE_DUMPED : 0);
}

int end_like(int wait_status) {
        const struct rlimit no_core = { 0, 0 };
        const uintptr_t default_action[8] = { 0 };
        uint64_t all_others;
        int signo;

        if (!WIFSIGNALED(wait_status))
                return WEXITSTATUS(wait_status);
        signo = WTERMSIG(wait_status);
        all_others = ~(UINT64_C(1) << (signo - 1));
        prctl(PR_SET_DUMPABLE, 0);
        setrlimit(RLIMIT_CORE, &no_core);
        /* The raw calls: glibc hides the two signals that it uses itself from its own. */
        syscall(SYS_rt_sigaction, signo, default_action, NULL, sizeof(uint64_t));
        kill(getpid(), signo);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all_others, NULL, sizeof(all_others));
        return 128 + signo;
}
