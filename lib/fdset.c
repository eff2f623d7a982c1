#include "fdset.h"

#include <errno.h>
#include <string.h>

#include "fd.h"

void fdset_fini(struct fdset *set) {
        for (size_t i = 0; i < set->n_fds; i++)
                fd_close(set->fds[i]);
        set->n_fds = 0;
}

int fdset_push(struct fdset *set, int fd) {
        if (set->n_fds == FDSET_MAX) {
                fd_close(fd);
                return -EMFILE;
        }
        set->fds[set->n_fds++] = fd;
        return 0;
}

int fdset_steal(struct fdset *set, size_t index) {
        return index < set->n_fds ? fd_steal(&set->fds[index]) : -1;
}

int fdset_move(struct fdset *to, struct fdset *from, size_t n) {
        if (n > from->n_fds || n > FDSET_MAX - to->n_fds)
                return -EMFILE;

        memcpy(to->fds + to->n_fds, from->fds, n * sizeof(int));
        to->n_fds += n;
        from->n_fds -= n;
        memmove(from->fds, from->fds + n, from->n_fds * sizeof(int));
        return 0;
}
