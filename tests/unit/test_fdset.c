#include "unit.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/fd.h"
#include "lib/fdset.h"

static void fill(struct fdset *set, size_t n) {
        while (n--)
                assert_int_equal(fdset_push(set, unit_new_file()), 0);
}

static void ends_by_closing_all(void **state) {
        struct fdset set;
        int first, last;

        (void)state;
        fdset_init(&set);
        fill(&set, 5);
        first = set.fds[0];
        last = set.fds[4];
        fdset_fini(&set);
        assert_int_equal(set.n_fds, 0);
        assert_false(unit_fd_is_open(first));
        assert_false(unit_fd_is_open(last));
        fdset_fini(&set);
}

static void a_full_set_closes_what_it_cannot_hold(void **state) {
        _cleanup_fdset_ struct fdset set = { 0 };
        int fd = unit_new_file();

        (void)state;
        fill(&set, FDSET_MAX);
        assert_int_equal(fdset_push(&set, fd), -EMFILE);
        assert_false(unit_fd_is_open(fd));
        assert_int_equal(set.n_fds, FDSET_MAX);
}

static void stealing_leaves_the_others_in_place(void **state) {
        _cleanup_fdset_ struct fdset set = { 0 };
        int second, third, stolen;

        (void)state;
        fill(&set, 3);
        second = set.fds[1];
        third = set.fds[2];
        stolen = fdset_steal(&set, 1);
        assert_int_equal(stolen, second);
        assert_int_equal(set.fds[1], -1);
        assert_int_equal(set.fds[2], third);
        assert_int_equal(fdset_steal(&set, 1), -1);
        assert_int_equal(fdset_steal(&set, 3), -1);
        fdset_fini(&set);
        assert_true(unit_fd_is_open(stolen));
        fd_close(stolen);
}

static void moves_the_first_in_order(void **state) {
        _cleanup_fdset_ struct fdset from = { 0 }, to = { 0 };
        int expected[4];

        (void)state;
        fill(&to, 1);
        fill(&from, 4);
        for (size_t i = 0; i < 4; i++)
                expected[i] = from.fds[i];
        assert_int_equal(fdset_move(&to, &from, 0), 0);
        assert_int_equal(fdset_move(&to, &from, 3), 0);
        assert_int_equal(to.n_fds, 4);
        assert_memory_equal(to.fds + 1, expected, 3 * sizeof(int));
        assert_int_equal(from.n_fds, 1);
        assert_int_equal(from.fds[0], expected[3]);
}

static void moves_all_or_nothing(void **state) {
        _cleanup_fdset_ struct fdset from = { 0 }, to = { 0 };

        (void)state;
        fill(&from, 2);
        assert_int_equal(fdset_move(&to, &from, 3), -EMFILE);
        fill(&to, FDSET_MAX - 1);
        assert_int_equal(fdset_move(&to, &from, 2), -EMFILE);
        assert_int_equal(from.n_fds, 2);
        assert_int_equal(to.n_fds, FDSET_MAX - 1);
        assert_int_equal(fdset_move(&to, &from, 1), 0);
        assert_int_equal(from.n_fds, 1);
        assert_int_equal(to.n_fds, FDSET_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(ends_by_closing_all),
                UNIT_TEST(a_full_set_closes_what_it_cannot_hold),
                UNIT_TEST(stealing_leaves_the_others_in_place),
                UNIT_TEST(moves_the_first_in_order),
                UNIT_TEST(moves_all_or_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
