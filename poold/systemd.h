#pragma once

/*
 * What poold and systemd say to each other: the listening socket that systemd hands over (sd_listen_fds(3)), and
 * readiness, state and stopping told back (sd_notify(3)). Without systemd all of it does nothing.
 *
 * Both are small, stable protocols of environment variables. They are spoken here rather than through libsystemd,
 * which would be one more library in a process that is to idle in a few MB.
 *
 * The variables are meant for poold alone. They leave the environment as they are read, so that no worker can
 * inherit them: call both systemd_init() and systemd_listen_fd() before the first worker is started.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Where notifications go. Zero-initialised: nowhere. Owns nothing. */
struct systemd {
        struct sockaddr_un address;
        socklen_t n_address;
        uint64_t watchdog_usec; /* systemd kills a poold that says nothing for so long; 0: it does not */
};

/*
 * Reads and unsets $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID (sd_watchdog_enabled(3)). A watchdog that is not
 * ours, or not a number, is none. Returns 0, also without them, or
 *   -EAFNOSUPPORT  it is neither a path nor an abstract name
 *   -ENAMETOOLONG  it does not fit sockaddr_un
 */
int systemd_init(struct systemd *systemd);

/* Is anybody told? If not, all that would be said can be spared. */
bool systemd_is_listening(const struct systemd *systemd);

/*
 * Sends lines of the form NAME=value, separated by '\n': "READY=1\nSTATUS=2 idle". Never blocks.
 * Returns 0, also if nobody is to be told, -EAGAIN if the receiver's queue is full, or another negative errno.
 */
int systemd_notify(const struct systemd *systemd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Positive result of systemd_listen_fd(). No fd has this number: systemd's start at 3. */
enum {
        SYSTEMD_NO_FD = 1, /* no socket was handed over: make one */
};

/*
 * Takes over the one listening socket that systemd passed, close-on-exec and non-blocking, and unsets $LISTEN_PID,
 * $LISTEN_FDS and $LISTEN_FDNAMES. Only the first call can find it.
 * Returns the fd, which the caller owns, or SYSTEMD_NO_FD, or
 *   -EINVAL      the variables are no numbers
 *   -E2BIG       more than one fd was passed; all of them stay open
 *   -EPROTOTYPE  it is a socket, but not a listening Unix stream socket
 * or another negative errno (-EBADF, -ENOTSOCK). A single fd that is refused is closed.
 */
int systemd_listen_fd(void);
