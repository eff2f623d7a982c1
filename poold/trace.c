#include "trace.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/proto.h"

#define MAX_LINKS 40 /* as path_resolution(7) has it */

/* Which folder a path leads to; NULL: none. */
struct memo {
        char *path;
        struct trace_place *place;
};

/* --- File systems --- */

bool trace_is_local(uint64_t type) {
        static const uint32_t types[] = {
                0xef53,     /* ext2, ext3, ext4 */
                0x58465342, /* xfs */
                0x9123683e, /* btrfs */
                0x01021994, /* tmpfs */
                0x858458f6, /* ramfs */
                0x794c7630, /* overlayfs */
                0x2fc12fc1, /* zfs */
                0xca451a4e, /* bcachefs */
                0xf2f52010, /* f2fs */
                0x73717368, /* squashfs */
                0xe0f5e1e2, /* erofs */
                0x28cd3d45, /* cramfs */
                0x9660,     /* isofs */
                0x4d44,     /* vfat */
                0x2011bab0, /* exfat */
                0x7366746e, /* ntfs3 */
                0x3153464a, /* jfs */
                0x52654973, /* reiserfs */
                0x3434,     /* nilfs2 */
                0x24051905, /* ubifs */
                0x72b6,     /* jffs2 */
        };

        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                if (types[i] == type)
                        return true;
        return false;
}

static bool is_remote(const char *path) {
        struct statfs st;

        return statfs(path, &st) < 0 || !trace_is_local((uint32_t)st.f_type);
}

