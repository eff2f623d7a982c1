#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include "keeper.h"
#include "lib/spawning.h"

static int set_actions(posix_spawn_file_actions_t *actions, int control, int group) {
        const int last = group < 0 ? KEEPER_FD_CONTROL : KEEPER_FD_GROUP;
        int r;

        r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, control, KEEPER_FD_CONTROL);
        if (r == 0 && group >= 0)
                r = posix_spawn_file_actions_adddup2(actions, group, KEEPER_FD_GROUP);
        for (int fd = KEEPER_FD_CONTROL + 1; r == 0 && fd < last; fd++)
                r = posix_spawn_file_actions_addclose(actions, fd);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(actions, last + 1);
        return -r;
}

int spawn(const char *program, char *const argv[], char *const envp[], int control, int group, pid_t *ret_pid,
          int *ret_pidfd) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        pid_t pid = -1;
        int r, pidfd;

        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
        r = spawning_set_fresh(&attributes);
        if (r == 0)
                r = set_actions(&actions, control, group);
        if (r == 0)
                r = -posix_spawn(&pid, program, &actions, &attributes, argv, envp);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        if (r < 0)
                return r;

        pidfd = spawning_open(pid);
        if (pidfd < 0)
                return pidfd;
        *ret_pid = pid;
        *ret_pidfd = pidfd;
        return 0;
}
