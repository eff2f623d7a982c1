#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "lib/sock.h"
#include "systemd.h"

/* For a second in all. */
#define LOCK_TRIES 100
#define LOCK_PAUSE_NSEC 10000000

struct listener {
        int fd;
        int lock; /* -1: the socket is systemd's */
        char *path;
        char *lock_path;
        char *link_path; /* NULL: no symlink of ours */
};

/* Is @path still a name of the file that is open as @fd? */
static bool is_at(int fd, const char *path) {
        struct stat ours, there;

        return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
               ours.st_dev == there.st_dev;
}

/* Takes the lock at @path. Returns an fd, -EWOULDBLOCK if another process has it, or another negative errno. */
static int take_lock(const char *path) {
        for (;;) {
                _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

                if (fd < 0)
                        return -errno;
                if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                        return -errno;
                /* Else whoever had it before has removed the file: the lock on that one is worth nothing. */
                if (is_at(fd, path)) {
                        if (ftruncate(fd, 0) == 0)
                                dprintf(fd, "%d\n", getpid());
                        return fd_steal(&fd);
                }
        }
}

/* Does anybody listen at @path? */
static bool is_served(const char *path) {
        int fd = sock_connect(path);

        fd_close(fd);
        return fd >= 0 || fd == -EAGAIN;
}

/* Is there no process any more that has taken the lock? */
static bool is_holder_gone(const char *lock_path) {
        FILE *file = fopen(lock_path, "re");
        char line[32] = "";
        pid_t pid;

        if (!file)
                return true;
        pid = fgets(line, sizeof(line), file) ? (pid_t)strtol(line, NULL, 10) : 0;
        fclose(file);
        return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

/*
 * As take_lock(), but has some patience if nobody can have it for long: where a poold was killed while it started a
 * worker, that has its files, and so the lock and the socket, until its execve(2).
 */
static int take_lock_of(const char *lock_path, const char *path) {
        int fd = take_lock(lock_path);

        for (int n_tries = 0;
             fd == -EWOULDBLOCK && n_tries < LOCK_TRIES && (is_holder_gone(lock_path) || !is_served(path));
             n_tries++) {
                nanosleep(&(struct timespec){ .tv_nsec = LOCK_PAUSE_NSEC }, NULL);
                fd = take_lock(lock_path);
        }
        return fd;
}

/* Is there a symlink at @place to @path? */
static bool leads_to(const char *place, const char *path) {
        char target[PATH_MAX];
        ssize_t n = readlink(place, target, sizeof(target));

        return n == (ssize_t)strlen(path) && memcmp(target, path, (size_t)n) == 0;
}

/* What may be replaced: a socket or a symlink, which a poold that was killed has left. */
static bool is_leftover(const char *place) {
        struct stat st;

        return lstat(place, &st) == 0 && (S_ISSOCK(st.st_mode) || S_ISLNK(st.st_mode));
}

/* Leads the clients' first place to our socket, unless something that lives is there. */
static void make_link(struct listener *listener) {
        char *place = NULL;
        int fd;

        if (sock_default_path(&place) < 0)
                return;
        if (leads_to(place, listener->path)) {
                listener->link_path = place; /* our predecessor's, which was killed */
                return;
        }
        if (strcmp(place, listener->path) != 0) {
                fd = sock_connect(place);
                if (fd == -ENOENT || fd == -ECONNREFUSED) {
                        char *slash = strrchr(place, '/');

                        *slash = '\0';
                        mkdir(place, 0700);
                        *slash = '/';
                        if (is_leftover(place))
                                unlink(place);
                        if (symlink(listener->path, place) == 0) {
                                listener->link_path = place;
                                place = NULL;
                        } else {
                                log_warn("clients need POOLD_SOCKET=%s: cannot link %s to it: %s", listener->path,
                                         place, strerror(errno));
                        }
                }
                fd_close(fd);
        }
        free(place);
}

/*
 * The clients' first place may hold a symlink from make_link(), of a poold with a socket elsewhere. If that one is
 * dead, the place is free. Returns 0, -EADDRINUSE or another negative errno.
 */
static int remove_dead_link(const char *place) {
        struct stat st;
        int fd;

        if (lstat(place, &st) < 0 || !S_ISLNK(st.st_mode))
                return 0;
        fd = sock_connect(place);
        if (fd >= 0 || fd == -EAGAIN) {
                fd_close(fd);
                return -EADDRINUSE;
        }
        if (fd != -ENOENT && fd != -ECONNREFUSED)
                return fd;
        return unlink(place) < 0 ? -errno : 0;
}

static const char *explain(int error) {
        switch (error) {
        case -EADDRINUSE:
                return "another poold serves this socket; `poolctl stop` stops it";
        case -EWOULDBLOCK:
                return "another poold has the lock of this socket; its process id is in the file beside it, .lock";
        case -EPERM:
                return "the socket or its folder belongs to somebody else, or the folder is open to others; "
                       "it must be yours and have mode 0700";
        case -ENOTSOCK:
                return "there is something that is no socket; remove it, or set another `socket`";
        case -ENAMETOOLONG:
                return "the path of a Unix socket has at most 107 bytes; set a shorter `socket`";
        default:
                return strerror(-error);
        }
}

static int make_own(struct listener *listener, const char *path) {
        int r;

        listener->path = strdup(path);
        if (!listener->path || asprintf(&listener->lock_path, "%s.lock", path) < 0)
                return -ENOMEM;
        /* The folder is looked at before the lock is made in it. */
        r = sock_make_folder(path);
        if (r < 0)
                return r;
        listener->lock = take_lock_of(listener->lock_path, path);
        if (listener->lock < 0)
                return listener->lock;
        r = remove_dead_link(path);
        if (r < 0)
                return r;
        listener->fd = sock_listen(path, SOMAXCONN);
        if (listener->fd < 0)
                return listener->fd;
        make_link(listener);
        return 0;
}

int listener_new(const char *path, struct listener **ret_listener) {
        struct listener *listener = calloc(1, sizeof(*listener));
        int r;

        if (!listener)
                return -ENOMEM;
        listener->fd = listener->lock = -1;
        r = systemd_listen_fd();
        if (r == SYSTEMD_NO_FD) {
                r = make_own(listener, path);
        } else if (r >= 0) {
                listener->fd = r;
                r = sock_path_of(listener->fd, &listener->path);
        }
        if (r < 0) {
                log_err("cannot listen at %s: %s", path, explain(r));
                listener_free(listener);
                return r;
        }
        *ret_listener = listener;
        return 0;
}

struct listener *listener_free(struct listener *listener) {
        bool has_lock;

        if (!listener)
                return NULL;
        if (listener->link_path && leads_to(listener->link_path, listener->path))
                unlink(listener->link_path);
        /* Somebody may have removed our files, and another poold may have its own there now. */
        has_lock = listener->lock >= 0 && is_at(listener->lock, listener->lock_path);
        if (has_lock && listener->fd >= 0)
                unlink(listener->path);
        fd_close(listener->fd);
        if (has_lock)
                unlink(listener->lock_path);
        fd_close(listener->lock);
        free(listener->path);
        free(listener->lock_path);
        free(listener->link_path);
        free(listener);
        return NULL;
}

int listener_fd(const struct listener *listener) {
        return listener->fd;
}

const char *listener_path(const struct listener *listener) {
        return listener->path;
}
