#include "cpus.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/fd.h"

#define MSEC_USEC UINT64_C(1000)
#define LEAST_WINDOW_USEC (45 * MSEC_USEC) /* the kernel counts hundredths of a second */
#define MOST_WINDOW_USEC (2000 * MSEC_USEC)
#define LINES_BYTES (256 << 10) /* of those about CPUs, which come first */

#define MOST_CPUS 8192 /* a kernel is built for no more */

struct cpus {
        const char *stat_path;
        cpu_set_t ours[MOST_CPUS / CPU_SETSIZE];
        uint32_t n_ours;
        uint64_t ticks_usec;
        uint64_t looked_usec; /* 0: never */
        uint64_t idle_ticks;  /* then */
        uint32_t n_idle;
        char text[LINES_BYTES + 1]; /* what was read last; pages that none has come to cost nothing */
};

/* Those that are online and that we may run on: sched_getaffinity() leaves out the others. Returns whether they are new. */
static bool find_ours(struct cpus *cpus) {
        cpu_set_t ours[MOST_CPUS / CPU_SETSIZE] = { 0 };
        int n;

        sched_getaffinity(0, sizeof(ours), ours);
        if (cpus->n_ours && memcmp(ours, cpus->ours, sizeof(ours)) == 0)
                return false;
        memcpy(cpus->ours, ours, sizeof(ours));
        n = CPU_COUNT_S(sizeof(ours), ours);
        cpus->n_ours = n > 0 ? (uint32_t)n : 1; /* none, for a moment, if the last is taken away */
        return true;
}

struct cpus *cpus_new(const char *stat_path) {
        struct cpus *cpus = calloc(1, sizeof(*cpus));
        long ticks = sysconf(_SC_CLK_TCK);

        if (!cpus)
                return NULL;
        cpus->stat_path = stat_path;
        cpus->ticks_usec = UINT64_C(1000000) / (uint64_t)(ticks > 0 ? ticks : 100);
        find_ours(cpus);
        return cpus;
}

struct cpus *cpus_free(struct cpus *cpus) {
        free(cpus);
        return NULL;
}

uint32_t cpus_count(const struct cpus *cpus) {
        return cpus->n_ours;
}

/* "cpuN user nice system idle iowait ...": adds up idle and iowait of the CPUs that are ours. */
static uint64_t add_up(const struct cpus *cpus) {
        uint64_t sum = 0;

        for (const char *line = cpus->text; strncmp(line, "cpu", 3) == 0;
             line += strcspn(line, "\n"), line += *line == '\n') {
                char *at = (char *)line + 3;
                uint64_t ticks[6]; /* the first is no ticks but the CPU's number */

                if (*at == ' ')
                        continue; /* all of them */
                for (size_t i = 0; i < 6; i++)
                        ticks[i] = strtoull(at, &at, 10);
                if (ticks[0] < MOST_CPUS && CPU_ISSET_S(ticks[0], sizeof(cpus->ours), cpus->ours))
                        sum += ticks[4] + ticks[5];
        }
        return sum;
}

/* Returns false if it cannot be read. */
static bool look(struct cpus *cpus, uint64_t *ret_idle_ticks) {
        _cleanup_fd_ int fd = open(cpus->stat_path, O_RDONLY | O_CLOEXEC);
        size_t n_text = 0;
        ssize_t n = 1;

        if (fd < 0)
                return false;
        while (n > 0 && n_text < LINES_BYTES) {
                n = read(fd, cpus->text + n_text, LINES_BYTES - n_text);
                n_text += n > 0 ? (size_t)n : 0;
        }
        cpus->text[n_text] = '\0';
        if (find_ours(cpus))
                cpus->looked_usec = 0; /* there is nothing to compare them with */
        *ret_idle_ticks = add_up(cpus);
        return n_text > 0;
}

/* How many were idle since the last look, all their idle time added up; 0 if that is too long ago. */
static uint32_t count_idle(const struct cpus *cpus, uint64_t idle_ticks, uint64_t now_usec) {
        const uint64_t window_usec = now_usec - cpus->looked_usec;

        if (!cpus->looked_usec || window_usec > MOST_WINDOW_USEC || idle_ticks < cpus->idle_ticks)
                return 0;
        /* Ticks are coarse: most of one counts as one. */
        return (uint32_t)(((idle_ticks - cpus->idle_ticks) * cpus->ticks_usec + window_usec / 5) / window_usec);
}

bool cpus_take_idle(struct cpus *cpus, uint64_t now_usec) {
        uint64_t idle_ticks;

        if (!cpus->looked_usec || now_usec - cpus->looked_usec >= LEAST_WINDOW_USEC) {
                if (!look(cpus, &idle_ticks))
                        return false;
                cpus->n_idle = count_idle(cpus, idle_ticks, now_usec);
                cpus->looked_usec = now_usec;
                cpus->idle_ticks = idle_ticks;
        }
        if (!cpus->n_idle)
                return false;
        cpus->n_idle--;
        return true;
}
