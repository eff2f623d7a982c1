#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/fd.h"
#include "poolctl/terminal.h"

/* Removes in pieces of @n_piece bytes, as they may be read, and compares. */
static void check_drop(const char *data, size_t n_piece, const char *expected) {
        size_t n = 0, n_clean = 0, n_data = strlen(data);
        char buffer[64];

        for (size_t at = 0; at < n_data; at += n_piece) {
                size_t n_more = n_data - at < n_piece ? n_data - at : n_piece;

                memcpy(buffer + n, data + at, n_more);
                n = n_clean = terminal_drop_returns(buffer, n + n_more, n_clean);
                if (n && buffer[n - 1] == '\r')
                        n_clean--; /* its '\n' may be yet to come */
        }
        assert_int_equal(n, strlen(expected));
        assert_memory_equal(buffer, expected, n);
}

static void returns_before_newlines_are_dropped(void **state) {
        static const char *const cases[][2] = {
                { "a\r\nb\r\n", "a\nb\n" }, { "50%\r100%\r\n", "50%\r100%\n" },
                { "\r\r\n", "\r\n" },       { "\r", "\r" },
                { "plain", "plain" },       { "\n\n", "\n\n" },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                for (size_t n_piece = 1; n_piece <= strlen(cases[i][0]); n_piece++)
                        check_drop(cases[i][0], n_piece, cases[i][1]);
}

static void open_terminal(int *ret_master, int *ret_slave) {
        int unlocked = 0;

        *ret_master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        assert_int_equal(ioctl(*ret_master, TIOCSPTLCK, &unlocked), 0);
        *ret_slave = terminal_open_slave(*ret_master);
        assert_true(*ret_slave >= 0);
}

static void a_terminal_is_known_by_its_device(void **state) {
        _cleanup_fd_ int master = -1, slave = -1, other_master = -1, other = -1, again = -1,
                         file = unit_new_file();

        (void)state;
        open_terminal(&master, &slave);
        open_terminal(&other_master, &other);
        again = terminal_open_slave(master);
        assert_int_not_equal(terminal_device(slave), 0);
        assert_int_equal(terminal_device(slave), terminal_device(again));
        assert_int_not_equal(terminal_device(slave), terminal_device(other));
        assert_int_equal(terminal_device(file), 0);
        assert_int_equal(terminal_device(-1), 0);
}

static void raw_is_without_echo_and_signals(void **state) {
        _cleanup_fd_ int master = -1, slave = -1;
        struct termios found, raw;

        (void)state;
        open_terminal(&master, &slave);
        assert_int_equal(tcgetattr(slave, &found), 0);
        assert_true(terminal_adds_returns(master));
        assert_true(terminal_set_raw(slave, &found, false));
        assert_int_equal(tcgetattr(slave, &raw), 0);
        assert_int_equal(raw.c_lflag & (ICANON | ECHO | ISIG), 0);
        assert_int_equal(raw.c_oflag, found.c_oflag);
        assert_true(terminal_set_raw(slave, &found, true));
        assert_false(terminal_adds_returns(master));
}

static void what_was_typed_before_is_taken_over_unseen(void **state) {
        _cleanup_fd_ int own_master = -1, own = -1, master = -1, slave = -1;
        struct termios found;
        char text[16];

        (void)state;
        open_terminal(&own_master, &own);
        open_terminal(&master, &slave);
        assert_int_equal(fd_set_nonblock(own, true), 0);
        assert_int_equal(tcgetattr(own, &found), 0);
        assert_true(terminal_set_raw(own, &found, true));
        assert_int_equal(write(own_master, "ls\n", 3), 3);
        terminal_take_over(own, master, slave);
        assert_int_equal(read(slave, text, sizeof(text)), 3);
        assert_memory_equal(text, "ls\n", 3);
        assert_int_equal(read(master, text, sizeof(text)), -1); /* no echo */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(returns_before_newlines_are_dropped),
                UNIT_TEST(a_terminal_is_known_by_its_device),
                UNIT_TEST(raw_is_without_echo_and_signals),
                UNIT_TEST(what_was_typed_before_is_taken_over_unseen),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
