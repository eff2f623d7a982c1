/*
 * poold-keeper: job control for a script that has a terminal.
 *
 * A worker leads a session, and its parent is in another. In a process group that has nobody's parent beside it in
 * the session, the kernel neither stops anybody by SIGTSTP nor, when a read finds the terminal taken, by SIGTTIN
 * (setpgid(2), orphaned process group). So the keeper, in a group of its own, has a child in the worker's group. The
 * child does nothing but be stopped when that group is, which its parent is told of by the kernel, and tells poolctl.
 *
 * It lives as long as the worker and poolctl do.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "lib/fd.h"
#include "lib/proto.h"

/* How long a script that handles SIGTSTP has until it stops itself. It is looked at in growing intervals. */
#define PATIENCE_MS 1000

struct keeper {
        pid_t worker;
        pid_t witness; /* our child in its group */
        pid_t group;   /* whose turn on the terminal it is next */
        int worker_fd;
        int signal_fd;
        int stop;    /* the signal that the group was stopped by, while it is uncertain that the worker is */
        int wait_ms; /* until we look again */
        int waited_ms;
};

/* Only what stops reaches it. It is as if part of the script, so it is gone when that is. */
__attribute__((noreturn)) static void be_witness(void) {
        const int stops[] = { SIGTSTP, SIGTTIN, SIGTTOU };
        sigset_t mask;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigfillset(&mask);
        for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
                signal(stops[i], SIG_DFL);
                sigdelset(&mask, stops[i]);
        }
        for (int number = 0; number < KEEPER_N_FDS; number++)
                close(number);
        for (;;)
                sigsuspend(&mask);
}

static int start_witness(struct keeper *keeper) {
        keeper->witness = fork();
        if (keeper->witness == 0)
                be_witness();
        if (keeper->witness < 0 || setpgid(keeper->witness, keeper->worker) < 0)
                return -errno;
        return 0;
}

static void say(char byte) {
        send(KEEPER_SOCKET, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Whoever had the terminal last, be it a job of a shell in the script, gets it back. */
static void set_foreground(struct keeper *keeper, bool on) {
        pid_t now = tcgetpgrp(KEEPER_TERMINAL);

        if (!on && now != getpgrp())
                keeper->group = now;
        if (on && now != getpgrp())
                return;
        if (tcsetpgrp(KEEPER_TERMINAL, on ? keeper->group : getpgrp()) < 0 && on)
                tcsetpgrp(KEEPER_TERMINAL, keeper->worker);
}

static void carry_out(struct keeper *keeper, char command) {
        switch (command) {
        case PROTO_KEEPER_FOREGROUND:
        case PROTO_KEEPER_BACKGROUND:
                set_foreground(keeper, command == PROTO_KEEPER_FOREGROUND);
                break;
        case PROTO_KEEPER_CONTINUE:
                keeper->stop = 0;
                if (keeper->group != keeper->worker)
                        kill(-keeper->group, SIGCONT);
                kill(-keeper->worker, SIGCONT);
                break;
        }
}

/* Returns false when poolctl is gone. */
static bool hear(struct keeper *keeper) {
        char commands[16];
        ssize_t n = recv(KEEPER_SOCKET, commands, sizeof(commands), MSG_DONTWAIT);

        for (ssize_t i = 0; i < n; i++)
                carry_out(keeper, commands[i]);
        return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* The state as proc(5) has it. */
static char state_of(pid_t pid) {
        char text[512], *state;
        int fd;
        ssize_t n;

        snprintf(text, sizeof(text), "/proc/%d/stat", pid);
        fd = open(text, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        fd_close(fd);
        text[n > 0 ? n : 0] = '\0';
        state = strrchr(text, ')');
        if (!state || !state[1])
                return 'X';
        return state[2];
}

/*
 * The group was told to stop. Who asks for the terminal can only be helped by poolctl; but of what handles SIGTSTP it
 * is not certain that it stops, and if it does not then the witness goes on too.
 */
static void look_at_worker(struct keeper *keeper) {
        bool asks = keeper->stop == SIGTTIN || keeper->stop == SIGTTOU;

        if (asks || state_of(keeper->worker) == 'T') {
                say((char)keeper->stop);
                keeper->stop = 0;
                return;
        }
        keeper->waited_ms += keeper->wait_ms;
        keeper->wait_ms = keeper->wait_ms ? 2 * keeper->wait_ms : 1;
        if (keeper->waited_ms < PATIENCE_MS)
                return;
        keeper->stop = 0;
        kill(keeper->witness, SIGCONT);
}

/* Returns false when there is nobody left to keep. */
static bool on_witness(struct keeper *keeper) {
        struct signalfd_siginfo signals[4];
        siginfo_t info = { 0 };

        if (read(keeper->signal_fd, signals, sizeof(signals)) < 0 && errno != EAGAIN)
                return false;
        if (waitid(P_PID, (id_t)keeper->witness, &info, WEXITED | WSTOPPED | WNOHANG) < 0)
                return false;
        if (info.si_pid == 0)
                return true;
        if (info.si_code != CLD_STOPPED)
                return false;
        keeper->stop = info.si_status;
        keeper->wait_ms = keeper->waited_ms = 0;
        look_at_worker(keeper);
        return true;
}

static void keep(struct keeper *keeper) {
        struct pollfd pollfds[] = {
                { .fd = keeper->worker_fd, .events = POLLIN },
                { .fd = KEEPER_SOCKET, .events = POLLIN },
                { .fd = keeper->signal_fd, .events = POLLIN },
        };
        int n;

        for (;;) {
                n = poll(pollfds, 3, keeper->stop ? keeper->wait_ms : -1);
                if (n < 0 && errno != EINTR)
                        return;
                if (n <= 0) {
                        if (keeper->stop)
                                look_at_worker(keeper);
                        continue;
                }
                if (pollfds[0].revents || (pollfds[1].revents && !hear(keeper)) ||
                    (pollfds[2].revents && !on_witness(keeper)))
                        return;
        }
}

/* Returns 0 or negative errno. */
static int start(struct keeper *keeper) {
        sigset_t all, child;

        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        signal(SIGCHLD, SIG_DFL);
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        keeper->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
        keeper->worker_fd = fd_open_pid(keeper->worker);
        if (keeper->signal_fd < 0 || keeper->worker_fd < 0 || setpgid(0, 0) < 0)
                return -errno;
        return start_witness(keeper);
}

int main(int argc, char **argv) {
        struct keeper keeper = { 0 };
        int r;

        if (argc != 2)
                return 2;
        keeper.worker = keeper.group = (pid_t)strtol(argv[1], NULL, 10);
        r = start(&keeper);
        if (r < 0) {
                dprintf(KEEPER_LOG, "poold-keeper: worker pid=%d goes without: %s\n", keeper.worker, strerror(-r));
                return 1;
        }
        hear(&keeper); /* the terminal may be in use by others from the beginning */
        say(PROTO_KEEPER_HELLO);
        close(KEEPER_READY);
        keep(&keeper);
        kill(keeper.witness, SIGKILL);
        return 0;
}
