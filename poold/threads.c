#include "threads.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/dents.h"
#include "lib/fd.h"
#include "lib/signal_mask.h"

#define WITHIN_NSEC 10000000
#define PAUSE_NSEC 300000

/*
 * One that C libraries keep for themselves and that nobody can block who asks them to: glibc's SIGSETXID, musl's
 * SIGCANCEL. Libraries do block all others in their threads (libzmq).
 */
#define STOP_SIGNAL 33

static uint32_t n_stopped; /* a futex(2) */
static uint32_t n_awaited;

static uint32_t count_stopped(void) {
        return __atomic_load_n(&n_stopped, __ATOMIC_SEQ_CST);
}

/* All of this process; 0: cannot be known. Beside its own two links, the folder has one for each: proc_task_getattr(). */
static uint32_t count_all(void) {
        struct stat st;

        return stat("/proc/self/task", &st) == 0 && st.st_nlink > 2 ? (uint32_t)st.st_nlink - 2 : 0;
}

/* What is left to do for each of them, the end of the process, is not urgent. */
static void stop(int signo) {
        const uint64_t all = SIGNAL_MASK_ALL;

        (void)signo;
        signal_mask_set(SIGNAL_MASK_ALL);
        if (__atomic_add_fetch(&n_stopped, 1, __ATOMIC_SEQ_CST) >= __atomic_load_n(&n_awaited, __ATOMIC_SEQ_CST))
                syscall(SYS_futex, &n_stopped, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 });
        for (;;)
                syscall(SYS_rt_sigsuspend, &all, sizeof(all));
}

/* The C library refuses the number. What it gives the kernel for another one, whose form only it knows, is as good. */
static void handle_signal(void) {
        struct sigaction action = { .sa_handler = stop, .sa_flags = SA_ONSTACK };
        uint64_t as_the_kernel_has_it[16];

        sigfillset(&action.sa_mask);
        sigaction(SIGSYS, &action, NULL);
        syscall(SYS_rt_sigaction, SIGSYS, NULL, as_the_kernel_has_it, sizeof(uint64_t));
        syscall(SYS_rt_sigaction, STOP_SIGNAL, as_the_kernel_has_it, NULL, sizeof(uint64_t));
}

static int64_t now_nsec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Again for those that have stopped: they do not notice. */
static void signal_others(pid_t self) {
        _cleanup_fd_ int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dents dents;
        const char *name;

        dents_init(&dents, fd);
        while ((name = dents_next(&dents))) {
                pid_t thread = (pid_t)strtol(name, NULL, 10);

                if (thread > 0 && thread != self)
                        syscall(SYS_tgkill, self, thread, STOP_SIGNAL);
        }
}

/* Until that many have stopped, or for a moment: others end meanwhile, or start. */
static void wait_for(uint32_t n) {
        uint32_t now;

        __atomic_store_n(&n_awaited, n, __ATOMIC_SEQ_CST);
        now = count_stopped();
        if (now < n)
                syscall(SYS_futex, &n_stopped, FUTEX_WAIT_PRIVATE, now,
                        &(struct timespec){ .tv_nsec = PAUSE_NSEC }, NULL, 0);
}

bool threads_stop(void) {
        uint32_t n_before = 0, n = count_all();
        const pid_t self = getpid();
        int64_t until_nsec;

        if (n == 1)
                return true;
        signal_mask_set(SIGNAL_MASK_ALL);
        handle_signal();
        /* Who has stopped stays. If these are all, nobody is left to start others. */
        for (until_nsec = now_nsec() + WITHIN_NSEC; n && n != n_before + 1;) {
                if (now_nsec() >= until_nsec)
                        return false;
                signal_others(self);
                wait_for(n - 1);
                n_before = count_stopped();
                n = count_all();
        }
        return n;
}
