#include "dents.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As getdents64(2) has it, which no C library need declare. */
struct entry {
        uint64_t inode;
        int64_t offset;
        uint16_t n_bytes;
        uint8_t type;
        char name[];
};

void dents_init(struct dents *dents, int fd) {
        dents->fd = fd;
        dents->error = 0;
        dents->n_bytes = dents->at = 0;
}

const char *dents_next(struct dents *dents) {
        const struct entry *entry;

        if (dents->at == dents->n_bytes) {
                dents->n_bytes = syscall(SYS_getdents64, dents->fd, dents->bytes, sizeof(dents->bytes));
                dents->at = 0;
                if (dents->n_bytes < 0)
                        dents->error = -errno;
                if (dents->n_bytes <= 0) {
                        dents->n_bytes = 0;
                        return NULL;
                }
        }
        entry = (const void *)(dents->bytes + dents->at);
        dents->at += entry->n_bytes;
        return entry->name;
}
