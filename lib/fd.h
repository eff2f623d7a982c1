#pragma once

/*
 * One file descriptor: closing it when its scope ends, giving it away, moving it.
 * An fd variable that owns nothing holds -1.
 */

#include <stdbool.h>
#include <unistd.h>

/* Closes @fd unless it is negative; errno is kept. Returns -1, so that `fd = fd_close(fd)` forgets it. */
int fd_close(int fd);

static inline void fd_closep(int *fd) {
        *fd = fd_close(*fd);
}

/* Closes the fd that the variable still owns when its scope ends. */
#define _cleanup_fd_ __attribute__((cleanup(fd_closep)))

/* Gives the fd away: the variable owns nothing afterwards. */
static inline int fd_steal(int *fd) {
        int stolen = *fd;

        *fd = -1;
        return stolen;
}

/* Sets or clears FD_CLOEXEC on the borrowed @fd. Returns 0 or negative errno. */
int fd_set_cloexec(int fd, bool on);

/* Sets or clears O_NONBLOCK on the borrowed @fd. Returns 0 or negative errno. */
int fd_set_nonblock(int fd, bool on);

/*
 * Moves @fd (taken, also on failure) to the lowest free number that is at least @min, close-on-exec.
 * Returns the new number or negative errno.
 */
int fd_move_above(int fd, int min);

/*
 * Reads at most what fits from the file @path, which is as openat(2) has it, and ends it with a 0; "" if that fails.
 * Returns the bytes, or negative errno.
 */
ssize_t fd_read_text(int folder, const char *path, char *ret_text, size_t n_text);

/* The same of a file that must fit: else -EFBIG and "". Returns 0 or negative errno. */
int fd_read_whole_text(int folder, const char *path, char *ret_text, size_t n_text);

/* Closes all from @first on. */
void fd_close_from(int first);

/* pidfd_open(2), Linux 5.3, close-on-exec. Returns an fd that the caller owns, or negative errno. */
int fd_open_pid(int pid);
