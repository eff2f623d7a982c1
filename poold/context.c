#include "context.h"

#include <dirent.h>
#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/oom_score.h"
#include "lib/scheduling.h"

static uint32_t our_oom_score = OOM_SCORE_UNKNOWN;

static rlim_t data_max = RLIM_INFINITY;

void context_remember(uint64_t data_max_bytes) {
        if (data_max_bytes)
                data_max = data_max_bytes;
        our_oom_score = oom_score_get();
}

static struct rlimit limit_of(const struct proto_run *run, unsigned resource) {
        return (struct rlimit){
                .rlim_cur = wire_u64v_at(&run->limits, 2 * resource),
                .rlim_max = wire_u64v_at(&run->limits, 2 * resource + 1),
        };
}

/*
 * The soft limit on fds may not fall before the client's fds are in place, and may have to rise before: until
 * context_adopt_late() it is the larger one.
 */
static struct rlimit early_limit(unsigned resource, const struct rlimit *ours, struct rlimit wanted) {
        if (resource == RLIMIT_NOFILE && wanted.rlim_cur < ours->rlim_cur)
                wanted.rlim_cur = ours->rlim_cur < wanted.rlim_max ? ours->rlim_cur : wanted.rlim_max;
        return wanted;
}

/* Is there one of the client's fds that could not have its number under a limit of so many? */
static bool has_fd_from(const struct proto_run *run, rlim_t limit) {
        const struct wire_u64v *const lists[] = { &run->fd_numbers, &run->terminal_numbers };

        for (size_t i = 0; i < 2; i++)
                if (lists[i]->count && wire_u64v_at(lists[i], lists[i]->count - 1) >= limit) /* they ascend */
                        return true;
        return false;
}

/*
 * Those that count what the process has taken before its run, which for a worker is what its modules took: a python3
 * that has not imported them has more left.
 */
static bool counts_the_preload(unsigned resource) {
        return resource == RLIMIT_AS || resource == RLIMIT_DATA || resource == RLIMIT_CPU;
}

/*
 * Of what counts memory, RLIMIT_DATA is nearest to what a process uses: memory of its own that can be written. Of
 * RLIMIT_AS, libraries reserve many times that.
 */
static int limit_memory(struct decline *why) {
        struct rlimit ours;

        if (data_max == RLIM_INFINITY || getrlimit(RLIMIT_DATA, &ours) < 0)
                return 0;
        ours.rlim_max = ours.rlim_max < data_max ? ours.rlim_max : data_max;
        ours.rlim_cur = ours.rlim_max;
        return setrlimit(RLIMIT_DATA, &ours) < 0 ? decline(why, "limits", "memory_max: %s", strerror(errno)) : 0;
}

static int adopt_limits(const struct proto_run *run, struct decline *why) {
        if (run->limits.count != 2 * RLIM_NLIMITS)
                return decline(why, "limits", "%u limits are not %u", run->limits.count, 2 * RLIM_NLIMITS);
        for (unsigned resource = 0; resource < RLIM_NLIMITS; resource++) {
                struct rlimit wanted = limit_of(run, resource), ours;

                if (getrlimit((enum __rlimit_resource)resource, &ours) < 0)
                        return decline(why, "limits", "getrlimit: %s", strerror(errno));
                if (resource == RLIMIT_NOFILE && has_fd_from(run, early_limit(resource, &ours, wanted).rlim_cur))
                        return decline(why, "fds", "an open file's number is above the limit on open files");
                if (ours.rlim_cur == wanted.rlim_cur && ours.rlim_max == wanted.rlim_max)
                        continue;
                if (resource == RLIMIT_STACK && ours.rlim_cur != wanted.rlim_cur)
                        return decline(why, "limits", "the stack's limit acts at the start of a process");
                if (counts_the_preload(resource) && wanted.rlim_cur != RLIM_INFINITY)
                        return decline(why, "limits", "limit %u counts what the pool's modules have used",
                                       resource);
                wanted = early_limit(resource, &ours, wanted);
                if (setrlimit((enum __rlimit_resource)resource, &wanted) < 0)
                        return decline(why, "limits", "limit %u: %s", resource, strerror(errno));
        }
        return limit_memory(why);
}

/* Priority and CPUs belong to threads, and the modules may have started some. */
static int for_each_thread(int (*set)(pid_t tid, const struct proto_run *run), const struct proto_run *run) {
        DIR *tasks = opendir("/proc/self/task");
        struct dirent *entry;
        int r = 0;

        if (!tasks)
                return -errno;
        while (r == 0 && (entry = readdir(tasks)))
                if (entry->d_name[0] != '.')
                        r = set((pid_t)strtol(entry->d_name, NULL, 10), run);
        closedir(tasks);
        return r;
}

