#include "sock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "fd.h"

#define BELOW_RUNTIME_DIR "/poold/poold.sock"
#define BELOW_TMP "/tmp/poold-%u/poold.sock"

/* What a client does before each run: with neither printf(3) nor malloc(3), whose pages would be brought in for it. */
static int join(char *ret_path, const char *folder, const char *rest) {
        if (strlen(folder) + strlen(rest) >= SOCK_PATH_BYTES)
                return -ENAMETOOLONG;
        stpcpy(stpcpy(ret_path, folder), rest);
        return 0;
}

/* NULL where it is none, says its specification. */
static const char *find_runtime_dir(void) {
        const char *runtime_dir = getenv("XDG_RUNTIME_DIR");

        return runtime_dir && runtime_dir[0] == '/' ? runtime_dir : NULL;
}

int sock_default_path(char **ret_path) {
        const char *runtime_dir = find_runtime_dir();
        int n = runtime_dir ? asprintf(ret_path, "%s" BELOW_RUNTIME_DIR, runtime_dir)
                            : asprintf(ret_path, BELOW_TMP, (unsigned)geteuid());

        return n < 0 ? -ENOMEM : 0;
}

int sock_client_path(char *ret_path) {
        const char *path = getenv("POOLD_SOCKET"), *runtime_dir = find_runtime_dir();

        if (path && path[0])
                return join(ret_path, path, "");
        if (runtime_dir)
                return join(ret_path, runtime_dir, BELOW_RUNTIME_DIR);
        snprintf(ret_path, SOCK_PATH_BYTES, BELOW_TMP, (unsigned)geteuid());
        return 0;
}

static int make_address(const char *path, struct sockaddr_un *ret_address) {
        size_t length = strlen(path);

        if (length == 0)
                return -ENOENT;
        if (length >= sizeof(ret_address->sun_path))
                return -ENAMETOOLONG;
        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret_address->sun_path, path, length + 1);
        return 0;
}

/* The folder of the socket at @address must be ours alone. Returns 0 or negative errno. */
static int check_folder(const struct sockaddr_un *address, bool create) {
        char path[sizeof(address->sun_path)];
        const char *folder;
        struct stat st;

        memcpy(path, address->sun_path, sizeof(path));
        folder = dirname(path);
        if (create && mkdir(folder, 0700) < 0 && errno != EEXIST)
                return -errno;
        if (lstat(folder, &st) < 0)
                return -errno;
        if (!S_ISDIR(st.st_mode))
                return -ENOTDIR;
        if (st.st_uid != geteuid() || st.st_mode & (S_IRWXG | S_IRWXO))
                return -EPERM;
        return 0;
}

/* Non-blocking: who listens may be stopped and its queue full, which is -EAGAIN. */
static int connect_to(const struct sockaddr_un *address) {
        _cleanup_fd_ int fd = -1;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
                return -errno;
        return fd_steal(&fd);
}

/* Removes a socket of ours that nobody listens on. Returns 0, also if there is none, or negative errno. */
static int remove_stale(const struct sockaddr_un *address) {
        _cleanup_fd_ int fd = -1;
        struct stat st;

        if (lstat(address->sun_path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (st.st_uid != geteuid())
                return -EPERM;
        if (!S_ISSOCK(st.st_mode))
                return -ENOTSOCK;
        fd = connect_to(address);
        if (fd >= 0 || fd == -EAGAIN)
                return -EADDRINUSE;
        if (fd != -ECONNREFUSED)
                return fd;
        return unlink(address->sun_path) < 0 ? -errno : 0;
}

int sock_make_folder(const char *path) {
        struct sockaddr_un address;
        int r;

        r = make_address(path, &address);
        return r < 0 ? r : check_folder(&address, true);
}

int sock_listen(const char *path, int backlog) {
        _cleanup_fd_ int fd = -1;
        struct sockaddr_un address;
        mode_t old_umask;
        int r;

        r = make_address(path, &address);
        if (r < 0)
                return r;
        r = check_folder(&address, true);
        if (r < 0)
                return r;
        r = remove_stale(&address);
        if (r < 0)
                return r;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        old_umask = umask(0177);
        r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
        umask(old_umask);
        if (r < 0)
                return r;
        if (listen(fd, backlog) < 0)
                return -errno;
        return fd_steal(&fd);
}

int sock_connect(const char *path) {
        _cleanup_fd_ int fd = -1;
        struct sockaddr_un address;
        struct sock_peer peer = { 0 };
        struct stat st;
        int r;

        r = make_address(path, &address);
        if (r < 0)
                return r;
        r = check_folder(&address, false);
        if (r < 0)
                return r;
        if (stat(address.sun_path, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid())
                return -EPERM;
        fd = connect_to(&address);
        if (fd < 0)
                return fd;
        r = sock_peer(fd, &peer);
        if (r < 0)
                return r;
        if (peer.uid != geteuid())
                return -EPERM;
        return fd_steal(&fd);
}

int sock_peer(int fd, struct sock_peer *ret_peer) {
        struct ucred credentials;
        socklen_t length = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
                return -errno;
        *ret_peer = (struct sock_peer){ credentials.pid, credentials.uid, credentials.gid };
        return 0;
}

int sock_path_of(int fd, char **ret_path) {
        struct sockaddr_un address = { 0 };
        socklen_t length = sizeof(address);

        if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
                return -errno;
        if (address.sun_family != AF_UNIX || length <= offsetof(struct sockaddr_un, sun_path) ||
            !address.sun_path[0])
                return -EINVAL;
        *ret_path = strndup(address.sun_path, sizeof(address.sun_path));
        return *ret_path ? 0 : -ENOMEM;
}
