#include "histogram.h"

#define N_SINGLE 10   /* buckets of one microsecond */
#define N_A_DECADE 90 /* buckets from 10 to 99 times a power of ten */

static size_t bucket_of(uint64_t usec) {
        size_t first = N_SINGLE;

        if (usec < N_SINGLE)
                return (size_t)usec;
        for (; usec >= 100 && first < HISTOGRAM_N_BUCKETS; first += N_A_DECADE)
                usec /= 10;
        return first < HISTOGRAM_N_BUCKETS ? first + (size_t)usec - 10 : HISTOGRAM_N_BUCKETS - 1;
}

/* The shortest time that counts for @bucket. */
static uint64_t start_of(size_t bucket) {
        uint64_t unit = 1;

        if (bucket < N_SINGLE)
                return bucket;
        for (bucket -= N_SINGLE; bucket >= N_A_DECADE; bucket -= N_A_DECADE)
                unit *= 10;
        return (bucket + 10) * unit;
}

void histogram_add(struct histogram *histogram, uint64_t usec) {
        histogram->n++;
        histogram->sum_usec += usec;
        histogram->counts[bucket_of(usec)]++;
}

uint64_t histogram_count(const struct histogram *histogram, uint64_t from_usec, uint64_t to_usec) {
        size_t end = bucket_of(to_usec);
        uint64_t n = 0;

        for (size_t i = bucket_of(from_usec); i < end; i++)
                n += histogram->counts[i];
        return n;
}

uint64_t histogram_percentile(const struct histogram *histogram, unsigned percentile) {
        uint64_t rank = histogram->n ? (histogram->n - 1) * percentile / 100 : 0;
        size_t i = 0;

        if (!histogram->n)
                return 0;
        for (uint64_t n = histogram->counts[0]; n <= rank; n += histogram->counts[i])
                i++;
        return (start_of(i) + start_of(i + 1) - 1) / 2;
}
