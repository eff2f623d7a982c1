#pragma once

/* The names in a folder, by getdents64(2): readdir(3) allocates, which is not for all times. */

#include <stdint.h>
#include <sys/types.h>

struct dents {
        int fd;              /* the folder, borrowed */
        int error;           /* negative errno if it could not be read to its end, else 0 */
        ssize_t n_bytes, at; /* that have been read, and taken of them */
        union {
                uint64_t align;
                char bytes[4096];
        };
};

void dents_init(struct dents *dents, int fd);

/* The next name, borrowed until the next call, "." and ".." among them. NULL: the end, or an error. */
const char *dents_next(struct dents *dents);
