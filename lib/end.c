#include "end.h"

#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "signal_mask.h"

#define CORE_DUMPED 0x80 /* WCOREFLAG, which not every C library tells; see WCOREDUMP() in wait(2) */

int end_wait_status(const siginfo_t *info) {
        if (info->si_code == CLD_EXITED)
                return (info->si_status & 0xff) << 8;
        return info->si_status | (info->si_code == CLD_DUMPED ? CORE_DUMPED : 0);
}

int end_like(int wait_status) {
        const struct rlimit no_core = { 0, 0 };
        const uintptr_t default_action[8] = { 0 };
        int signo;

        if (!WIFSIGNALED(wait_status))
                return WEXITSTATUS(wait_status);
        signo = WTERMSIG(wait_status);
        prctl(PR_SET_DUMPABLE, 0);
        setrlimit(RLIMIT_CORE, &no_core);
        /* The raw call, see signal_mask.h. */
        syscall(SYS_rt_sigaction, signo, default_action, NULL, sizeof(uint64_t));
        kill(getpid(), signo);
        signal_mask_set(~(UINT64_C(1) << (signo - 1)));
        return 128 + signo;
}
