#pragma once

/*
 * What a worker depends on in the file system: the files that it has loaded, with every folder and symbolic link on the
 * way to them, and the folders in which other modules may appear. poold watches that, as FILES has it (lib/proto.h).
 * What it cannot watch, because it lies on a file system of the network's or because it may have no more watches, the
 * worker looks at itself. No Python in it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/wire.h"

struct footprint;

/* Positive result. */
enum {
        FOOTPRINT_CHANGED = 1,
};

/* Returns NULL for lack of memory. */
struct footprint *footprint_new(void);
/* Returns NULL. @footprint may be NULL. */
struct footprint *footprint_free(struct footprint *footprint);

/* A file, or any path that is to stay what it is, be it that nothing is there. One that is not absolute is ignored. */
int footprint_add(struct footprint *footprint, const char *path);
/* A folder of sys.path. */
int footprint_add_folder(struct footprint *footprint, const char *path);
/* A file that was loaded from where it would be looked for again, and is there no more. */
int footprint_add_gone(struct footprint *footprint, const char *path);
/* A module that is, or is to be seen when it appears, in @folder; NULL: in any of sys.path. All return 0 or -ENOMEM. */
int footprint_add_module(struct footprint *footprint, const char *folder, const char *name);

/* Looks at all of it, and writes the payload of FILES. Returns 0 or negative errno. */
int footprint_put(struct footprint *footprint, struct wire_writer *payload);

/*
 * Looks at all of it again, now that it is watched. What has changed since @since_nsec (CLOCK_REALTIME) may have been
 * loaded before: then returns FOOTPRINT_CHANGED and what it is, borrowed. Else returns 0, and remembers what is not
 * watched; with @is_unwatched, that is everything. Or returns negative errno. Nothing can be added any more.
 */
int footprint_settle(struct footprint *footprint, uint64_t since_nsec, bool is_unwatched, const char **ret_path);

/* What has changed since then, of that which is not watched, borrowed; or NULL. */
const char *footprint_find_change(const struct footprint *footprint);
