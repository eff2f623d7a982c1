#include "signal_mask.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t signal_mask_set(uint64_t mask) {
        uint64_t before = 0;

        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof(mask));
        return before;
}