static struct scheduling scheduling_of(const struct proto_run *run) {
        return (struct scheduling){
                .policy = run->policy,
                .priority = run->priority,
                .nice = 20 - (int)run->nice,
        };
}

static int set_scheduling(pid_t tid, const struct proto_run *run) {
        const struct scheduling wanted = scheduling_of(run);

        return scheduling_set(tid, &wanted, 0);
}

static int adopt_scheduling(const struct proto_run *run, struct decline *why) {
        const struct scheduling wanted = scheduling_of(run);
        struct scheduling ours;
        int r;

        if (scheduling_get(0, &ours) == 0 && ours.policy == wanted.policy && ours.priority == wanted.priority &&
            ours.nice == wanted.nice)
                return 0;
        r = for_each_thread(set_scheduling, run);
        return r < 0 ? decline(why, "nice", "policy %u, priority %u, nice %d: %s", wanted.policy, wanted.priority,
                               wanted.nice, strerror(-r))
                     : 0;
}

static int set_io_priority(pid_t tid, const struct proto_run *run) {
        return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid, run->io_priority) < 0 ? -errno : 0;
}

static int adopt_io_priority(const struct proto_run *run, struct decline *why) {
        long ours = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
        int r;

        if (ours < 0 || (uint32_t)ours == run->io_priority) /* a kernel without, or the same */
                return 0;
        r = for_each_thread(set_io_priority, run);
        return r < 0 ? decline(why, "nice", "I/O priority %#x: %s", run->io_priority, strerror(-r)) : 0;
}

/* 0 is that of real-time threads, for which the policy is enough; to set, it would be something else. */
static void adopt_timer_slack(const struct proto_run *run) {
        if (run->timer_slack && (uint64_t)syscall(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0) != run->timer_slack)
                prctl(PR_SET_TIMERSLACK, run->timer_slack, 0, 0, 0);
}

/* Less than a service manager has given us we may not have, which a script has to live with. */
static void adopt_oom_score(const struct proto_run *run) {
        if (run->oom_score_adj < OOM_SCORE_UNKNOWN && run->oom_score_adj != our_oom_score)
                oom_score_set(run->oom_score_adj);
}

static void affinity_of(const struct proto_run *run, cpu_set_t *ret_cpus) {
        CPU_ZERO(ret_cpus);
        for (uint32_t word = 0; word < run->affinity.count && word < CPU_SETSIZE / 64; word++)
                for (unsigned bit = 0; bit < 64; bit++)
                        if (wire_u64v_at(&run->affinity, word) >> bit & 1)
                                CPU_SET(word * 64 + bit, ret_cpus);
}

static int set_affinity(pid_t tid, const struct proto_run *run) {
        cpu_set_t cpus;

        affinity_of(run, &cpus);
        return sched_setaffinity(tid, sizeof(cpus), &cpus) < 0 ? -errno : 0;
}

static int adopt_affinity(const struct proto_run *run, struct decline *why) {
        cpu_set_t ours, wanted;
        int r;

        affinity_of(run, &wanted);
        if (sched_getaffinity(0, sizeof(ours), &ours) < 0)
                return decline(why, "affinity", "more CPUs than we count");
        if (CPU_EQUAL(&ours, &wanted))
                return 0;
        r = for_each_thread(set_affinity, run);
        return r < 0 ? decline(why, "affinity", "sched_setaffinity: %s", strerror(-r)) : 0;
}

int context_adopt(const struct proto_run *run, int cwd, struct decline *why) {
        int r;

        if (fchdir(cwd) < 0)
                return decline(why, "cwd", "fchdir: %s", strerror(errno));
        r = adopt_limits(run, why);
        if (r == 0)
                r = adopt_scheduling(run, why);
        if (r == 0)
                r = adopt_io_priority(run, why);
        if (r == 0)
                r = adopt_affinity(run, why);
        if (r)
                return r;
        adopt_timer_slack(run);
        adopt_oom_score(run);
        umask(run->umask & 0777);
        return 0;
}

void context_adopt_late(const struct proto_run *run) {
        struct rlimit limit = limit_of(run, RLIMIT_NOFILE);
        sigset_t blocked;

        setrlimit(RLIMIT_NOFILE, &limit);
        sigemptyset(&blocked);
        for (int number = 1; number <= 64; number++) {
                if (run->ignored_signals >> (number - 1) & 1)
                        signal(number, SIG_IGN);
                if (run->blocked_signals >> (number - 1) & 1)
                        sigaddset(&blocked, number);
        }
        pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}
