#include "scheduling.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FLAG_RESET_ON_FORK 1 /* of the flags below */

/* <linux/sched/types.h>, SCHED_ATTR_SIZE_VER0; glibc has it from 2.41 on. */
struct attributes {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
};

/* For these the kernel tells and takes no nice value, though there is one. */
static bool is_real_time(uint32_t policy) {
        return policy == SCHED_FIFO || policy == SCHED_RR;
}

int scheduling_get(pid_t thread, struct scheduling *ret_scheduling) {
        struct attributes attributes = { 0 };

        if (syscall(SYS_sched_getattr, thread, &attributes, sizeof(attributes), 0) < 0)
                return -errno;
        *ret_scheduling = (struct scheduling){
                .policy = attributes.policy | (attributes.flags & FLAG_RESET_ON_FORK ? SCHED_RESET_ON_FORK : 0),
                .priority = attributes.priority,
                .nice = attributes.nice,
        };
        if (is_real_time(attributes.policy))
                ret_scheduling->nice = getpriority(PRIO_PROCESS, (id_t)thread);
        return 0;
}

int scheduling_set(pid_t thread, const struct scheduling *scheduling, uint64_t slice_nsec) {
        struct attributes attributes = {
                .size = sizeof(attributes),
                .policy = scheduling->policy & ~(uint32_t)SCHED_RESET_ON_FORK,
                .flags = scheduling->policy & SCHED_RESET_ON_FORK ? FLAG_RESET_ON_FORK : 0,
                .nice = scheduling->nice,
                .priority = scheduling->priority,
                .runtime = slice_nsec,
        };

        if (is_real_time(attributes.policy) && setpriority(PRIO_PROCESS, (id_t)thread, scheduling->nice) < 0)
                return -errno;
        return syscall(SYS_sched_setattr, thread, &attributes, 0) < 0 ? -errno : 0;
}
