#pragma once

/* Numbers as a person reads them, in five columns or little more. */

#include <stdint.h>

struct human {
        char text[24];
};

/* "120us", "1.2ms", "842ms", "1.7s", "5m12s", "3h05m", "2d04h" */
struct human human_duration(uint64_t usec);
/* "812K", "4.1M", "141M", "1.2G" */
struct human human_memory(uint64_t kb);
