#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "lib/fd.h"

/* Fills in the path of the poold beside us, or the name for PATH. */
static const char *find_poold(char path[PATH_MAX]) {
        static const char name[] = "poold";
        ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof(name));
        char *slash;

        path[n < 0 ? 0 : n] = '\0';
        slash = strrchr(path, '/');
        if (!slash)
                return name;
        memcpy(slash + 1, name, sizeof(name));
        return access(path, X_OK) == 0 ? path : name;
}

/*
 * Opens the socket of sd_notify(3), and has the environment name it. The name is random: nobody else takes it by
 * accident while poold still reports there and we are gone. Returns an fd that the caller owns, or negative errno.
 */
static int open_notify(void) {
        _cleanup_fd_ int fd = -1;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char name[40];
        uint64_t random;
        int n, on = 1;

        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                return -errno;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
                return -errno;
        n = snprintf(name, sizeof(name), "@poold-start-%016llx", (unsigned long long)random);
        memcpy(address.sun_path + 1, name + 1, (size_t)n - 1); /* an abstract one, see unix(7) */
        if (bind(fd, (const struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)) < 0)
                return -errno;
        return setenv("NOTIFY_SOCKET", name, 1) < 0 ? -errno : fd_steal(&fd);
}

static bool has_line(const char *text, const char *line) {
        size_t length = strlen(line);

        for (const char *at = text; at; at = strchr(at, '\n')) {
                at += *at == '\n';
                if (strncmp(at, line, length) == 0 && (at[length] == '\n' || !at[length]))
                        return true;
        }
        return false;
}

/* Takes what has been sent. Has the process @pid said that it is ready? Anybody may write to an abstract socket. */
static bool is_ready(int notify, pid_t pid) {
        for (;;) {
                char text[4096];
                union {
                        struct cmsghdr header;
                        char space[CMSG_SPACE(sizeof(struct ucred))];
                } control;
                struct iovec data = { text, sizeof(text) - 1 };
                struct msghdr message = { .msg_iov = &data,
                                          .msg_iovlen = 1,
                                          .msg_control = &control,
                                          .msg_controllen = sizeof(control) };
                ssize_t n = recvmsg(notify, &message, MSG_CMSG_CLOEXEC);
                const struct cmsghdr *header;
                struct ucred sender;

                if (n < 0)
                        return false;
                text[n] = '\0';
                header = CMSG_FIRSTHDR(&message);
                if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS)
                        continue;
                memcpy(&sender, CMSG_DATA(header), sizeof(sender));
                if (sender.pid == pid && has_line(text, "READY=1"))
                        return true;
        }
}

/* Results as of daemon_start(). */
static int await(int notify, struct child *child, int64_t deadline_usec, int *ret_wait_status) {
        for (;;) {
                struct pollfd pollfds[] = { { .fd = notify, .events = POLLIN },
                                            { .fd = child->pidfd, .events = POLLIN } };
                int r = poll(pollfds, 2, clock_poll_ms(deadline_usec));

                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r == 0)
                        return DAEMON_SILENT;
                if (r > 0 && pollfds[1].revents) {
                        *ret_wait_status = r = child_wait(child);
                        return r < 0 ? r : DAEMON_ENDED;
                }
                if (r > 0 && is_ready(notify, child->pid))
                        return 0;
        }
}

int daemon_start(const char *config, int log, int64_t deadline_usec, struct child *ret_child,
                 int *ret_wait_status) {
        _cleanup_fd_ int notify = -1, null = -1;
        char *argv[] = { (char *)"poold", config ? (char *)"--config" : NULL, (char *)config, NULL };
        struct child_how how = { .argv = argv, .cwd = "/", .is_detached = true };
        char path[PATH_MAX];
        int r;

        notify = open_notify();
        if (notify < 0)
                return notify;
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0)
                return -errno;
        how.file = find_poold(path);
        how.fds[STDIN_FILENO] = null;
        how.fds[STDOUT_FILENO] = how.fds[STDERR_FILENO] = log;
        r = child_start(&how, ret_child);
        return r < 0 ? r : await(notify, ret_child, deadline_usec, ret_wait_status);
}
