#include "patience.h"

#include <dirent.h>
#include <sched.h>
#include <stdlib.h>

#include "lib/scheduling.h"

#define LONGEST_SLICE_NSEC (100 * 1000 * 1000) /* what sched_setattr(2) takes at most */

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
