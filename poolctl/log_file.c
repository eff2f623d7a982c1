#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fd.h"
#include "say.h"

#define LARGE_BYTES ((off_t)10 << 20)
#define TAIL_BYTES 4096

/* The folder's path, a new string. Returns 0 or negative errno. */
static int find_folder(char **ret_folder) {
        const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
        int n;

        if (state && state[0] == '/')
                n = asprintf(ret_folder, "%s/poold", state);
        else if (home && home[0] == '/')
                n = asprintf(ret_folder, "%s/.local/state/poold", home);
        else
                return -ENOENT;
        return n < 0 ? -ENOMEM : 0;
}

/* Makes the folder and those above it that are missing, ours alone. Returns 0 or negative errno. */
static int make_folders(char *path) {
        for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
                int r;

                if (slash)
                        *slash = '\0';
                r = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
                if (slash)
                        *slash = '/';
                if (r < 0 || !slash)
                        return r;
        }
}

/* Returns an fd that has the lock, which its closing gives back, or negative errno. */
static int lock_folder(const char *path) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        return fd_steal(&fd);
}

static int open_file(struct log_file *log) {
        struct stat st;

        if (fstatat(log->lock, "poold.log", &st, 0) == 0 && st.st_size > LARGE_BYTES &&
            renameat(log->lock, "poold.log", log->lock, "poold.log.1") < 0)
                return -errno;
        /* Read, too, by log_file_show(). */
        log->fd = openat(log->lock, "poold.log", O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
        if (log->fd < 0 || fstat(log->fd, &st) < 0)
                return -errno;
        log->begin = st.st_size;
        return 0;
}

int log_file_open(struct log_file *ret_log) {
        char *folder = NULL;
        int r;

        *ret_log = (struct log_file){ .lock = -1, .fd = -1 };
        r = find_folder(&folder);
        if (r < 0) {
                say("no folder for poold's log: set XDG_STATE_HOME or HOME");
                return r;
        }
        r = make_folders(folder);
        if (r == 0)
                r = ret_log->lock = lock_folder(folder);
        if (r >= 0)
                r = open_file(ret_log);
        if (r < 0)
                say("cannot write poold's log, %s/poold.log: %s", folder, strerror(-r));
        else if (asprintf(&ret_log->path, "%s/poold.log", folder) < 0)
                r = -ENOMEM;
        free(folder);
        return r < 0 ? r : 0;
}

size_t log_file_show(const struct log_file *log) {
        char tail[TAIL_BYTES + 1], *text = tail;
        off_t end = lseek(log->fd, 0, SEEK_END);
        off_t from = end - TAIL_BYTES > log->begin ? end - TAIL_BYTES : log->begin;
        ssize_t n = pread(log->fd, tail, TAIL_BYTES, from);

        if (n <= 0)
                return 0;
        tail[n] = '\0';
        if (from > log->begin && strchr(tail, '\n'))
                text = strchr(tail, '\n') + 1; /* not from the middle of a line */
        fputs(text, stderr);
        return strlen(text);
}

void log_file_fini(struct log_file *log) {
        free(log->path);
        log->fd = fd_close(log->fd);
        log->lock = fd_close(log->lock);
}
