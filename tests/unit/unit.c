#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/fd.h"

size_t unit_count_fds(void) {
        DIR *folder = opendir("/proc/self/fd");
        size_t n_entries = 0;

        assert_non_null(folder);
        while (readdir(folder))
                n_entries++;
        closedir(folder);
        return n_entries - 3; /* ".", ".." and the folder itself */
}

int unit_fd_is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

int unit_same_file(int a, int b) {
        struct stat a_stat, b_stat;

        return fstat(a, &a_stat) == 0 && fstat(b, &b_stat) == 0 && a_stat.st_dev == b_stat.st_dev &&
               a_stat.st_ino == b_stat.st_ino;
}

int unit_new_file(void) {
        int fd = memfd_create("unit", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

unsigned long unit_limit_fds(unsigned long limit) {
        struct rlimit limits;
        unsigned long old_limit;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limits), 0);
        old_limit = limits.rlim_cur;
        limits.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limits), 0);
        return old_limit;
}

void unit_socketpair(int ret_fds[2]) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds), 0);
        assert_int_equal(fd_set_nonblock(ret_fds[1], true), 0);
}

/* One test runs at a time, so its count of fds needs no place of its own. */
static size_t n_fds_before;

int unit_setup(void **state) {
        (void)state;
        n_fds_before = unit_count_fds();
        return 0;
}

int unit_teardown(void **state) {
        (void)state;
        assert_int_equal(unit_count_fds(), n_fds_before);
        return 0;
}
