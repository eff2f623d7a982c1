#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/sock.h"

#define NOBODY 65534

/* Every test works in a folder of its own, the current one, in which "run" is poold's. */
static char folder[] = "/tmp/poold-unit-XXXXXX";
#define SOCKET "run/poold.sock"

static int setup(void **state) {
        memset(folder + sizeof(folder) - 7, 'X', 6);
        assert_non_null(mkdtemp(folder));
        assert_int_equal(chdir(folder), 0);
        unsetenv("POOLD_SOCKET");
        unsetenv("XDG_RUNTIME_DIR");
        return unit_setup(state);
}

static int teardown(void **state) {
        unlink(SOCKET);
        rmdir("run");
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(rmdir(folder), 0); /* nothing else is left */
        return unit_teardown(state);
}

#define SOCK_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* What only root can stage: the test is reported as skipped for anybody else. */
static void need_root(void) {
        if (geteuid() != 0)
                skip();
}

static mode_t mode_of(const char *path) {
        struct stat st;

        assert_int_equal(lstat(path, &st), 0);
        return st.st_mode;
}

/* A socket at SOCKET on which nobody listens, as a poold that was killed leaves it. */
static void leave_stale_socket(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SOCKET };
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(mkdir("run", 0700), 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void listens_connects_and_knows_its_peer(void **state) {
        _cleanup_fd_ int listener = -1, client = -1, accepted = -1;
        struct sock_peer peer;

        (void)state;
        listener = sock_listen(SOCKET, 5);
        assert_true(listener >= 0);
        assert_int_equal(mode_of("run"), S_IFDIR | 0700);
        assert_int_equal(mode_of(SOCKET), S_IFSOCK | 0600);
        assert_int_equal(fcntl(listener, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fcntl(listener, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        client = sock_connect(SOCKET);
        assert_true(client >= 0);
        assert_int_equal(fcntl(client, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fcntl(client, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(accepted >= 0);
        assert_int_equal(sock_peer(accepted, &peer), 0);
        assert_true(peer.pid == getpid() && peer.uid == geteuid() && peer.gid == getegid());
        assert_int_equal(sock_peer(client, &peer), 0);
        assert_true(peer.pid == getpid() && peer.uid == geteuid());
}

/* Whatever the umask is, before and afterwards. */
static void the_umask_neither_matters_nor_changes(void **state) {
        _cleanup_fd_ int listener = -1;
        mode_t old_umask = umask(0);

        (void)state;
        listener = sock_listen(SOCKET, 5);
        assert_int_equal(umask(old_umask), 0);
        assert_true(listener >= 0);
        assert_int_equal(mode_of("run"), S_IFDIR | 0700);
        assert_int_equal(mode_of(SOCKET), S_IFSOCK | 0600);
}

static void folders_open_to_others_are_refused(void **state) {
        static const mode_t modes[] = { 0755, 0750, 0770, 0777, 01777, 0710, 0701, 0704, 0702, 0720 };

        (void)state;
        leave_stale_socket();
        for (size_t i = 0; i < N_ELEMENTS(modes); i++) {
                assert_int_equal(chmod("run", modes[i]), 0);
                assert_int_equal(sock_listen(SOCKET, 5), -EPERM);
                assert_int_equal(sock_connect(SOCKET), -EPERM);
        }
        assert_int_equal(chmod("run", 0700), 0);
        assert_int_equal(mode_of(SOCKET) & S_IFMT, S_IFSOCK); /* nothing was touched */
}

/* Root gives its own folder away; anybody else finds root's to be another's. */
static void a_folder_of_somebody_else_is_refused(void **state) {
        const char *path = geteuid() == 0 ? SOCKET : "/root/poold.sock";

        (void)state;
        assert_int_equal(mkdir("run", 0700), 0);
        if (geteuid() == 0)
                assert_int_equal(chown("run", NOBODY, NOBODY), 0);
        assert_int_equal(sock_listen(path, 5), -EPERM);
        assert_int_equal(sock_connect(path), -EPERM);
}

static void a_socket_of_somebody_else_is_refused(void **state) {
        (void)state;
        need_root();
        leave_stale_socket();
        assert_int_equal(chown(SOCKET, NOBODY, NOBODY), 0);
        assert_int_equal(sock_listen(SOCKET, 5), -EPERM);
        assert_int_equal(mode_of(SOCKET) & S_IFMT, S_IFSOCK);
}

/* In a folder of ours, but it is another who calls listen(2). */
static void a_listener_of_somebody_else_is_refused(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SOCKET };
        _cleanup_fd_ int fd = -1;

        (void)state;
        need_root();
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(mkdir("run", 0700), 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(seteuid(NOBODY), 0);
        assert_int_equal(listen(fd, 5), 0);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(sock_connect(SOCKET), -EPERM);
}

static void a_stale_socket_is_replaced(void **state) {
        _cleanup_fd_ int listener = -1, client = -1;

        (void)state;
        leave_stale_socket();
        assert_int_equal(sock_connect(SOCKET), -ECONNREFUSED);
        listener = sock_listen(SOCKET, 5);
        assert_true(listener >= 0);
        client = sock_connect(SOCKET);
        assert_true(client >= 0);
        assert_int_equal(mode_of(SOCKET), S_IFSOCK | 0600);
}

static void a_live_socket_is_left_alone(void **state) {
        _cleanup_fd_ int listener = sock_listen(SOCKET, 5), client = -1;

        (void)state;
        assert_true(listener >= 0);
        assert_int_equal(sock_listen(SOCKET, 5), -EADDRINUSE);
        client = sock_connect(SOCKET);
        assert_true(client >= 0);
}

/* A poold that is alive but too busy to accept is alive; asking it must not block. */
static void a_full_backlog_is_alive(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SOCKET };
        _cleanup_fd_ int listener = sock_listen(SOCKET, 0);
        int clients[10], n_clients = 0, r;

        (void)state;
        assert_true(listener >= 0);
        do {
                clients[n_clients] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                r = connect(clients[n_clients++], (struct sockaddr *)&address, sizeof(address));
        } while (r == 0 && n_clients < 10);
        assert_int_equal(r, -1);
        assert_int_equal(errno, EAGAIN);
        alarm(10);
        assert_int_equal(sock_listen(SOCKET, 5), -EADDRINUSE);
        alarm(0);
        while (n_clients)
                fd_close(clients[--n_clients]);
}

static void what_is_no_socket_is_left_alone(void **state) {
        (void)state;
        assert_int_equal(mkdir("run", 0700), 0);
        fd_close(open(SOCKET, O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
        assert_int_equal(sock_listen(SOCKET, 5), -ENOTSOCK);
        assert_int_equal(mode_of(SOCKET), S_IFREG | 0600);
        unlink(SOCKET);

        assert_int_equal(symlink("elsewhere", SOCKET), 0);
        assert_int_equal(sock_listen(SOCKET, 5), -ENOTSOCK);
        unlink(SOCKET);

        assert_int_equal(mkdir(SOCKET, 0700), 0);
        assert_int_equal(sock_listen(SOCKET, 5), -ENOTSOCK);
        rmdir(SOCKET);
}

static void a_folder_that_is_none(void **state) {
        (void)state;
        fd_close(open("run", O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
        assert_int_equal(sock_listen(SOCKET, 5), -ENOTDIR);
        assert_int_equal(sock_connect(SOCKET), -ENOTDIR);
        unlink("run");
        assert_int_equal(sock_listen(SOCKET "/deeper/poold.sock", 5), -ENOENT);
        assert_int_equal(sock_connect(SOCKET), -ENOENT);
        assert_int_equal(mkdir("run", 0700), 0);
        assert_int_equal(sock_connect(SOCKET), -ENOENT);
}

static void paths_that_do_not_fit_are_an_error(void **state) {
        char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
        _cleanup_fd_ int listener = -1;

        (void)state;
        memset(path, 'x', sizeof(path));
        memcpy(path, "run/", 4);
        path[sizeof(path) - 1] = 0; /* one byte too long */
        assert_int_equal(sock_listen(path, 5), -ENAMETOOLONG);
        assert_int_equal(sock_connect(path), -ENAMETOOLONG);
        assert_int_equal(sock_listen("", 5), -ENOENT);
        assert_int_equal(sock_connect(""), -ENOENT);

        path[sizeof(path) - 2] = 0; /* the longest that fits */
        listener = sock_listen(path, 5);
        assert_true(listener >= 0);
        fd_close(sock_connect(path));
        unlink(path);
}

static void a_listener_tells_its_path(void **state) {
        _cleanup_fd_ int listener = sock_listen(SOCKET, 5), unbound = -1, pipe_end = -1;
        int pair[2];
        char *path;

        (void)state;
        assert_int_equal(sock_path_of(listener, &path), 0);
        assert_string_equal(path, SOCKET);
        free(path);
        unbound = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(sock_path_of(unbound, &path), -EINVAL);
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        pipe_end = pair[0];
        fd_close(pair[1]);
        assert_int_equal(sock_path_of(pipe_end, &path), -ENOTSOCK);
}

static void abstract_sockets_have_no_path(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "\0poold-unit" };
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char *path;

        (void)state;
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)),
                         0); /* a name of the kernel's */
        assert_int_equal(sock_path_of(fd, &path), -EINVAL);
}

static void check_default_path(const char *expected) {
        char *path;

        assert_int_equal(sock_default_path(&path), 0);
        assert_string_equal(path, expected);
        free(path);
}

static void check_client_path(const char *expected) {
        char path[SOCK_PATH_BYTES];

        assert_int_equal(sock_client_path(path), 0);
        assert_string_equal(path, expected);
}

static void default_paths(void **state) {
        char in_tmp[64], path[SOCK_PATH_BYTES], longest[SOCK_PATH_BYTES + 1];

        (void)state;
        snprintf(in_tmp, sizeof(in_tmp), "/tmp/poold-%u/poold.sock", (unsigned)geteuid());
        check_default_path(in_tmp);
        setenv("XDG_RUNTIME_DIR", "", 1);
        check_default_path(in_tmp);
        setenv("XDG_RUNTIME_DIR", "relative", 1); /* invalid, says its specification */
        check_default_path(in_tmp);
        check_client_path(in_tmp);
        setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
        check_default_path("/run/user/7/poold/poold.sock");
        check_client_path("/run/user/7/poold/poold.sock");
        setenv("POOLD_SOCKET", "", 1);
        check_client_path("/run/user/7/poold/poold.sock");
        setenv("POOLD_SOCKET", "/x/y.sock", 1);
        check_client_path("/x/y.sock");
        check_default_path("/run/user/7/poold/poold.sock");

        memset(longest, 'x', SOCK_PATH_BYTES);
        longest[SOCK_PATH_BYTES] = '\0';
        setenv("POOLD_SOCKET", longest, 1);
        assert_int_equal(sock_client_path(path), -ENAMETOOLONG);
        longest[SOCK_PATH_BYTES - 1] = '\0';
        setenv("POOLD_SOCKET", longest, 1);
        check_client_path(longest);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SOCK_TEST(listens_connects_and_knows_its_peer),
                SOCK_TEST(the_umask_neither_matters_nor_changes),
                SOCK_TEST(folders_open_to_others_are_refused),
                SOCK_TEST(a_folder_of_somebody_else_is_refused),
                SOCK_TEST(a_socket_of_somebody_else_is_refused),
                SOCK_TEST(a_listener_of_somebody_else_is_refused),
                SOCK_TEST(a_stale_socket_is_replaced),
                SOCK_TEST(a_live_socket_is_left_alone),
                SOCK_TEST(a_full_backlog_is_alive),
                SOCK_TEST(what_is_no_socket_is_left_alone),
                SOCK_TEST(a_folder_that_is_none),
                SOCK_TEST(paths_that_do_not_fit_are_an_error),
                SOCK_TEST(a_listener_tells_its_path),
                SOCK_TEST(abstract_sockets_have_no_path),
                SOCK_TEST(default_paths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
