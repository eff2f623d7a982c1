#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/end.h"
#include "lib/fd.h"
#include "lib/spawning.h"

static int set_actions(posix_spawn_file_actions_t *actions, const struct child_how *how) {
        int r = 0;

        for (int i = 0; i < 3 && r == 0; i++)
                if (how->fds[i] >= 0)
                        r = posix_spawn_file_actions_adddup2(actions, how->fds[i], i);
        if (r == 0 && how->cwd)
                r = posix_spawn_file_actions_addchdir_np(actions, how->cwd);
        return -r;
}

int child_start(const struct child_how *how, struct child *ret_child) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        pid_t pid = -1;
        int r, pidfd;

        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
        r = how->is_detached ? spawning_set_fresh(&attributes) : 0;
        if (r == 0)
                r = set_actions(&actions, how);
        if (r == 0)
                r = -posix_spawnp(&pid, how->file, &actions, &attributes, how->argv, environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        if (r < 0)
                return r;
        pidfd = spawning_open(pid);
        if (pidfd < 0)
                return pidfd;
        *ret_child = (struct child){ pid, pidfd };
        return 0;
}

int child_wait(struct child *child) {
        siginfo_t info;

        while (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED) < 0)
                if (errno != EINTR)
                        return -errno;
        return end_wait_status(&info);
}

/* Returns a new string, or NULL. */
static char *read_all(int fd) {
        char *text = NULL, buffer[4096];
        size_t n_text = 0;
        FILE *file = open_memstream(&text, &n_text);
        ssize_t n;

        if (!file)
                return NULL;
        do {
                n = read(fd, buffer, sizeof(buffer));
                if (n > 0)
                        fwrite(buffer, 1, (size_t)n, file);
        } while (n > 0 || (n < 0 && errno == EINTR));
        if (fclose(file) == 0)
                return text;
        free(text);
        return NULL;
}

int child_output(const struct child_how *how, char **ret_output) {
        struct child_how piped = *how;
        struct child child;
        int pipe_fds[2], r;
        char *output;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        piped.fds[STDOUT_FILENO] = pipe_fds[1];
        r = child_start(&piped, &child);
        fd_close(pipe_fds[1]);
        if (r < 0) {
                fd_close(pipe_fds[0]);
                return r;
        }
        output = read_all(pipe_fds[0]);
        fd_close(pipe_fds[0]);
        r = child_wait(&child);
        child_fini(&child);
        if (r >= 0 && !output)
                return -ENOMEM;
        if (r < 0)
                free(output);
        else
                *ret_output = output;
        return r;
}

void child_fini(struct child *child) {
        child->pidfd = fd_close(child->pidfd);
}
