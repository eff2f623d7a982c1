#include "title.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/fd.h"

static struct {
        const char *pool;
        const char *program;
        bool can_set;            /* `map` is what the kernel has */
        struct prctl_mm_map map; /* all but `brk`, which moves */
} title;

/* Where the fields of /proc/PID/stat go that proc(5) numbers from 26 on; NULL: it is none of these. */
static __u64 *member_of(struct prctl_mm_map *map, unsigned field) {
        switch (field) {
        case 26:
                return &map->start_code;
        case 27:
                return &map->end_code;
        case 28:
                return &map->start_stack;
        case 45:
                return &map->start_data;
        case 46:
                return &map->end_data;
        case 47:
                return &map->start_brk;
        case 48:
                return &map->arg_start;
        case 49:
                return &map->arg_end;
        case 50:
                return &map->env_start;
        case 51:
                return &map->env_end;
        default:
                return NULL;
        }
}

/* Returns whether all of it could be read. */
static bool read_map(struct prctl_mm_map *ret_map) {
        _cleanup_fd_ int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
        char text[2048], *at;
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        if (n_bytes < 0)
                return false;
        text[n_bytes] = '\0';
        *ret_map = (struct prctl_mm_map){ .exe_fd = (__u32)-1 };
        at = strrchr(text, ')'); /* ends the second field, which may have anything in it */
        for (unsigned field = 3; at && field <= 51; field++) {
                __u64 *member = member_of(ret_map, field);

                at = strchr(at + 1, ' ');
                if (at && member)
                        *member = strtoull(at, NULL, 10);
        }
        return at;
}

/*
 * The heap's end has to go with the rest, so it is asked for right before. It must not move in between: Python's
 * threads wait for us here, and those of libraries have heaps of their own, which are not at that end (malloc(3),
 * arenas).
 */
static void show(void) {
        title.map.brk = (__u64)syscall(SYS_brk, 0);
        if (title.can_set)
                title.can_set = prctl(PR_SET_MM, PR_SET_MM_MAP, &title.map, sizeof(title.map), 0) == 0;
}

static void show_state(const char *state) {
        char *text;
        int n = asprintf(&text, "poold-worker: %s %s", title.pool, state);

        if (n < 0)
                return;
        title.map.arg_start = (uintptr_t)text;
        title.map.arg_end = (uintptr_t)text + (size_t)n + 1;
        show();
}

static void set_name(const char *path) {
        const char *slash = strrchr(path, '/');

        prctl(PR_SET_NAME, slash ? slash + 1 : path); /* cut to 15 bytes, as execve(2) does */
}

void title_start(const char *pool, const char *program) {
        title.pool = pool;
        title.program = program;
        title.can_set = read_map(&title.map);
        set_name(program);
        show_state("starting");
}

void title_idle(void) {
        set_name("poold-worker");
        show_state("idle");
}

int title_run(struct proto_run *run) {
        size_t n_program = strlen(title.program) + 1, n_args = n_program + run->argv.n_bytes;
        char *text = malloc(n_args + run->env.n_bytes + 1);

        if (!text)
                return -ENOMEM;
        memcpy(text, title.program, n_program);
        memcpy(text + n_program, run->argv.data, run->argv.n_bytes);
        memcpy(text + n_args, run->env.data, run->env.n_bytes);
        run->env.data = text + n_args;
        title.map.arg_start = (uintptr_t)text;
        title.map.arg_end = title.map.env_start = (uintptr_t)text + n_args;
        title.map.env_end = title.map.env_start + run->env.n_bytes;
        set_name(title.program);
        show();
        return 0;
}
