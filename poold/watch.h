#pragma once

/*
 * What workers depend on in the file system, watched by inotify(7): the folders that their files are in, each once for
 * all pools that it concerns. A wake-up for what turns out to concern nobody, such as a log that is written to beside a
 * module, is followed by a pause: before each run it is looked at anyway.
 */

#include "lib/proto.h"
#include "loop.h"

struct watch;
struct watch_set;

/* Positive result. */
enum {
        WATCH_INCOMPLETE = 1, /* not all of it can be watched */
        WATCH_OVERGROWN,      /* the set has become far more than what is added, which is not */
};

/* Something that the set is of has changed: @path, or NULL if there is no knowing what. Must not free a set. */
typedef void (*watch_fn)(const char *path, void *data);

/*
 * @changed is called by the loop some time after any set was told of a change. Returns NULL for lack of memory. Where
 * inotify cannot be had, it is tried again when there is something to watch.
 */
struct watch *watch_new(struct loop *loop, void (*changed)(void *data), void *data);
/* Its sets must have been freed. Returns NULL. @watch may be NULL. */
struct watch *watch_free(struct watch *watch);

/* Calls back for all that has happened up to now. */
void watch_read(struct watch *watch);

/* What one pool depends on; nothing at first. NULL: no memory. */
struct watch_set *watch_set_new(struct watch *watch, watch_fn fn, void *data);
/* Returns NULL. @set may be NULL. */
struct watch_set *watch_set_free(struct watch_set *set);

/*
 * Adds what @files (borrowed) has; with @is_anew, in place of what there was. Returns 0, WATCH_INCOMPLETE,
 * WATCH_OVERGROWN, -EPROTO if it makes no sense, or another negative errno.
 */
int watch_set_add(struct watch_set *set, const struct proto_files *files, bool is_anew);

/* How many places are watched, for all sets. */
size_t watch_count(const struct watch *watch);
