/*
 * bench-floor RUNS SECONDS: what poold's part in a run costs at the least. It makes the system calls of a handover and of
 * a run's end (poold/server.c, runs.c, worker.c), with as many bytes and fds, and nothing else: it looks at nothing that
 * it gets. Prints the microseconds of CPU time that it has used for each run, one after the other, of workers that have
 * waited so long: what ps(1) or a monitor has looked at meanwhile takes longer to reap, for what it leaves in /proc.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_FDS 5 /* the folder, the claim, and the standard streams */
#define N_BYTES 5000
#define MAX_RUNS 1000

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

struct worker {
        int control, pidfd;
};

static char bytes[16 << 10];

static _Noreturn void die(const char *what) {
        fprintf(stderr, "bench-floor: %s: %s\n", what, strerror(errno));
        exit(1);
}

/* Has @call send or receive @fds, all of them, with as many of the bytes. Returns as sendmsg(2) and recvmsg(2). */
static ssize_t transfer(int fd, int *fds, size_t n_fds, size_t n_bytes, ssize_t (*call)(int, struct msghdr *)) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * (N_FDS + 1))];
        } control;
        struct iovec iov = { .iov_base = bytes, .iov_len = n_bytes };
        struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control };
        ssize_t n;

        control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        header.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
        n = call(fd, &header);
        memcpy(fds, CMSG_DATA(&control.align), sizeof(int) * n_fds);
        return n;
}

static ssize_t do_send(int fd, struct msghdr *header) {
        return sendmsg(fd, header, MSG_NOSIGNAL);
}

static ssize_t do_receive(int fd, struct msghdr *header) {
        return recvmsg(fd, header, MSG_CMSG_CLOEXEC);
}

/* Has its run, which the client hears the end of, and ends. Keeps no other worker's fds: an execve would have closed them. */
static _Noreturn void be_worker(int control) {
        int fds[N_FDS + 1];

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close_range(STDERR_FILENO + 1, (unsigned)control - 1, 0);
        close_range((unsigned)control + 1, ~0U, 0);
        if (transfer(control, fds, N_FDS + 1, sizeof(bytes), do_receive) != N_BYTES)
                _exit(1);
        _exit(0);
}

static struct worker start_worker(int epoll_fd, uint32_t number) {
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = number + 1 };
        int sockets[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                die("socketpair");
        pid = fork();
        if (pid == 0)
                be_worker(sockets[1]);
        close(sockets[1]);
        struct worker worker = { .control = sockets[0], .pidfd = (int)syscall(SYS_pidfd_open, pid, 0) };
        if (pid < 0 || worker.pidfd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, worker.pidfd, &event) < 0)
                die("cannot start a worker");
        return worker;
}

static _Noreturn void be_client(const struct sockaddr_un *address, socklen_t size) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[N_FDS] = { fd, fd, 0, 1, 2 };
        char byte;

        if (connect(fd, (const struct sockaddr *)address, size) < 0 ||
            transfer(fd, fds, N_FDS, N_BYTES, do_send) != N_BYTES || read(fd, &byte, 1) != 0)
                _exit(1);
        _exit(0);
}

/* One client after the other. */
static _Noreturn void be_clients(const struct sockaddr_un *address, socklen_t size, uint32_t n_runs) {
        int status;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint32_t i = 0; i < n_runs; i++) {
                pid_t pid = fork();

                if (pid == 0)
                        be_client(address, size);
                if (waitpid(pid, &status, 0) != pid || status)
                        _exit(1);
        }
        _exit(0);
}

static void hand_over(int listen_fd, const struct worker *worker) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC), fds[N_FDS + 1];
        gid_t groups[64];
        struct ucred peer;
        uint64_t network;

        if (fd < 0)
                die("accept4");
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){ sizeof(peer) });
        getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &(socklen_t){ sizeof(groups) });
        getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &network, &(socklen_t){ sizeof(network) });
        if (transfer(fd, fds, N_FDS, sizeof(bytes), do_receive) != N_BYTES)
                die("recvmsg");
        fds[N_FDS] = fd;
        if (transfer(worker->control, fds, N_FDS + 1, N_BYTES, do_send) != N_BYTES)
                die("sendmsg");
        for (size_t i = 0; i < N_FDS + 1; i++)
                close(fds[i]);
}

static void bury(int epoll_fd, const struct worker *worker) {
        siginfo_t info;

        if (waitid(P_PIDFD, (id_t)worker->pidfd, &info, WEXITED | WNOHANG) < 0)
                die("waitid");
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, worker->pidfd, NULL);
        close(worker->control);
        close(worker->pidfd);
}

static double serve(int epoll_fd, int listen_fd, const struct worker *workers, uint32_t n_runs) {
        struct timespec before, after;
        struct epoll_event event;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        for (uint32_t n_started = 0, n_ended = 0; n_ended < n_runs;) {
                if (epoll_wait(epoll_fd, &event, 1, -1) != 1)
                        die("epoll_wait");
                if (event.data.u32 == 0) {
                        hand_over(listen_fd, &workers[n_started++]);
                } else {
                        bury(epoll_fd, &workers[event.data.u32 - 1]);
                        n_ended++;
                }
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        return (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_nsec - before.tv_nsec) / 1e3;
}

/* Returns the listening socket, and its address. */
static int start_listening(struct sockaddr_un *ret_address, socklen_t *ret_size) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        *ret_size = sizeof(*ret_address);
        /* The kernel chooses an abstract name, unix(7). */
        if (bind(fd, (struct sockaddr *)ret_address, sizeof(sa_family_t)) < 0 || listen(fd, 128) < 0 ||
            getsockname(fd, (struct sockaddr *)ret_address, ret_size) < 0)
                die("cannot listen");
        return fd;
}

int main(int argc, char **argv) {
        static struct worker workers[MAX_RUNS];
        const uint32_t n_runs = argc == 3 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
        const unsigned n_seconds = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC), listen_fd;
        struct epoll_event event = { .events = EPOLLIN };
        struct sockaddr_un address;
        socklen_t size;
        pid_t clients;

        if (n_runs < 1 || n_runs > MAX_RUNS) {
                fprintf(stderr, "usage: bench-floor RUNS SECONDS, with 1 to %d RUNS\n", MAX_RUNS);
                return 2;
        }
        listen_fd = start_listening(&address, &size);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event) < 0)
                die("epoll_ctl");
        for (uint32_t i = 0; i < n_runs; i++)
                workers[i] = start_worker(epoll_fd, i);
        sleep(n_seconds);
        clients = fork();
        if (clients < 0)
                die("fork");
        if (clients == 0)
                be_clients(&address, size, n_runs);
        printf("%.2f\n", serve(epoll_fd, listen_fd, workers, n_runs) / n_runs);
        return 0;
}
