#include "spawning.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "fd.h"

int spawning_set_fresh(posix_spawnattr_t *attributes) {
        sigset_t all, none;
        int r;

        memset(&all, 0xff, sizeof(all)); /* sigfillset(3) leaves out the C library's own, which it then ignores */
        sigemptyset(&none);
        r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes,
                                             POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
        return -r;
}

int spawning_open(pid_t pid) {
        int pidfd = fd_open_pid(pid);

        if (pidfd < 0) {
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
        }
        return pidfd;
}
