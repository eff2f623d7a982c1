#include "cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/proto.h"

#define N_KNOWN 16                         /* groups whose verdict is kept */
#define STALE_USEC (5 * UINT64_C(1000000)) /* limits may be set at any time */
#define NO_LIMIT UINT64_MAX

/* Where a limit is: in the hierarchy of a controller, as /proc/PID/cgroup names it; "" is that of version 2. */
static const struct {
        const char *controller, *file, *what;
} limits[] = {
        { "", "memory.max", "memory" },
        { "", "memory.high", "memory" },
        { "", "memory.swap.max", "swap" },
        { "", "cpu.max", "CPU time" },
        { "memory", "memory.limit_in_bytes", "memory" },
        { "memory", "memory.memsw.limit_in_bytes", "swap" },
        { "cpu", "cpu.cfs_quota_us", "CPU time" },
};
#define N_LIMITS (sizeof(limits) / sizeof(limits[0]))

struct known {
        char *text; /* NULL: free */
        uint64_t looked_at_usec;
        bool declined;
        struct decline why;
};

struct cgroups {
        const char *root;
        char ours[PROTO_CGROUP_BYTES]; /* "" if it cannot be known: nothing is compared then */
        struct known known[N_KNOWN];
        size_t next; /* that is given up for a new one */
};

static bool is_one_of(const char *controllers, size_t n, const char *controller) {
        size_t length = strlen(controller);

        if (n == 0 || length == 0)
                return n == length;
        for (const char *at = controllers; at < controllers + n; at += strcspn(at, ",:") + 1)
                if (strncmp(at, controller, length) == 0 && (at[length] == ',' || at[length] == ':'))
                        return true;
        return false;
}

/*
 * Copies the path of the group in the hierarchy of @controller from @text, with lines "NUMBER:CONTROLLERS:PATH", to
 * @ret_path, with a '/' at the end only. Returns false if there is none.
 */
static bool find_path(const char *text, const char *controller, char ret_path[PATH_MAX]) {
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                const char *controllers = strchr(line, ':'),
                           *path = controllers ? strchr(controllers + 1, ':') : NULL;
                int n;

                if (!path || !is_one_of(controllers + 1, (size_t)(path - controllers - 1), controller))
                        continue;
                n = (int)strcspn(path + 1, "\n");
                n = snprintf(ret_path, PATH_MAX, "%.*s%s", n, path + 1, path[n] == '/' ? "" : "/");
                return n < PATH_MAX;
        }
        return false;
}

/* "max", "-1", bytes, or microseconds for CPU time and those of a period, of which it is the share in a million. */
static uint64_t parse_limit(const char *text) {
        char *end;
        long long value = strtoll(text, &end, 10), period = *end == ' ' ? strtoll(end, NULL, 10) : 0;

        if (end == text || value < 0 ||
            value > LLONG_MAX / 2) /* version 1's "none" is the largest page's address */
                return NO_LIMIT;
        return period > 0 ? (uint64_t)value * 1000000 / (uint64_t)period : (uint64_t)value;
}

/* The mount point of a hierarchy: version 2 alone is at the root, beside version 1 it is "unified". */
static int make_folder(const char *root, const char *controller, char ret_folder[PATH_MAX]) {
        int n = snprintf(ret_folder, PATH_MAX, "%s/%s", root, controller[0] ? controller : "unified");

        if (!controller[0] && access(ret_folder, F_OK) < 0)
                n = snprintf(ret_folder, PATH_MAX, "%s", root);
        return n;
}

/* The least of the limits in @file of the group at @path and of those above it, but for the first @n_shared bytes. */
static uint64_t least_limit(const char *folder, const char *path, size_t n_shared, const char *file) {
        uint64_t least = NO_LIMIT;

        for (size_t n = strlen(path); n > n_shared; n--) {
                char name[2 * PATH_MAX + NAME_MAX], text[64];
                uint64_t limit;

                if (path[n - 1] != '/')
                        continue;
                snprintf(name, sizeof(name), "%s%.*s%s", folder, (int)n, path, file);
                limit = fd_read_whole_text(AT_FDCWD, name, text, sizeof(text)) == 0 ? parse_limit(text) : NO_LIMIT;
                least = limit < least ? limit : least;
        }
        return least;
}

/* How much of two paths is the same, whole names. */
static size_t shared_length(const char *a, const char *b) {
        size_t n_shared = 0;

        for (size_t i = 0; a[i] && a[i] == b[i]; i++)
                if (a[i] == '/')
                        n_shared = i + 1;
        return n_shared;
}

int cgroups_compare(const char *root, const char *ours, const char *theirs, struct decline *why) {
        for (size_t i = 0; i < N_LIMITS; i++) {
                char folder[PATH_MAX], our_path[PATH_MAX], path[PATH_MAX];
                size_t n_shared;

                if (!find_path(ours, limits[i].controller, our_path) ||
                    !find_path(theirs, limits[i].controller, path) ||
                    make_folder(root, limits[i].controller, folder) >= PATH_MAX)
                        continue;
                n_shared = shared_length(our_path, path);
                if (least_limit(folder, path, n_shared, limits[i].file) <
                    least_limit(folder, our_path, n_shared, limits[i].file))
                        return decline(why, "cgroup", "a limit on %s holds for the control group %.300s",
                                       limits[i].what, path);
        }
        return 0;
}

struct cgroups *cgroups_new(const char *root) {
        struct cgroups *cgroups = calloc(1, sizeof(*cgroups));

        if (cgroups) {
                cgroups->root = root;
                fd_read_whole_text(AT_FDCWD, "/proc/self/cgroup", cgroups->ours, sizeof(cgroups->ours));
        }
        return cgroups;
}

struct cgroups *cgroups_free(struct cgroups *cgroups) {
        for (size_t i = 0; cgroups && i < N_KNOWN; i++)
                free(cgroups->known[i].text);
        free(cgroups);
        return NULL;
}

/* What is known of @text, which is looked at if that is not much. NULL for lack of memory. */
static const struct known *look_at(struct cgroups *cgroups, const char *text, uint64_t now_usec) {
        struct known *known = NULL;

        for (size_t i = 0; i < N_KNOWN && !known; i++)
                if (cgroups->known[i].text && strcmp(cgroups->known[i].text, text) == 0)
                        known = &cgroups->known[i];
        if (known && now_usec - known->looked_at_usec < STALE_USEC)
                return known;
        if (!known) {
                known = &cgroups->known[cgroups->next++ % N_KNOWN];
                free(known->text);
                known->text = strdup(text);
        }
        if (!known->text)
                return NULL;
        known->looked_at_usec = now_usec;
        known->declined = cgroups_compare(cgroups->root, cgroups->ours, text, &known->why) == DECLINED;
        return known;
}

int cgroups_check(struct cgroups *cgroups, const char *theirs, uint64_t now_usec, struct decline *why) {
        const struct known *known;

        if (!cgroups->ours[0] || !theirs[0] || strcmp(theirs, cgroups->ours) == 0)
                return 0;
        known = look_at(cgroups, theirs, now_usec);
        if (known && known->declined)
                *why = known->why;
        return known && known->declined ? DECLINED : 0;
}