uint64_t trace_to_nsec(const struct timespec *time) {
        return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

/* --- Looking --- */

uint64_t trace_hash(const char *text) {
        uint64_t value = UINT64_C(14695981039346656037);

        for (; *text; text++)
                value = (value ^ (unsigned char)*text) * UINT64_C(1099511628211);
        return value;
}

static struct memo *memo_slot(const struct trace *trace, const char *path) {
        size_t slot = trace_hash(path) & (trace->n_slots - 1);

        while (trace->memos[slot].path && strcmp(trace->memos[slot].path, path) != 0)
                slot = (slot + 1) & (trace->n_slots - 1);
        return &trace->memos[slot];
}

static int memo_grow(struct trace *trace) {
        struct memo *before = trace->memos;
        const size_t n_before = trace->n_slots;

        trace->memos = calloc(n_before ? 2 * n_before : 256, sizeof(*trace->memos));
        if (!trace->memos) {
                trace->memos = before;
                return -ENOMEM;
        }
        trace->n_slots = n_before ? 2 * n_before : 256;
        for (size_t i = 0; i < n_before; i++)
                if (before[i].path)
                        *memo_slot(trace, before[i].path) = before[i];
        free(before);
        return 0;
}

static void memo_set(struct trace *trace, const char *path, struct trace_place *place) {
        struct memo *memo;

        if (2 * trace->n_memos >= trace->n_slots && memo_grow(trace) < 0) {
                trace->error = -ENOMEM;
                return;
        }
        memo = memo_slot(trace, path);
        if (!memo->path) {
                memo->path = strdup(path);
                if (!memo->path)
                        trace->error = -ENOMEM;
                else
                        trace->n_memos++;
        }
        memo->place = place;
}

void trace_add(struct trace *trace, const char *path, bool is_on_remote, char kind, const char *name) {
        struct trace_entry *entry = list_extend(&trace->entries, sizeof(*entry));
        char what[NAME_MAX + 2] = { kind };

        if (strlen(name) <= NAME_MAX)
                strcpy(what + 1, name); /* NOLINT: it fits */
        if (entry)
                entry->path = list_join(path, what, &entry->what);
        if (!entry || !entry->path) {
                trace->entries.n -= entry ? 1 : 0;
                trace->error = -ENOMEM;
                return;
        }
        entry->is_remote = is_on_remote;
}

void trace_note_change(struct trace *trace, const char *path, uint64_t changed_nsec) {
        if (trace->since_nsec && changed_nsec >= trace->since_nsec && changed_nsec <= trace->now_nsec &&
            !trace->changed)
                trace->changed = strdup(path);
}

void trace_record_set(struct trace_record *record, const struct stat *st) {
        record->device = st->st_dev;
        record->inode = st->st_ino;
        record->size = st->st_size;
        record->modified_nsec = trace_to_nsec(&st->st_mtim);
        record->changed_nsec = trace_to_nsec(&st->st_ctim);
}

/* Remembers something that is not watched; @st is NULL if nothing is there. */
struct trace_record *trace_add_record(struct trace *trace, const char *path, const struct stat *st) {
        struct trace_record *record = list_extend(&trace->records, sizeof(*record));

        if (record)
                record->path = strdup(path);
        if (!record || !record->path) {
                trace->records.n -= record ? 1 : 0;
                trace->error = -ENOMEM;
                return NULL;
        }
        if (st)
                trace_record_set(record, st);
        return record;
}

/* In whatever order they come. */
static void add_inode(struct trace *trace, const char *path, const struct stat *st) {
        const uint64_t numbers[] = { st->st_dev, st->st_ino };
        uint64_t value = trace_hash(path);

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                value = (value ^ numbers[i]) * UINT64_C(1099511628211);
        trace->inodes += value ^ value >> 32;
}

static struct trace_place *add_place(struct trace *trace, const char *path, const struct trace_place *parent,
                                     const struct stat *st) {
        struct trace_place *place = calloc(1, sizeof(*place)), **item;

        item = list_extend(&trace->places, sizeof(struct trace_place *));

        if (place)
                place->path = strdup(path);
        if (!item || !place || !place->path) {
                free(place);
                trace->places.n -= item ? 1 : 0;
                trace->error = -ENOMEM;
                return NULL;
        }
        *item = place;
        /* Another one has been put in its place: what is made in a folder changes both of its times. */
        if (trace_to_nsec(&st->st_mtim) < trace->since_nsec)
                trace_note_change(trace, path, trace_to_nsec(&st->st_ctim));
        place->device = st->st_dev;
        place->is_remote = parent && parent->device == st->st_dev ? parent->is_remote : is_remote(path);
        memo_set(trace, path, place);
        add_inode(trace, path, st);
        trace_add(trace, path, place->is_remote, '\0', "");
        return place;
}

static struct trace_place *resolve(struct trace *trace, const char *path);

static struct trace_place *follow_link(struct trace *trace, const struct trace_place *parent, const char *path) {
        char target[PATH_MAX], whole[2 * PATH_MAX];
        ssize_t n = readlink(path, target, sizeof(target) - 1);

        if (n <= 0 || ++trace->n_links > MAX_LINKS)
                return NULL;
        target[n] = '\0';
        snprintf(whole, sizeof(whole), "%s/%s", parent->path, target);
        return resolve(trace, target[0] == '/' ? target : whole);
}

/* A file or a link, and what else tells that it is another one. */
static void add_leaf(struct trace *trace, const struct trace_place *parent, const char *name, const char *path,
                     const struct stat *st) {
        trace_note_change(trace, path, trace_to_nsec(&st->st_ctim));
        add_inode(trace, path, st);
        if (parent->is_remote || trace->is_unwatched)
                trace_add_record(trace, path, st);
        if (S_ISREG(st->st_mode))
                trace_add(trace, parent->path, parent->is_remote, PROTO_PLACE_FILE, name);
        /* A file with several names may be written to by another one, which only a watch of its own sees. */
        if (S_ISLNK(st->st_mode) || st->st_nlink > 1) {
                trace_add(trace, path, parent->is_remote, '\0', "");
                trace_add(trace, path, parent->is_remote,
                          S_ISLNK(st->st_mode) ? PROTO_PLACE_LINK : PROTO_PLACE_CONTENT, "");
        }
}

/* One step down from @parent. Returns the folder that is there, or that a link there leads to; NULL: none. */
static struct trace_place *step(struct trace *trace, struct trace_place *parent, const char *name) {
        const char *slash = strcmp(parent->path, "/") == 0 ? "" : "/";
        char path[PATH_MAX];
        struct stat st;

        if (snprintf(path, sizeof(path), "%s%s%s", parent->path, slash, name) >= (int)sizeof(path))
                return NULL;
        if (lstat(path, &st) < 0) {
                if (errno == ENOENT) {
                        trace_add(trace, parent->path, parent->is_remote, PROTO_PLACE_MISSING, name);
                        if (parent->is_remote || trace->is_unwatched)
                                trace_add_record(trace, path, NULL);
                }
                return NULL;
        }
        if (S_ISDIR(st.st_mode)) {
                const struct memo *memo = memo_slot(trace, path);

                return memo->place ? memo->place : add_place(trace, path, parent, &st);
        }
        add_leaf(trace, parent, name, path, &st);
        return S_ISLNK(st.st_mode) ? follow_link(trace, parent, path) : NULL;
}

static struct trace_place *root(struct trace *trace) {
        struct stat st;

        return stat("/", &st) < 0 ? NULL : add_place(trace, "/", NULL, &st);
}

/* The folder above, of a path without links. */
static struct trace_place *above(struct trace *trace, const struct trace_place *place) {
        char path[PATH_MAX];
        char *slash;

        snprintf(path, sizeof(path), "%s", place->path);
        slash = strrchr(path, '/');
        slash[slash == path ? 1 : 0] = '\0';
        return memo_slot(trace, path)->place;
}

/* As trace_follow(). */
static struct trace_place *resolve(struct trace *trace, const char *path) {
        char copy[PATH_MAX];
        struct trace_place *place;
        size_t length = strlen(path);
        char *name;

        while (length > 1 && path[length - 1] == '/')
                length--;
        if (length >= sizeof(copy) || trace->error)
                return NULL;
        memcpy(copy, path, length);
        copy[length] = '\0';
        if (memo_slot(trace, copy)->path)
                return memo_slot(trace, copy)->place;
        if (length == 1)
                return root(trace);
        name = strrchr(copy, '/');
        *name++ = '\0';
        place = resolve(trace, copy[0] ? copy : "/");
        if (place && strcmp(name, "..") == 0)
                place = above(trace, place);
        else if (place && *name && strcmp(name, ".") != 0)
                place = step(trace, place, name);
        name[-1] = '/';
        memo_set(trace, copy, place);
        return place;
}

const struct trace_place *trace_follow(struct trace *trace, const char *path) {
        trace->n_links = 0;
        return path[0] == '/' ? resolve(trace, path) : NULL;
}

/* --- What has been seen --- */

int trace_compare_entries(const void *a, const void *b) {
        const struct trace_entry *one = a, *other = b;
        int r = strcmp(one->path, other->path);

        return r ? r : strcmp(one->what, other->what);
}

void trace_sort(struct trace *trace) {
        if (trace->entries.n)
                qsort(trace->entries.items, trace->entries.n, sizeof(struct trace_entry), trace_compare_entries);
}

bool trace_has(const struct trace *trace, const char *path, const char *what) {
        const struct trace_entry key = { .path = (char *)path, .what = (char *)what };

        return trace->entries.n &&
               bsearch(&key, trace->entries.items, trace->entries.n, sizeof(key), trace_compare_entries);
}

struct trace *trace_new(uint64_t since_nsec, bool is_unwatched) {
        struct trace *trace = calloc(1, sizeof(*trace));
        struct timespec now;

        if (!trace)
                return NULL;
        clock_gettime(CLOCK_REALTIME, &now);
        trace->since_nsec = since_nsec;
        trace->now_nsec = trace_to_nsec(&now);
        trace->is_unwatched = is_unwatched;
        return memo_grow(trace) < 0 ? trace_free(trace) : trace;
}

struct trace *trace_free(struct trace *trace) {
        if (!trace)
                return NULL;
        for (size_t i = 0; i < trace->places.n; i++) {
                struct trace_place *place = ((struct trace_place **)trace->places.items)[i];

                free(place->path);
                free(place);
        }
        for (size_t i = 0; i < trace->n_slots; i++)
                free(trace->memos[i].path);
        for (size_t i = 0; i < trace->entries.n; i++)
                free(((struct trace_entry *)trace->entries.items)[i].path);
        for (size_t i = 0; i < trace->records.n; i++)
                free(((struct trace_record *)trace->records.items)[i].path);
        free(trace->places.items);
        free(trace->memos);
        free(trace->entries.items);
        free(trace->records.items);
        free(trace->changed);
        free(trace);
        return NULL;
}
