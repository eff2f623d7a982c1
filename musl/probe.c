/* Does musl-gcc make programs here that run, and find what Linux has beside the C library? See meson.build. */

#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/stat.h>
#include <sched.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
        struct statx st;

        return syscall(SYS_statx, 0, "/", 0, STATX_TYPE, &st) == 0 && SYS_close_range && SYS_pidfd_open ? 0 : 1;
}
