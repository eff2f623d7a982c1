#include "demand.h"

#include <stdlib.h>
#include <string.h>

#define SEC_USEC UINT64_C(1000000)

/* How long a spare is kept after it was of use: so many times what it costs to make, within these bounds. */
#define KEEP_WARMUPS 600
#define KEEP_LEAST_USEC (10 * SEC_USEC)
#define KEEP_MOST_USEC (900 * SEC_USEC)

/* Use that comes again within this is expected to do so again. */
#define LONGEST_GAP_USEC (3600 * SEC_USEC)

struct spare {
        uint64_t used_usec; /* when a run last came that needed it; 0: never */
        uint64_t gap_usec;  /* after which it was last of use although it would not have been kept; 0: not known */
};

struct demand {
        uint32_t max_spares;
        uint64_t n_runs;
        uint64_t *runs_usec; /* the last max_spares runs, a ring */
        struct spare *spares;
};

struct demand *demand_new(uint32_t max_spares) {
        struct demand *demand = calloc(1, sizeof(*demand));

        if (!demand)
                return NULL;
        demand->max_spares = max_spares;
        demand->runs_usec = calloc(max_spares + 1, sizeof(*demand->runs_usec));
        demand->spares = calloc(max_spares + 1, sizeof(*demand->spares));
        return demand->runs_usec && demand->spares ? demand : demand_free(demand);
}

struct demand *demand_free(struct demand *demand) {
        if (!demand)
                return NULL;
        free(demand->runs_usec);
        free(demand->spares);
        free(demand);
        return NULL;
}

void demand_copy(struct demand *demand, const struct demand *from) {
        uint32_t n_spares = from->max_spares < demand->max_spares ? from->max_spares : demand->max_spares;

        memcpy(demand->spares, from->spares, n_spares * sizeof(*from->spares));
}

/* How many of the last runs came less than a warm-up ago, up to all that are remembered. */
static uint32_t count_outstanding(const struct demand *demand, uint64_t warmup_usec, uint64_t now_usec) {
        uint32_t n = 0;

        while (n < demand->max_spares && n < demand->n_runs) {
                uint64_t came_usec = demand->runs_usec[(demand->n_runs - n - 1) % demand->max_spares];

                if (!came_usec || now_usec - came_usec >= warmup_usec)
                        break;
                n++;
        }
        return n;
}

static uint64_t least_keep_usec(uint64_t warmup_usec) {
        uint64_t keep_usec = warmup_usec * KEEP_WARMUPS;

        if (keep_usec < KEEP_LEAST_USEC)
                return KEEP_LEAST_USEC;
        return keep_usec < KEEP_MOST_USEC ? keep_usec : KEEP_MOST_USEC;
}

static void use(struct spare *spare, uint64_t keep_usec, uint64_t now_usec) {
        uint64_t gap_usec = now_usec - spare->used_usec;

        if (spare->used_usec && gap_usec > keep_usec)
                spare->gap_usec = gap_usec < LONGEST_GAP_USEC ? gap_usec : 0;
        spare->used_usec = now_usec;
}

/* Until when a spare is worth its memory. */
static uint64_t until_usec(const struct spare *spare, uint64_t keep_usec) {
        uint64_t over_gap_usec = spare->gap_usec + spare->gap_usec / 2;

        if (!spare->used_usec)
                return 0;
        return spare->used_usec + (keep_usec > over_gap_usec ? keep_usec : over_gap_usec);
}

void demand_note(struct demand *demand, uint64_t warmup_usec, uint64_t now_usec) {
        uint32_t n_outstanding;

        if (!demand->max_spares)
                return;
        n_outstanding = count_outstanding(demand, warmup_usec, now_usec);
        demand->runs_usec[demand->n_runs++ % demand->max_spares] = now_usec;
        if (n_outstanding < demand->max_spares)
                use(&demand->spares[n_outstanding], least_keep_usec(warmup_usec), now_usec);
}

uint32_t demand_spares(const struct demand *demand, uint64_t warmup_usec, uint64_t now_usec,
                       uint64_t *ret_until_usec) {
        const uint64_t keep_usec = least_keep_usec(warmup_usec);
        uint32_t n = demand->max_spares;

        while (n && until_usec(&demand->spares[n - 1], keep_usec) <= now_usec)
                n--;
        *ret_until_usec = n ? until_usec(&demand->spares[n - 1], keep_usec) : UINT64_MAX;
        return n;
}
