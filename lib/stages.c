#include "stages.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "fd.h"

#define MAX_STAGES 16
#define LINE_BYTES 64

static struct {
        const char *path; /* NULL while nothing is noted */
        size_t n_stages;
        struct {
                const char *name;
                uint64_t nsec;
        } stages[MAX_STAGES];
} noted;

uint64_t stages_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void stages_begin(const char *path) {
        noted.path = path && path[0] == '/' ? path : NULL;
        noted.n_stages = 0;
}

bool stages_are_noted(void) {
        return noted.path;
}

void stages_note_at(const char *name, uint64_t nsec) {
        if (!noted.path || noted.n_stages == MAX_STAGES)
                return;
        noted.stages[noted.n_stages].name = name;
        noted.stages[noted.n_stages++].nsec = nsec;
}

void stages_note(const char *name) {
        if (noted.path)
                stages_note_at(name, stages_now());
}

/* By one write, so that the lines of several processes do not mix. */
void stages_end(void) {
        char text[MAX_STAGES * LINE_BYTES];
        size_t n_bytes = 0;
        _cleanup_fd_ int fd = -1;

        if (!noted.path)
                return;
        for (size_t i = 0; i < noted.n_stages; i++)
                n_bytes += (size_t)snprintf(text + n_bytes, LINE_BYTES, "%.20s %" PRIu64 " %d\n",
                                            noted.stages[i].name, noted.stages[i].nsec, getpid());
        fd = open(noted.path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
                  0600);
        noted.path = NULL;
        if (fd >= 0 && write(fd, text, n_bytes) < 0)
                return;
}
