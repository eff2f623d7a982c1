#pragma once

/* A folder's entry as getdents64(2) has it, which no C library need declare. */

#include <stdint.h>

struct dents_entry {
        uint64_t inode;
        int64_t offset;
        uint16_t n_bytes; /* to the next one */
        uint8_t type;
        char name[];
};
