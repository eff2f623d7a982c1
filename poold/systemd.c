#include "systemd.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/fd.h"

#define LISTEN_FDS_START 3

static int make_address(const char *name, struct systemd *systemd) {
        size_t length = strlen(name);

        if (name[0] != '/' && name[0] != '@')
                return -EAFNOSUPPORT;
        if (length >= sizeof(systemd->address.sun_path))
                return -ENAMETOOLONG;
        systemd->address.sun_family = AF_UNIX;
        memcpy(systemd->address.sun_path, name, length + 1);
        systemd->n_address = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
        /* An abstract name starts with a NUL, and ends where the address does, see unix(7). */
        if (name[0] == '@')
                systemd->address.sun_path[0] = '\0';
        else
                systemd->n_address++;
        return 0;
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret_number) {
        char *end;

        errno = 0;
        *ret_number = strtoull(text, &end, 10);
        return errno || text[0] < '0' || text[0] > '9' || *end || *ret_number > max ? -EINVAL : 0;
}

/* How long systemd puts up with silence; 0: for ever. */
static uint64_t read_watchdog(void) {
        const char *usec_text = getenv("WATCHDOG_USEC"), *pid_text = getenv("WATCHDOG_PID");
        uint64_t usec, pid;

        if (!usec_text || parse_number(usec_text, UINT64_MAX / 2, &usec) < 0)
                return 0;
        if (pid_text && (parse_number(pid_text, INT_MAX, &pid) < 0 || pid != (uint64_t)getpid()))
                return 0;
        return usec;
}

int systemd_init(struct systemd *systemd) {
        const char *name = getenv("NOTIFY_SOCKET");
        int r;

        *systemd = (struct systemd){ .watchdog_usec = read_watchdog() };
        r = name && name[0] ? make_address(name, systemd) : 0;
        unsetenv("NOTIFY_SOCKET");
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        return r;
}

bool systemd_is_listening(const struct systemd *systemd) {
        return systemd->n_address > 0;
}

static int send_datagram(const struct systemd *systemd, const char *text, size_t length) {
        _cleanup_fd_ int fd = -1;

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (sendto(fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&systemd->address,
                   systemd->n_address) < 0)
                return -errno;
        return 0;
}

int systemd_notify(const struct systemd *systemd, const char *format, ...) {
        va_list arguments;
        char *text;
        int n, r;

        if (!systemd_is_listening(systemd))
                return 0;
        va_start(arguments, format);
        n = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (n < 0)
                return -ENOMEM;
        r = send_datagram(systemd, text, (size_t)n);
        free(text);
        return r;
}

/* How many fds were passed to this process. Returns 0 or -EINVAL. */
static int count_passed(int *ret_n_fds) {
        const char *pid_text = getenv("LISTEN_PID"), *fds_text = getenv("LISTEN_FDS");
        uint64_t pid, n_fds;

        *ret_n_fds = 0;
        if (!pid_text || !fds_text)
                return 0;
        if (parse_number(pid_text, INT_MAX, &pid) < 0)
                return -EINVAL;
        /* The variables were for a parent of ours that did not unset them; so were the fds. */
        if (pid != (uint64_t)getpid())
                return 0;
        if (parse_number(fds_text, INT_MAX, &n_fds) < 0)
                return -EINVAL;
        *ret_n_fds = (int)n_fds;
        return 0;
}

static int get_option(int fd, int option, int *ret_value) {
        socklen_t length = sizeof(*ret_value);

        return getsockopt(fd, SOL_SOCKET, option, ret_value, &length) < 0 ? -errno : 0;
}

/* Is the borrowed @fd a listening Unix stream socket? Returns 0, -EPROTOTYPE if not, or another negative errno. */
static int check_kind(int fd) {
        static const struct {
                int option, value;
        } wanted[] = { { SO_DOMAIN, AF_UNIX }, { SO_TYPE, SOCK_STREAM }, { SO_ACCEPTCONN, 1 } };

        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
                int value, r;

                r = get_option(fd, wanted[i].option, &value);
                if (r < 0)
                        return r;
                if (value != wanted[i].value)
                        return -EPROTOTYPE;
        }
        return 0;
}

static int take_over(int taken) {
        _cleanup_fd_ int fd = taken;
        int r;

        r = check_kind(fd);
        if (r < 0)
                return r;
        r = fd_set_cloexec(fd, true);
        if (r < 0)
                return r;
        r = fd_set_nonblock(fd, true);
        if (r < 0)
                return r;
        return fd_steal(&fd);
}

int systemd_listen_fd(void) {
        int r, n_fds;

        r = count_passed(&n_fds);
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
        if (r < 0)
                return r;
        if (n_fds == 0)
                return SYSTEMD_NO_FD;
        if (n_fds > 1)
                return -E2BIG;
        return take_over(LISTEN_FDS_START);
}
