/*
 * forkclient SOCKET SCRIPT [ARGUMENT]...: has forkserver.py run a script with our arguments, environment, folder and
 * standard streams, and ends as it does.
 *
 * Sent: u32 bytes to come, u32 arguments; then SCRIPT and its arguments, the folder, the environment, each ended by a
 * NUL. Received: u32 exit status.
 */

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

static char message[2 << 20];

static _Noreturn void die(const char *what) {
        fprintf(stderr, "forkclient: %s: %s\n", what, strerror(errno));
        exit(EXIT_FAILURE);
}

static size_t put(size_t at, const char *text) {
        size_t n_bytes = strlen(text) + 1;

        if (n_bytes > sizeof(message) - at) {
                errno = E2BIG;
                die("too much to send");
        }
        memcpy(message + at, text, n_bytes);
        return at + n_bytes;
}

static size_t compose(char **argv) {
        uint32_t head[2] = { 0 };
        size_t at = sizeof(head);
        char folder[PATH_MAX];

        for (; argv[head[1]]; head[1]++)
                at = put(at, argv[head[1]]);
        if (!getcwd(folder, sizeof(folder)))
                die("getcwd");
        at = put(at, folder);
        for (char **variable = environ; *variable; variable++)
                at = put(at, *variable);
        head[0] = (uint32_t)(at - sizeof(head));
        memcpy(message, head, sizeof(head));
        return at;
}

static int dial(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (strlen(path) >= sizeof(address.sun_path)) {
                errno = ENAMETOOLONG;
                die(path);
        }
        memcpy(address.sun_path, path, strlen(path));
        if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                die(path);
        return fd;
}

static void send_all(int fd, size_t n_bytes) {
        static const int streams[] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO };
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(streams))] = { 0 };
        struct iovec iov = { .iov_base = message, .iov_len = n_bytes };
        struct msghdr msg = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
        };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(streams));
        memcpy(CMSG_DATA(cmsg), streams, sizeof(streams));
        while (iov.iov_len > 0) {
                ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);

                if (n < 0)
                        die("sendmsg");
                iov.iov_base = (char *)iov.iov_base + n;
                iov.iov_len -= (size_t)n;
                msg.msg_control = NULL;
                msg.msg_controllen = 0;
        }
}

int main(int argc, char **argv) {
        uint32_t status;
        int fd;

        if (argc < 3)
                return 2;
        fd = dial(argv[1]);
        send_all(fd, compose(argv + 2));
        if (read(fd, &status, sizeof(status)) != sizeof(status))
                die("no answer");
        return (int)status;
}
