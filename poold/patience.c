#include "patience.h"

#include <dirent.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LONGEST_SLICE_NSEC (100 * 1000 * 1000) /* what sched_setattr(2) takes at most */

/* <linux/sched/types.h>, SCHED_ATTR_SIZE_VER0; glibc has it from 2.41 on. */
struct attributes {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
};

/* Priorities belong to threads, and the modules may have started some. Errors leave things as they are. */
void patience_set(bool patient) {
        DIR *tasks = opendir("/proc/self/task");
        struct dirent *entry;

        while (tasks && (entry = readdir(tasks))) {
                pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
                struct attributes attributes = {
                        .size = sizeof(attributes),
                        .policy = patient ? SCHED_BATCH : SCHED_OTHER,
                        .runtime = patient ? LONGEST_SLICE_NSEC : 0,
                        .nice = getpriority(PRIO_PROCESS, (id_t)thread),
                };

                if (thread)
                        syscall(SYS_sched_setattr, thread, &attributes, 0);
        }
        if (tasks)
                closedir(tasks);
}
