#include "warmup.h"

#include <stdlib.h>
#include <string.h>

void warmup_note(struct warmup *warmup, uint64_t usec) {
        warmup->last_usec[warmup->n++ % WARMUP_N] = usec ? usec : 1;
}

static int compare(const void *a, const void *b) {
        uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

        return (left > right) - (left < right);
}

uint64_t warmup_usec(const struct warmup *warmup) {
        uint64_t sorted[WARMUP_N];
        size_t n = 0;

        for (size_t i = 0; i < WARMUP_N; i++)
                if (warmup->last_usec[i])
                        sorted[n++] = warmup->last_usec[i];
        qsort(sorted, n, sizeof(sorted[0]), compare);
        return n ? sorted[n / 2] : 0;
}
