/* poold/systemd against the other side of sd_listen_fds(3) and sd_notify(3), played by the test. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/fd.h"
#include "poold/systemd.h"

#define PASSED_FD 3

/* What the test's own process has as fd 3 is kept aside while a test passes another. */
static int saved_fd = -1;

static int save_fd(void **state) {
        (void)state;
        saved_fd = fcntl(PASSED_FD, F_DUPFD_CLOEXEC, 100);
        return 0;
}

static int restore_fd(void **state) {
        (void)state;
        close(PASSED_FD);
        if (saved_fd >= 0)
                dup2(saved_fd, PASSED_FD);
        saved_fd = fd_close(saved_fd);
        return 0;
}

/* Makes @fd (taken) the one that was passed, inheritable as systemd leaves it. */
static void pass(int fd) {
        assert_true(fd >= 0);
        if (fd != PASSED_FD) {
                assert_int_equal(dup2(fd, PASSED_FD), PASSED_FD);
                close(fd);
        }
        assert_int_equal(fd_set_cloexec(PASSED_FD, false), 0);
}

/* Sets the variables as for this process; @pid or @n_fds may say otherwise. */
static void announce(const char *pid, const char *n_fds) {
        char own[16];

        snprintf(own, sizeof(own), "%d", getpid());
        setenv("LISTEN_PID", pid ? pid : own, 1);
        setenv("LISTEN_FDS", n_fds, 1);
        setenv("LISTEN_FDNAMES", "poold.socket", 1);
}

static void assert_unset(void) {
        assert_null(getenv("LISTEN_PID"));
        assert_null(getenv("LISTEN_FDS"));
        assert_null(getenv("LISTEN_FDNAMES"));
}

/* A Unix socket bound to an abstract name of the kernel's choice, which is written as $NOTIFY_SOCKET would have
 * it. */
static int bound_socket(int type, char ret_name[16]) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t length = sizeof(sa_family_t);
        size_t n_name;
        int fd;

        fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, length), 0);
        length = sizeof(address);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
        n_name = length - offsetof(struct sockaddr_un, sun_path);
        assert_true(n_name > 1 && n_name < 16);
        memcpy(ret_name, address.sun_path, n_name);
        ret_name[0] = '@';
        ret_name[n_name] = '\0';
        return fd;
}

static int listening_socket(int type) {
        char name[16];
        int fd = bound_socket(type, name);

        assert_int_equal(listen(fd, 1), 0);
        return fd;
}

static void test_listen_none(void **state) {
        (void)state;
        assert_int_equal(systemd_listen_fd(), SYSTEMD_NO_FD);
        announce(NULL, "0");
        assert_int_equal(systemd_listen_fd(), SYSTEMD_NO_FD);
        assert_unset();
}

static void test_listen_one(void **state) {
        (void)state;
        pass(listening_socket(SOCK_STREAM));
        announce(NULL, "1");
        assert_int_equal(systemd_listen_fd(), PASSED_FD);
        assert_true(fcntl(PASSED_FD, F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(PASSED_FD, F_GETFL) & O_NONBLOCK);
        assert_unset();
        assert_int_equal(systemd_listen_fd(), SYSTEMD_NO_FD);
}

static void test_listen_other_pid(void **state) {
        (void)state;
        pass(listening_socket(SOCK_STREAM));
        announce("1", "1");
        assert_int_equal(systemd_listen_fd(), SYSTEMD_NO_FD);
        assert_unset();
        assert_int_equal(fcntl(PASSED_FD, F_GETFD), 0);
}

static void test_listen_bad_numbers(void **state) {
        static const char *const bad[] = { "", "x", "1x", "-1", "99999999999999999999" };

        (void)state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                announce(bad[i], "1");
                assert_int_equal(systemd_listen_fd(), -EINVAL);
                announce(NULL, bad[i]);
                assert_int_equal(systemd_listen_fd(), -EINVAL);
                assert_unset();
        }
}

static void test_listen_too_many(void **state) {
        (void)state;
        pass(listening_socket(SOCK_STREAM));
        announce(NULL, "2");
        assert_int_equal(systemd_listen_fd(), -E2BIG);
        assert_unset();
        assert_true(fcntl(PASSED_FD, F_GETFD) >= 0);
}

static void expect_refused(int fd, int error) {
        pass(fd);
        announce(NULL, "1");
        assert_int_equal(systemd_listen_fd(), error);
        assert_unset();
        assert_int_equal(fcntl(PASSED_FD, F_GETFD), -1);
}

static void test_listen_wrong_kind(void **state) {
        char name[16];

        (void)state;
        expect_refused(bound_socket(SOCK_STREAM, name), -EPROTOTYPE);
        expect_refused(bound_socket(SOCK_DGRAM, name), -EPROTOTYPE);
        expect_refused(listening_socket(SOCK_SEQPACKET), -EPROTOTYPE);
        expect_refused(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0), -EPROTOTYPE);
        expect_refused(open("/dev/null", O_RDONLY | O_CLOEXEC), -ENOTSOCK);
        announce(NULL, "1");
        assert_int_equal(systemd_listen_fd(), -EBADF);
}

static void expect_received(int fd, const char *text) {
        char buffer[256];
        ssize_t n;

        n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        assert_int_equal(n, strlen(text));
        assert_memory_equal(buffer, text, (size_t)n);
}

