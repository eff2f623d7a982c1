#include "groups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/log.h"

#define LEAF "poold"
#define UNIT "poold.service"

/* A group that was still in use when it was to be removed. */
struct leftover {
        TAILQ_ENTRY(leftover) link;
        char *name;
};

struct groups {
        int base; /* an fd; -1: there are none */
        const char *problem;
        unsigned n_made;
        TAILQ_HEAD(leftovers, leftover) leftovers;
};

/* --- Files --- */

static int write_file(int folder, const char *path, const char *text) {
        _cleanup_fd_ int fd = openat(folder, path, O_WRONLY | O_CLOEXEC);

        return fd >= 0 && write(fd, text, strlen(text)) >= 0 ? 0 : -errno;
}

static int open_folder(int folder, const char *path) {
        int fd = openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int set_limit(int folder, uint64_t memory_max_bytes) {
        char text[24];

        snprintf(text, sizeof(text), "%" PRIu64, memory_max_bytes);
        return write_file(folder, "memory.max", text);
}

/* --- Where we are --- */

struct place {
        int base;        /* an fd of the group that we are in, or of the one above if we are in LEAF already */
        bool is_in_leaf; /* the latter */
        bool is_unit;    /* it is that of our own unit */
};

static bool ends_with(const char *text, const char *end) {
        size_t n_text = strlen(text), n_end = strlen(end);

        return n_text >= n_end && strcmp(text + n_text - n_end, end) == 0;
}

/* Returns the group as /proc has it, in @text, or NULL. */
static char *find_own_group(char *text) {
        char *line = strncmp(text, "0::/", 4) == 0 ? text : strstr(text, "\n0::/");

        if (!line)
                return NULL;
        line = strchr(line, '/');
        line[strcspn(line, "\n")] = '\0';
        return line;
}

static void find_place(const char *root, struct place *ret_place) {
        char text[4096], path[2 * PATH_MAX];
        const char *unified, *group;

        *ret_place = (struct place){ .base = -1 };
        if (fd_read_text(AT_FDCWD, "/proc/self/cgroup", text, sizeof(text)) < 0)
                return;
        group = find_own_group(text);
        if (!group)
                return;
        snprintf(path, sizeof(path), "%s/unified", root);
        unified = access(path, F_OK) == 0 ? "/unified" : ""; /* beside version 1 */
        snprintf(path, sizeof(path), "%s%s%s", root, unified, group);
        ret_place->is_in_leaf = ends_with(path, "/" LEAF);
        if (ret_place->is_in_leaf)
                path[strlen(path) - strlen("/" LEAF)] = '\0';
        ret_place->is_unit = ends_with(path, "/" UNIT);
        ret_place->base = open_folder(AT_FDCWD, path);
}

/*
 * Below systemd only what that has delegated. It marks such groups, but user managers do not before systemd 254: of our
 * own unit we know it. Elsewhere it counts whose processes are there.
 */
static bool is_delegated(const struct place *place) {
        static const char *const marks[] = { "user.delegate", "trusted.delegate" };

        if (!getenv("INVOCATION_ID") || place->is_unit)
                return true;
        for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
                char value[2];

                if (fgetxattr(place->base, marks[i], value, sizeof(value)) == 1 && value[0] == '1')
                        return true;
        }
        return false;
}

static bool has_memory(int base) {
        char text[256];

        if (fd_read_text(base, "cgroup.controllers", text, sizeof(text)) < 0)
                return false;
        for (char *save, *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
                if (strcmp(word, "memory") == 0)
                        return true;
        return false;
}

/* Are we the only process there? */
static bool is_ours_alone(int base) {
        char text[64], expected[16];

        snprintf(expected, sizeof(expected), "%d\n", getpid());
        return fd_read_text(base, "cgroup.procs", text, sizeof(text)) > 0 && strcmp(text, expected) == 0;
}

/* Why there may be no groups, or NULL. */
static const char *find_problem(const struct place *place) {
        const int base = place->base;

        if (base < 0)
                return "there are no control groups of version 2";
        if (faccessat(base, ".", W_OK, AT_EACCESS) < 0 || faccessat(base, "cgroup.procs", W_OK, AT_EACCESS) < 0 ||
            faccessat(base, "cgroup.subtree_control", W_OK, AT_EACCESS) < 0 || !is_delegated(place))
                return "poold's control group is not delegated to it";
        if (!has_memory(base))
                return "poold's control group has no memory controller";
        if (!place->is_in_leaf && !is_ours_alone(base))
                return "there are other processes in poold's control group";
        return NULL;
}

/* --- Setting up --- */

/* Can a process be born in a group, as a worker is to be? */
static int try_clone(int group) {
        struct clone_args arguments = {
                .flags = CLONE_INTO_CGROUP,
                .exit_signal = SIGCHLD,
                .cgroup = (uint64_t)group,
        };
        long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));

        if (pid == 0)
                _exit(0);
        if (pid < 0)
                return -errno;
        while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return 0;
}

