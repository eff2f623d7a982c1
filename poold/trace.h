#pragma once

/*
 * One look at the file system: paths are followed step by step, and all that decides where they lead is noted. A part of
 * footprint.c.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "list.h"

/* A folder, by its path without links. */
struct trace_place {
        char *path;
        dev_t device;
        bool is_remote; /* inotify does not see all that happens there */
};

/* What counts of a place, as FILES has it: the text of a line, and the place before it. */
struct trace_entry {
        char *path, *what; /* one allocation */
        bool is_remote;
};

/* What was seen of something that is not watched. */
struct trace_record {
        char *path;
        dev_t device;
        ino_t inode; /* 0: nothing was there */
        off_t size;
        uint64_t modified_nsec, changed_nsec;
        bool is_folder; /* only the modules in it count */
        uint64_t listing;
};

struct trace {
        struct list places; /* struct trace_place * */
        struct memo *memos; /* a hash table with open addressing: where paths lead */
        size_t n_memos, n_slots;
        struct list entries;           /* struct trace_entry */
        struct list records;           /* struct trace_record */
        uint64_t inodes;               /* a number for what was at the paths: which inodes */
        uint64_t since_nsec, now_nsec; /* what has changed between them has changed too late; 0: nothing has */
        bool is_unwatched;             /* there is a record of everything */
        char *changed;                 /* the first that has */
        unsigned n_links;
        int error; /* 0, or the first failure */
};

/* NULL: no memory. */
struct trace *trace_new(uint64_t since_nsec, bool is_unwatched);
/* Returns NULL. @trace may be NULL. */
struct trace *trace_free(struct trace *trace);

/* Follows @path, an absolute one, noting all on the way. Returns the folder that it leads to; NULL: it is none. */
const struct trace_place *trace_follow(struct trace *trace, const char *path);

/* A line of @kind, PROTO_PLACE_*, for the place @path. */
void trace_add(struct trace *trace, const char *path, bool is_remote, char kind, const char *name);
/* Remembers something that is not watched; @st is NULL if nothing is there. NULL: no memory. */
struct trace_record *trace_add_record(struct trace *trace, const char *path, const struct stat *st);
/* Has this changed too late? */
void trace_note_change(struct trace *trace, const char *path, uint64_t changed_nsec);

/* When all has been looked at: puts the lines in order, so that they can be looked for. */
void trace_sort(struct trace *trace);
bool trace_has(const struct trace *trace, const char *path, const char *what);
int trace_compare_entries(const void *a, const void *b);

void trace_record_set(struct trace_record *record, const struct stat *st);
uint64_t trace_to_nsec(const struct timespec *time);
uint64_t trace_hash(const char *text);

/* Does inotify(7) see every change on a file system of this type (statfs(2))? */
bool trace_is_local(uint64_t type);