static void test_notify_nobody(void **state) {
        struct systemd systemd;

        (void)state;
        unsetenv("NOTIFY_SOCKET");
        assert_int_equal(systemd_init(&systemd), 0);
        assert_int_equal(systemd_notify(&systemd, "READY=1"), 0);
        setenv("NOTIFY_SOCKET", "", 1);
        assert_int_equal(systemd_init(&systemd), 0);
        assert_null(getenv("NOTIFY_SOCKET"));
        assert_int_equal(systemd_notify(&systemd, "READY=1"), 0);
}

static void test_notify_abstract(void **state) {
        _cleanup_fd_ int fd = -1;
        struct systemd systemd;
        char name[16];

        (void)state;
        fd = bound_socket(SOCK_DGRAM, name);
        setenv("NOTIFY_SOCKET", name, 1);
        assert_int_equal(systemd_init(&systemd), 0);
        assert_null(getenv("NOTIFY_SOCKET"));
        assert_int_equal(systemd_notify(&systemd, "READY=1\nSTATUS=%d idle", 2), 0);
        expect_received(fd, "READY=1\nSTATUS=2 idle");
}

static void test_notify_path(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char folder[] = "/tmp/poold-test-XXXXXX";
        _cleanup_fd_ int fd = -1;
        struct systemd systemd;

        (void)state;
        assert_non_null(mkdtemp(folder));
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", folder);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);

        setenv("NOTIFY_SOCKET", address.sun_path, 1);
        assert_int_equal(systemd_init(&systemd), 0);
        assert_int_equal(systemd_notify(&systemd, "STOPPING=1"), 0);
        expect_received(fd, "STOPPING=1");

        assert_int_equal(unlink(address.sun_path), 0);
        assert_int_equal(rmdir(folder), 0);
        assert_int_equal(systemd_notify(&systemd, "STOPPING=1"), -ENOENT);
}

static void test_notify_full(void **state) {
        _cleanup_fd_ int fd = -1;
        struct systemd systemd;
        int r, n_sent = 0;
        char name[16];

        (void)state;
        fd = bound_socket(SOCK_DGRAM, name);
        assert_true(fd >= 0);
        setenv("NOTIFY_SOCKET", name, 1);
        assert_int_equal(systemd_init(&systemd), 0);
        while ((r = systemd_notify(&systemd, "STATUS=%d", n_sent)) == 0)
                assert_true(++n_sent < 1 << 20);
        assert_int_equal(r, -EAGAIN);
        assert_true(n_sent > 0);
}

static void test_notify_bad_address(void **state) {
        struct systemd systemd;
        char name[sizeof(systemd.address.sun_path) + 1];

        (void)state;
        setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
        assert_int_equal(systemd_init(&systemd), -EAFNOSUPPORT);
        memset(name, 'x', sizeof(name));
        name[0] = '/';
        name[sizeof(name) - 1] = '\0';
        setenv("NOTIFY_SOCKET", name, 1);
        assert_int_equal(systemd_init(&systemd), -ENAMETOOLONG);
        assert_null(getenv("NOTIFY_SOCKET"));
        /* What could not be understood is told nothing. */
        assert_int_equal(systemd_notify(&systemd, "READY=1"), 0);
}

/* What systemd_init() makes of these. */
static uint64_t watchdog(const char *usec, const char *pid) {
        struct systemd systemd;

        setenv("WATCHDOG_USEC", usec, 1);
        if (pid)
                setenv("WATCHDOG_PID", pid, 1);
        assert_int_equal(systemd_init(&systemd), 0);
        assert_null(getenv("WATCHDOG_USEC"));
        assert_null(getenv("WATCHDOG_PID"));
        return systemd.watchdog_usec;
}

static void test_watchdog(void **state) {
        struct systemd systemd;
        char own[16];

        (void)state;
        assert_int_equal(systemd_init(&systemd), 0);
        assert_int_equal(systemd.watchdog_usec, 0);
        snprintf(own, sizeof(own), "%d", getpid());
        assert_int_equal(watchdog("30000000", own), 30000000);
        assert_int_equal(watchdog("30000000", NULL), 30000000);
        assert_int_equal(watchdog("30000000", "1"), 0); /* somebody else's */
        assert_int_equal(watchdog("30000000", "x"), 0);
        assert_int_equal(watchdog("-1", own), 0);
        assert_int_equal(watchdog("", own), 0);
        assert_int_equal(watchdog("99999999999999999999", own), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_listen_none, save_fd, restore_fd),
                cmocka_unit_test_setup_teardown(test_listen_one, save_fd, restore_fd),
                cmocka_unit_test_setup_teardown(test_listen_other_pid, save_fd, restore_fd),
                cmocka_unit_test_setup_teardown(test_listen_bad_numbers, save_fd, restore_fd),
                cmocka_unit_test_setup_teardown(test_listen_too_many, save_fd, restore_fd),
                cmocka_unit_test_setup_teardown(test_listen_wrong_kind, save_fd, restore_fd),
                cmocka_unit_test(test_notify_nobody),
                cmocka_unit_test(test_notify_abstract),
                cmocka_unit_test(test_notify_path),
                cmocka_unit_test(test_notify_full),
                cmocka_unit_test(test_notify_bad_address),
                cmocka_unit_test(test_watchdog),
        };

        return cmocka_run_group_tests_name("systemd", tests, NULL, NULL);
}
