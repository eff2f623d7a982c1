#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/log.h"

/* stderr is a socket that keeps the bounds of each write(2), until capture_end(). */
struct capture {
        int reader;
        int saved;
};

static void capture_begin(struct capture *capture) {
        int pair[2];

        fflush(stderr);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        capture->reader = pair[0];
        capture->saved = dup(STDERR_FILENO);
        assert_int_equal(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
        fd_close(pair[1]);
}

static void capture_end(struct capture *capture) {
        assert_int_equal(dup2(capture->saved, STDERR_FILENO), STDERR_FILENO);
        fd_close(capture->saved);
        fd_close(capture->reader);
}

/* What the next write(2) wrote, or "" if there was none. */
static const char *captured(const struct capture *capture) {
        static char line[8192];
        ssize_t n_read = recv(capture->reader, line, sizeof(line) - 1, MSG_DONTWAIT);

        line[n_read > 0 ? n_read : 0] = 0;
        return line;
}

static void set_journal_stream(int offset) {
        char text[64];
        struct stat st;

        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + (uintmax_t)offset);
        setenv("JOURNAL_STREAM", text, 1);
}

/* Must come first: what holds before anybody calls log_init(). */
static void starts_at_info(void **state) {
        struct capture capture;

        (void)state;
        capture_begin(&capture);
        log_debug("not seen");
        log_info("seen");
        assert_string_equal(captured(&capture), "info: seen\n");
        assert_string_equal(captured(&capture), "");
        capture_end(&capture);
}

static void each_level_has_its_prefix(void **state) {
        struct capture capture;

        (void)state;
        unsetenv("JOURNAL_STREAM");
        capture_begin(&capture);
        log_init(LOG_LEVEL_DEBUG);
        log_err("pool=%s worker=%d", "ml", 12);
        log_warn("w");
        log_info("i");
        log_debug("d");
        assert_string_equal(captured(&capture), "err: pool=ml worker=12\n");
        assert_string_equal(captured(&capture), "warn: w\n");
        assert_string_equal(captured(&capture), "info: i\n");
        assert_string_equal(captured(&capture), "debug: d\n");
        assert_string_equal(captured(&capture), "");
        capture_end(&capture);
}

static void lines_above_the_level_are_dropped(void **state) {
        struct capture capture;

        (void)state;
        capture_begin(&capture);
        for (enum log_level limit = LOG_LEVEL_ERR; limit <= LOG_LEVEL_DEBUG; limit++) {
                log_init(limit);
                for (enum log_level level = LOG_LEVEL_ERR; level <= LOG_LEVEL_DEBUG; level++) {
                        log_write(level, "x");
                        assert_int_equal(captured(&capture)[0] != 0, level <= limit);
                }
        }
        capture_end(&capture);
}

static void the_journal_gets_its_prefix(void **state) {
        struct capture capture;

        (void)state;
        capture_begin(&capture);
        set_journal_stream(0);
        log_init(LOG_LEVEL_DEBUG);
        log_err("e");
        log_warn("w");
        log_info("i");
        log_debug("d");
        assert_string_equal(captured(&capture), "<3>e\n");
        assert_string_equal(captured(&capture), "<4>w\n");
        assert_string_equal(captured(&capture), "<6>i\n");
        assert_string_equal(captured(&capture), "<7>d\n");
        capture_end(&capture);
        unsetenv("JOURNAL_STREAM");
}

/* The variable is inherited by processes whose stderr is something else. */
static void another_stderr_is_not_the_journal(void **state) {
        static const char *const values[] = { "", "8", "8:", ":", "journal", "-1:-1" };
        struct capture capture;

        (void)state;
        capture_begin(&capture);
        set_journal_stream(1);
        log_init(LOG_LEVEL_INFO);
        log_info("i");
        assert_string_equal(captured(&capture), "info: i\n");
        for (size_t i = 0; i < N_ELEMENTS(values); i++) {
                setenv("JOURNAL_STREAM", values[i], 1);
                log_init(LOG_LEVEL_INFO);
                log_info("i");
                assert_string_equal(captured(&capture), "info: i\n");
        }
        capture_end(&capture);
        unsetenv("JOURNAL_STREAM");
}

