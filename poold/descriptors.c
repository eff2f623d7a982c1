#include "descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/fd.h"

/* How far placeholders reach, below where ours begin; less where the limit on fds is small. */
#define PLACEHOLDER_LAST 399

static int own_first(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= PROTO_FD_NUMBERS_END + PROTO_MAX_FDS + 64)
                return PROTO_FD_NUMBERS_END;
        return (int)(limit.rlim_cur / 2);
}

int descriptors_hide(int fd) {
        return fd_move_above(fd, own_first());
}

void placeholders_init(struct placeholders *holders) {
        _cleanup_fd_ int null = descriptors_hide(open("/dev/null", O_RDONLY | O_CLOEXEC));
        int end = own_first() > PLACEHOLDER_LAST ? PLACEHOLDER_LAST : own_first() - 1, fd;
        struct stat st;

        *holders = (struct placeholders){ .first = 3, .last = 2 };
        if (null < 0 || fstat(null, &st) < 0)
                return;
        holders->device = st.st_dev;
        holders->inode = st.st_ino;
        do {
                fd = fcntl(null, F_DUPFD_CLOEXEC, 3);
                if (fd > end)
                        fd_close(fd);
                else if (fd >= 0)
                        holders->last = fd;
        } while (fd >= 0 && fd < end);
}

void placeholders_fini(struct placeholders *holders) {
        struct stat st;

        for (int fd = holders->first; fd <= holders->last; fd++)
                if (fstat(fd, &st) == 0 && st.st_dev == holders->device && st.st_ino == holders->inode)
                        close(fd);
        holders->last = holders->first - 1;
}

static bool fdset_has(const struct fdset *fds, uint64_t number) {
        for (size_t i = 0; i < fds->n_fds; i++)
                if (fds->fds[i] >= 0 && (uint64_t)fds->fds[i] == number)
                        return true;
        return false;
}

static bool list_has(const struct wire_u64v *numbers, uint32_t n_numbers, uint64_t number) {
        for (uint32_t i = 0; i < n_numbers; i++)
                if (wire_u64v_at(numbers, i) == number)
                        return true;
        return false;
}

/* Can the client's fd have this number? Whatever is open there, and not just received, is a library's or ours. */
static int check_number(const struct fdset *fds, uint64_t number, int first, struct decline *why) {
        if (number >= (uint64_t)first)
                return decline(why, "fds", "the number %llu is too high", (unsigned long long)number);
        if (number > STDERR_FILENO && !fdset_has(fds, number) && fcntl((int)number, F_GETFD) >= 0)
                return decline(why, "fds", "a module of the pool holds fd %llu", (unsigned long long)number);
        return 0;
}

/* Is each number there once? */
static int check_numbers(const struct fdset *fds, const struct wire_u64v *numbers,
                         const struct wire_u64v *terminal_numbers, int first, struct decline *why) {
        const struct wire_u64v *const lists[] = { numbers, terminal_numbers };
        int r = 0;

        for (size_t i = 0; i < 2; i++)
                for (uint32_t j = 0; r == 0 && j < lists[i]->count; j++) {
                        uint64_t number = wire_u64v_at(lists[i], j);

                        if (list_has(lists[i], j, number) || (i > 0 && list_has(numbers, numbers->count, number)))
                                return decline(why, "fds", "the number %llu is there twice",
                                               (unsigned long long)number);
                        r = check_number(fds, number, first, why);
                }
        return r;
}

int descriptors_lift(struct fdset *fds, const struct wire_u64v *numbers, const struct wire_u64v *terminal_numbers,
                     size_t n_more, struct decline *why) {
        const int first = own_first(); /* asked once: it is a system call */
        int r;

        if (fds->n_fds != PROTO_RUN_FD_FIRST + (size_t)numbers->count + n_more)
                return decline(why, "fds", "%zu fds came for %u numbers", fds->n_fds, numbers->count);
        r = check_numbers(fds, numbers, terminal_numbers, first, why);
        if (r)
                return r;
        for (size_t i = 0; i < fds->n_fds; i++) {
                if (fds->fds[i] < 0)
                        continue; /* stolen already */
                fds->fds[i] = fd_move_above(fd_steal(&fds->fds[i]), first);
                if (fds->fds[i] < 0)
                        return decline(why, "fds", "cannot move an fd: %s", strerror(-fds->fds[i]));
        }
        return 0;
}

int descriptors_place(struct fdset *fds, const struct wire_u64v *numbers) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (!list_has(numbers, numbers->count, (uint64_t)fd))
                        close(fd);
        for (uint32_t i = 0; i < numbers->count; i++) {
                _cleanup_fd_ int fd = fdset_steal(fds, PROTO_RUN_FD_FIRST + i);

                if (dup2(fd, (int)wire_u64v_at(numbers, i)) < 0)
                        return -errno;
        }
        return 0;
}

void own_socket_init(struct own_socket *own, int fd) {
        struct stat st = { 0 };

        fstat(fd, &st);
        *own = (struct own_socket){ .fd = fd, .device = st.st_dev, .inode = st.st_ino };
}

bool own_socket_is_there(const struct own_socket *own) {
        struct stat st;

        return own->fd >= 0 && fstat(own->fd, &st) == 0 && st.st_dev == own->device && st.st_ino == own->inode;
}
