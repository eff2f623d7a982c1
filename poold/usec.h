#pragma once

/* Points in time, in microseconds of the same clock. */

#include <stdint.h>

static inline uint64_t earlier(uint64_t a_usec, uint64_t b_usec) {
        return a_usec < b_usec ? a_usec : b_usec;
}

static inline uint64_t later(uint64_t a_usec, uint64_t b_usec) {
        return a_usec > b_usec ? a_usec : b_usec;
}
