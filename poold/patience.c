#include "patience.h"

#include <dirent.h>
#include <sched.h>
#include <stdlib.h>

#include "lib/scheduling.h"

#define LONGEST_SLICE_NSEC UINT64_C(100000000) /* what sched_setattr(2) takes at most */
#define MAX_NICE 19

void patience_set_for_good(void) {
        const struct scheduling last = { .policy = SCHED_BATCH, .nice = MAX_NICE };

        scheduling_set(0, &last, LONGEST_SLICE_NSEC);
        sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 });
}

/* Priorities belong to threads, and the modules may have started some. Errors leave things as they are. */
void patience_set(bool patient, int nice) {
        DIR *tasks = opendir("/proc/self/task");
        struct dirent *entry;

        while (tasks && (entry = readdir(tasks))) {
                pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
                const struct scheduling scheduling = {
                        .policy = patient ? SCHED_BATCH : SCHED_OTHER,
                        .nice = nice,
                };

                if (thread)
                        scheduling_set(thread, &scheduling, patient ? LONGEST_SLICE_NSEC : 0);
        }
        if (tasks)
                closedir(tasks);
}
