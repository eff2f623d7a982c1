#include "threads.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/signal_mask.h"

#define WITHIN_NSEC 10000000

static uint32_t n_stopped; /* a futex(2) */

/* As getdents64(2) has it; readdir(3) allocates. */
struct entry {
        uint64_t inode;
        int64_t offset;
        uint16_t n_bytes;
        uint8_t type;
        char name[];
};

static uint32_t count_stopped(void) {
        return __atomic_load_n(&n_stopped, __ATOMIC_SEQ_CST);
}

/* What is left to do for each of them, the end of the process, is not urgent. */
static void stop(int signo) {
        const uint64_t all = SIGNAL_MASK_ALL;

        (void)signo;
        sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 });
        __atomic_add_fetch(&n_stopped, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &n_stopped, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        for (;;)
                syscall(SYS_rt_sigsuspend, &all, sizeof(all));
}

static int64_t now_nsec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Until that many have stopped, or the time is over. */
static void wait_for(uint32_t n, int64_t until_nsec) {
        for (uint32_t now = count_stopped(); now < n; now = count_stopped()) {
                int64_t left_nsec = until_nsec - now_nsec();

                if (left_nsec <= 0)
                        return;
                syscall(SYS_futex, &n_stopped, FUTEX_WAIT_PRIVATE, now, &(struct timespec){ .tv_nsec = left_nsec },
                        NULL, 0);
        }
}

/* Has all others stop, those again that have: they do not notice. Returns how many there are, or -1. */
static int signal_others(pid_t self) {
        _cleanup_fd_ int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        union {
                uint64_t align;
                char bytes[4096];
        } entries;
        ssize_t n_bytes = -1;
        int n = 0;

        while (fd >= 0 && (n_bytes = syscall(SYS_getdents64, fd, &entries, sizeof(entries))) > 0)
                for (ssize_t at = 0; at < n_bytes;) {
                        const struct entry *entry = (const void *)(entries.bytes + at);
                        pid_t thread = (pid_t)strtol(entry->name, NULL, 10);

                        if (thread > 0 && thread != self && syscall(SYS_tgkill, self, thread, SIGSYS) == 0)
                                n++;
                        at += entry->n_bytes;
                }
        return n_bytes < 0 ? -1 : n;
}

/* Beside its own two links, the folder has one for each: proc_task_getattr() of Linux. */
static bool has_one_thread(void) {
        struct stat st;

        return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3;
}

bool threads_stop(void) {
        struct sigaction action = { .sa_handler = stop, .sa_flags = SA_ONSTACK };
        const int64_t until_nsec = now_nsec() + WITHIN_NSEC;
        const pid_t self = getpid();

        if (has_one_thread())
                return true;
        sigfillset(&action.sa_mask);
        sigaction(SIGSYS, &action, NULL);
        do {
                uint32_t n_before = count_stopped();
                int n = signal_others(self);

                /* Who has stopped stays, so that these were all; and nobody was left to start others. */
                if (n < 0 || (uint32_t)n == n_before)
                        return n >= 0;
                wait_for((uint32_t)n, until_nsec);
        } while (now_nsec() < until_nsec);
        return false;
}
