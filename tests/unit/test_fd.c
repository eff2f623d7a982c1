#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include "lib/fd.h"

static void closes_and_keeps_errno(void **state) {
        int fd = unit_new_file();

        (void)state;
        errno = EXDEV;
        assert_int_equal(fd_close(fd), -1);
        assert_false(unit_fd_is_open(fd));
        assert_int_equal(fd_close(fd), -1); /* EBADF within */
        assert_int_equal(fd_close(-1), -1);
        assert_int_equal(fd_close(-EPERM), -1);
        errno = EXDEV;
        fd_close(fd);
        assert_int_equal(errno, EXDEV);
}

static void cleanup_closes_what_was_not_stolen(void **state) {
        int kept, closed;

        (void)state;
        {
                _cleanup_fd_ int a = unit_new_file();
                _cleanup_fd_ int b = unit_new_file();

                closed = a;
                kept = fd_steal(&b);
                assert_int_equal(b, -1);
                assert_int_equal(fd_steal(&b), -1);
        }
        assert_false(unit_fd_is_open(closed));
        assert_true(unit_fd_is_open(kept));
        fd_close(kept);
}

static void sets_and_clears_flags(void **state) {
        _cleanup_fd_ int fd = unit_new_file();

        (void)state;
        assert_int_equal(fd_set_cloexec(fd, false), 0);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
        assert_int_equal(fd_set_cloexec(fd, true), 0);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fd_set_nonblock(fd, true), 0);
        assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
        assert_int_equal(fd_set_nonblock(fd, false), 0);
        assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        assert_int_equal(fd_set_cloexec(-1, true), -EBADF);
        assert_int_equal(fd_set_nonblock(-1, true), -EBADF);
}

static void moves_above_and_closes_the_old_one(void **state) {
        int fd = unit_new_file();
        _cleanup_fd_ int same = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        int moved = fd_move_above(fd, 200);

        (void)state;
        assert_true(moved >= 200);
        assert_false(unit_fd_is_open(fd));
        assert_true(unit_same_file(moved, same));
        assert_int_equal(fcntl(moved, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        fd_close(moved);
}

static void moving_takes_the_fd_on_failure_too(void **state) {
        int fd = unit_new_file();

        (void)state;
        assert_int_equal(fd_move_above(fd, INT32_MAX), -EINVAL);
        assert_false(unit_fd_is_open(fd));
        assert_int_equal(fd_move_above(-1, 0), -EBADF);
}

static void a_pidfd_turns_readable_at_the_end(void **state) {
        pid_t pid = fork();
        _cleanup_fd_ int fd = -1;
        siginfo_t info;

        (void)state;
        if (pid == 0) {
                pause();
                _exit(0);
        }
        fd = fd_open_pid(pid);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0), 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 10000), 1);
        assert_int_equal(waitid(P_PIDFD, (id_t)fd, &info, WEXITED), 0);
        assert_int_equal(info.si_status, SIGKILL);
        assert_int_equal(fd_open_pid(pid), -ESRCH);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(closes_and_keeps_errno),
                UNIT_TEST(cleanup_closes_what_was_not_stolen),
                UNIT_TEST(sets_and_clears_flags),
                UNIT_TEST(moves_above_and_closes_the_old_one),
                UNIT_TEST(moving_takes_the_fd_on_failure_too),
                UNIT_TEST(a_pidfd_turns_readable_at_the_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
