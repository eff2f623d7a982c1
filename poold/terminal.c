#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptors.h"
#include "keeper.h"
#include "lib/fd.h"

static struct own_socket terminal = { .fd = -1 };
static volatile pid_t keeper;
static int keeper_ready = -1; /* end of file when it is */

/* In a child that shares our memory: only system calls, and what lies in @fds. */
__attribute__((noreturn)) static void become_keeper(const int fds[KEEPER_N_FDS], char *const argv[]) {
        char *const envp[] = { NULL };

        for (int number = 0; number < KEEPER_N_FDS; number++)
                if (dup2(fds[number], number) < 0)
                        _exit(1);
        close_range(KEEPER_N_FDS, ~0U, 0);
        execve(argv[0], argv, envp);
        _exit(1);
}

/*
 * Starts a process that is not our child, so that the script does not find it when it waits for its own: the child's
 * child. vfork(2) twice copies no memory, and each of us goes on when the next has its own or is gone.
 */
static void start_keeper(const int fds[KEEPER_N_FDS], char *const argv[]) {
        pid_t between = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */

        if (between == 0) {
                /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork) */
                pid_t child = vfork();

                if (child == 0)
                        become_keeper(fds, argv);
                keeper = child;
                _exit(0);
        }
        while (between > 0 && waitpid(between, NULL, 0) < 0 && errno == EINTR)
                ;
}

/* With SIGCHLD ignored nothing of the child counts as ours, and with all blocked no handler of ours runs in it. */
static void start_keeper_unseen(const int fds[KEEPER_N_FDS], char *const argv[]) {
        const struct sigaction ignore = { .sa_handler = SIG_IGN };
        struct sigaction child_action;
        sigset_t all, mask;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &mask);
        sigaction(SIGCHLD, &ignore, &child_action);
        start_keeper(fds, argv);
        sigaction(SIGCHLD, &child_action, NULL);
        pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

int terminal_take(int slave, int socket, struct decline *why) {
        static char path[] = POOLD_LIBEXECDIR "/poold-keeper";
        char pid[16];
        char *const argv[] = { path, pid, NULL };
        _cleanup_fd_ int theirs = -1;
        int pair[2], fds[KEEPER_N_FDS];

        if (ioctl(slave, TIOCSCTTY, 0) < 0)
                return decline(why, "terminal", "it cannot be the script's: %s", strerror(errno));
        if (pipe2(pair, O_CLOEXEC) < 0)
                return decline(why, "terminal", "pipe: %s", strerror(errno));
        /* dup2() to the lowest numbers must not meet one that is still to be moved. */
        keeper_ready = descriptors_hide(pair[0]);
        theirs = descriptors_hide(pair[1]);
        if (keeper_ready < 0 || theirs < 0)
                return decline(why, "terminal", "cannot move an fd");
        snprintf(pid, sizeof(pid), "%d", getpid());
        fds[KEEPER_SOCKET] = socket;
        fds[KEEPER_READY] = theirs;
        fds[KEEPER_LOG] = STDERR_FILENO;
        fds[KEEPER_TERMINAL] = slave;
        start_keeper_unseen(fds, argv);
        return 0;
}

void terminal_await(int slave) {
        char byte;

        while (read(keeper_ready, &byte, 1) < 0 && errno == EINTR)
                ;
        keeper_ready = fd_close(keeper_ready);
        own_socket_init(&terminal, slave);
}

/* The end of a session's leader hangs up those in the foreground. The keeper does not mind. */
void terminal_leave(void) {
        const struct sigaction ignore = { .sa_handler = SIG_IGN };

        if (!own_socket_is_there(&terminal))
                return;
        sigaction(SIGHUP, &ignore, NULL); /* nor need we when the client goes */
        sigaction(SIGTTOU, &ignore, NULL);
        if (keeper > 0 && tcgetpgrp(terminal.fd) == getpgrp())
                tcsetpgrp(terminal.fd, keeper);
}
