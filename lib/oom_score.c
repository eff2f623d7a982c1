#include "oom_score.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATH "/proc/self/oom_score_adj"

uint32_t oom_score_get(void) {
        int fd = open(PATH, O_RDONLY | O_CLOEXEC);
        char text[16];
        ssize_t n_bytes;

        if (fd < 0)
                return OOM_SCORE_UNKNOWN;
        n_bytes = read(fd, text, sizeof(text) - 1);
        close(fd);
        if (n_bytes <= 0)
                return OOM_SCORE_UNKNOWN;
        text[n_bytes] = '\0';
        return (uint32_t)(strtol(text, NULL, 10) + OOM_SCORE_ZERO);
}

int oom_score_set(uint32_t score) {
        int r, fd = open(PATH, O_WRONLY | O_CLOEXEC);
        char text[16];
        int n_bytes = snprintf(text, sizeof(text), "%d", (int)score - OOM_SCORE_ZERO);

        if (fd < 0)
                return -errno;
        r = write(fd, text, (size_t)n_bytes) < 0 ? -errno : 0;
        close(fd);
        return r;
}