static void long_lines_end_in_dots(void **state) {
        static char text[6000];
        struct capture capture;
        const char *line;

        (void)state;
        memset(text, 'x', sizeof(text) - 1);
        capture_begin(&capture);
        log_init(LOG_LEVEL_INFO);
        log_info("%s", text);
        line = captured(&capture);
        assert_int_equal(strlen(line), 4095);
        assert_string_equal(line + 4095 - 5, "x...\n");
        assert_string_equal(captured(&capture), "");

        text[4094 - strlen("info: ")] = 0; /* the longest that fits, whole */
        log_info("%s", text);
        line = captured(&capture);
        assert_int_equal(strlen(line), 4095);
        assert_string_equal(line + 4095 - 3, "xx\n");

        text[4094 - strlen("info: ")] = 'x'; /* one more */
        text[4095 - strlen("info: ")] = 0;
        log_info("%s", text);
        line = captured(&capture);
        assert_int_equal(strlen(line), 4095);
        assert_string_equal(line + 4095 - 5, "x...\n");
        capture_end(&capture);
}

/* Nobody reads what was written: that must not stop us. */
static void a_stalled_reader_costs_lines_and_no_more(void **state) {
        struct capture capture;
        unsigned n_read = 0;

        (void)state;
        unsetenv("JOURNAL_STREAM");
        capture_begin(&capture);
        log_init(LOG_LEVEL_INFO);
        for (int i = 0; i < 10000; i++)
                log_info("%d", i);
        while (captured(&capture)[0])
                n_read++;
        assert_in_range(n_read, 1, 9999);
        errno = ENOENT;
        log_info("read again");
        assert_int_equal(errno, ENOENT);
        assert_int_equal(strtoul(captured(&capture) + strlen("warn: "), NULL, 10), 10000 - n_read);
        assert_string_equal(captured(&capture), "info: read again\n");
        log_info("and on");
        assert_string_equal(captured(&capture), "info: and on\n");
        capture_end(&capture);
}

static void errno_is_kept(void **state) {
        struct capture capture;

        (void)state;
        capture_begin(&capture);
        log_init(LOG_LEVEL_INFO);
        errno = ENOENT;
        log_err("%s", strerror(errno));
        assert_int_equal(errno, ENOENT);
        assert_string_equal(captured(&capture), "err: No such file or directory\n");
        errno = EXDEV;
        log_debug("dropped");
        assert_int_equal(errno, EXDEV);
        capture_end(&capture);
}

static void level_names(void **state) {
        enum log_level level;

        (void)state;
        for (enum log_level each = LOG_LEVEL_ERR; each <= LOG_LEVEL_DEBUG; each++) {
                assert_int_equal(log_level_parse(log_level_name(each), &level), 0);
                assert_int_equal(level, each);
        }
        assert_int_equal(log_level_parse("", &level), -EINVAL);
        assert_int_equal(log_level_parse("Info", &level), -EINVAL);
        assert_int_equal(log_level_parse("information", &level), -EINVAL);
}

static void plain_text_has_a_priority_for_the_journal_alone(void **state) {
        struct capture capture;

        (void)state;
        capture_begin(&capture);
        unsetenv("JOURNAL_STREAM");
        log_init(LOG_LEVEL_INFO);
        log_plain(LOG_LEVEL_ERR, "one\ntwo");
        assert_string_equal(captured(&capture), "one\n");
        assert_string_equal(captured(&capture), "two\n");
        set_journal_stream(0);
        log_init(LOG_LEVEL_INFO);
        log_plain(LOG_LEVEL_ERR, "one\n\ntwo\n");
        assert_string_equal(captured(&capture), "<3>one\n");
        assert_string_equal(captured(&capture), "<3>\n");
        assert_string_equal(captured(&capture), "<3>two\n");
        assert_string_equal(captured(&capture), "");
        unsetenv("JOURNAL_STREAM");
        log_init(LOG_LEVEL_INFO);
        capture_end(&capture);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(starts_at_info),
                UNIT_TEST(each_level_has_its_prefix),
                UNIT_TEST(lines_above_the_level_are_dropped),
                UNIT_TEST(the_journal_gets_its_prefix),
                UNIT_TEST(another_stderr_is_not_the_journal),
                UNIT_TEST(long_lines_end_in_dots),
                UNIT_TEST(a_stalled_reader_costs_lines_and_no_more),
                UNIT_TEST(errno_is_kept),
                UNIT_TEST(plain_text_has_a_priority_for_the_journal_alone),
                UNIT_TEST(level_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