/* Leaves the base, so that it may have groups with limits. */
static int move_to_leaf(int base) {
        _cleanup_fd_ int leaf = -1;
        int r;

        if (mkdirat(base, LEAF, 0755) < 0 && errno != EEXIST)
                return -errno;
        leaf = open_folder(base, LEAF);
        if (leaf < 0)
                return leaf;
        r = write_file(leaf, "cgroup.procs", "0");
        if (r == 0)
                r = write_file(base, "cgroup.subtree_control", "+memory");
        return r == 0 ? try_clone(leaf) : r;
}

static void move_back(int base) {
        write_file(base, "cgroup.subtree_control", "-memory");
        write_file(base, "cgroup.procs", "0");
        unlinkat(base, LEAF, AT_REMOVEDIR);
}

static void leave(struct groups *groups, char *name) {
        struct leftover *leftover = calloc(1, sizeof(*leftover));

        if (!leftover) {
                free(name); /* the next poold removes it */
                return;
        }
        leftover->name = name;
        TAILQ_INSERT_TAIL(&groups->leftovers, leftover, link);
}

/* A group of a poold that is no more. */
static void adopt(struct groups *groups, const char *name, uint64_t memory_max_bytes) {
        _cleanup_fd_ int fd = -1;
        char *copy;

        if (unlinkat(groups->base, name, AT_REMOVEDIR) == 0 || errno != EBUSY)
                return;
        fd = open_folder(groups->base, name);
        if (fd >= 0 && memory_max_bytes)
                set_limit(fd, memory_max_bytes);
        copy = strdup(name);
        if (copy)
                leave(groups, copy);
}

static void adopt_all(struct groups *groups) {
        int fd = open_folder(groups->base, ".");
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        while (folder && (entry = readdir(folder))) {
                uint64_t memory_max_bytes;
                int pid;

                /* NOLINTNEXTLINE(cert-err34-c): what we have not written is not ours */
                if (sscanf(entry->d_name, "worker-%d-%*u-%" SCNu64, &pid, &memory_max_bytes) == 2 &&
                    (pid == getpid() || kill(pid, 0) < 0))
                        adopt(groups, entry->d_name, memory_max_bytes);
        }
        if (folder)
                closedir(folder);
        else
                fd_close(fd);
}

struct groups *groups_new(const char *root) {
        struct groups *groups = calloc(1, sizeof(*groups));
        struct place place;
        int r;

        if (!groups)
                return NULL;
        TAILQ_INIT(&groups->leftovers);
        find_place(root, &place);
        groups->base = place.base;
        groups->problem = find_problem(&place);
        if (groups->problem)
                return groups;
        r = move_to_leaf(groups->base);
        if (r < 0) {
                log_warn("cannot make control groups for workers: %s", strerror(-r));
                if (!place.is_in_leaf)
                        move_back(groups->base);
                groups->problem = "control groups cannot be made";
                return groups;
        }
        adopt_all(groups);
        return groups;
}

static void forget(struct groups *groups, struct leftover *leftover) {
        TAILQ_REMOVE(&groups->leftovers, leftover, link);
        free(leftover->name);
        free(leftover);
}

struct groups *groups_free(struct groups *groups) {
        struct leftover *leftover;

        while (groups && (leftover = TAILQ_FIRST(&groups->leftovers)))
                forget(groups, leftover); /* NOLINT(clang-analyzer-unix.Malloc): it is off the list */
        if (groups)
                fd_close(groups->base);
        free(groups);
        return NULL;
}

const char *groups_problem(const struct groups *groups) {
        return groups->problem;
}

/* --- One group --- */

static void remove_leftovers(struct groups *groups) {
        struct leftover *leftover, *next;

        for (leftover = TAILQ_FIRST(&groups->leftovers); leftover; leftover = next) {
                next = TAILQ_NEXT(leftover, link);
                if (unlinkat(groups->base, leftover->name, AT_REMOVEDIR) == 0 || errno != EBUSY)
                        forget(groups, leftover);
        }
}

int groups_add(struct groups *groups, uint64_t memory_max_bytes, char **ret_name, int *ret_fd) {
        char *name;
        int r, fd;

        remove_leftovers(groups);
        if (asprintf(&name, "worker-%d-%u-%" PRIu64, getpid(), ++groups->n_made, memory_max_bytes) < 0)
                return -ENOMEM;
        if (mkdirat(groups->base, name, 0755) < 0) {
                r = -errno;
                free(name);
                return r;
        }
        fd = r = open_folder(groups->base, name);
        if (r >= 0 && memory_max_bytes)
                r = set_limit(fd, memory_max_bytes);
        if (r < 0) {
                fd_close(fd);
                groups_remove(groups, name);
                return r;
        }
        *ret_name = name;
        *ret_fd = fd;
        return 0;
}

void groups_remove(struct groups *groups, char *name) {
        remove_leftovers(groups);
        if (name && unlinkat(groups->base, name, AT_REMOVEDIR) < 0 && errno == EBUSY)
                leave(groups, name);
        else
                free(name);
}
