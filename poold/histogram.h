#pragma once

/*
 * How long something took, each time that it happened: counted in buckets of at most a tenth of what is in them, so that
 * a percentile is at most 5 % off, from a microsecond to hours. Nothing is ever forgotten, and it does not grow.
 */

#include <stddef.h>
#include <stdint.h>

/* 0 to 9 us, one by one; then two digits are told apart, up to 10^10 us, and what is longer counts as that. */
#define HISTOGRAM_N_BUCKETS (10 + 9 * 90)

/* Zero-initialised is empty. */
struct histogram {
        uint64_t n, sum_usec;
        uint64_t counts[HISTOGRAM_N_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t usec);

/* How many took @from_usec or longer, but not @to_usec. No digits of these but the first two may be other than 0. */
uint64_t histogram_count(const struct histogram *histogram, uint64_t from_usec, uint64_t to_usec);

/* As long as this percentage of them took at most, 0 to 100; 0 if there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, unsigned percentile);
