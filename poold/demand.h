#pragma once

/*
 * How many idle workers the runs of late make useful.
 *
 * By Little's law, arrival rate times warm-up time is how many replacements are on their way on average. A pool that
 * keeps this many would be empty every other time, so it is not the average that is kept here but each value that it
 * has had: a run that comes while k - 1 replacements are on their way needs a k-th spare. Each spare is judged by itself:
 * it is worth its memory for a while after it would have been of use, the longer the more its warm-up costs (as in the
 * ski-rental problem, that is never more than twice as dear as the best choice in hindsight). One that has been of use
 * again and again, after gaps that were longer than this while, is kept over such gaps. So bursts count as long as they
 * come back, and what nobody needs any more goes, one spare after the other.
 */

#include <stdint.h>

struct demand;

/* For up to @max_spares. Returns NULL for lack of memory. */
struct demand *demand_new(uint32_t max_spares);
/* Returns NULL. @demand may be NULL. */
struct demand *demand_free(struct demand *demand);

/* Takes over what @from has seen, as far as it goes. */
void demand_copy(struct demand *demand, const struct demand *from);

/* A run has come, and a worker in place of the one that it gets, or would have got, takes @warmup_usec. */
void demand_note(struct demand *demand, uint64_t warmup_usec, uint64_t now_usec);

/* How many spares are worth their memory, and until when this holds if no run comes; UINT64_MAX: for good. */
uint32_t demand_spares(const struct demand *demand, uint64_t warmup_usec, uint64_t now_usec,
                       uint64_t *ret_until_usec);
