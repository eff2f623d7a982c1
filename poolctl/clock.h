#pragma once

/* The monotonic clock, in microseconds. */

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define USEC_PER_MS INT64_C(1000)
#define USEC_PER_SEC INT64_C(1000000)
#define NEVER INT64_MAX /* the deadline that does not come */

static inline int64_t clock_now_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * USEC_PER_SEC + now.tv_nsec / 1000;
}

/* What poll(2) is told so that it returns no sooner than @deadline_usec. */
static inline int clock_poll_ms(int64_t deadline_usec) {
        int64_t left_ms;

        if (deadline_usec == NEVER)
                return -1;
        left_ms = (deadline_usec - clock_now_usec() + USEC_PER_MS - 1) / USEC_PER_MS;
        return left_ms < 0 ? 0 : left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}
