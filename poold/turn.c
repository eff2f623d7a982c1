#include "turn.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/signal_mask.h"

#define N_TRIES 20
#define PAUSE_NSEC 5000000

/*
 * An abstract address is one socket's at a time, and free again when that is closed, which the kernel does after it has
 * taken back the memory (do_exit() of Linux).
 */
void turn_take(void) {
        const struct timespec pause = { .tv_nsec = PAUSE_NSEC };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t n_bytes = offsetof(struct sockaddr_un, sun_path) + 1;
        int fd;

        signal_mask_set(SIGNAL_MASK_ALL);
        if (chdir("/") < 0)
                return;
        n_bytes += (socklen_t)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "poold-end-%u",
                                       (unsigned)geteuid());
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        for (int i = 0; i < N_TRIES; i++) {
                if (bind(fd, (const struct sockaddr *)&address, n_bytes) == 0 || errno != EADDRINUSE)
                        return;
                nanosleep(&pause, NULL);
        }
}
