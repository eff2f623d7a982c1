#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

int fd_close(int fd) {
        if (fd >= 0) {
                int saved = errno;

                close(fd);
                errno = saved;
        }
        return -1;
}

static int set_flag(int fd, int get, int set, int flag, bool on) {
        int flags = fcntl(fd, get);

        if (flags < 0)
                return -errno;
        if (fcntl(fd, set, on ? flags | flag : flags & ~flag) < 0)
                return -errno;
        return 0;
}

int fd_set_cloexec(int fd, bool on) {
        return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int fd_set_nonblock(int fd, bool on) {
        return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_move_above(int fd, int min) {
        int moved = fcntl(fd, F_DUPFD_CLOEXEC, min);
        int error = errno;

        fd_close(fd);
        return moved < 0 ? -error : moved;
}

ssize_t fd_read_text(int folder, const char *path, char *ret_text, size_t n_text) {
        _cleanup_fd_ int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, ret_text, n_text - 1);

        ret_text[n_bytes < 0 ? 0 : n_bytes] = '\0';
        return n_bytes < 0 ? -errno : n_bytes;
}

int fd_read_whole_text(int folder, const char *path, char *ret_text, size_t n_text) {
        const ssize_t n_bytes = fd_read_text(folder, path, ret_text, n_text);

        if (n_bytes < 0 || (size_t)n_bytes < n_text - 1)
                return n_bytes < 0 ? (int)n_bytes : 0;
        ret_text[0] = '\0';
        return -EFBIG;
}

void fd_close_from(int first) {
        long end = sysconf(_SC_OPEN_MAX);

        /* close_range(2), Linux 5.9, which some containers do not let through */
        if (syscall(SYS_close_range, first, ~0U, 0) == 0)
                return;
        for (int fd = first; fd < end; fd++)
                close(fd);
}

int fd_open_pid(int pid) {
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);

        return fd < 0 ? -errno : fd;
}
