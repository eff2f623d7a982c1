#include "refill.h"

#include "usec.h"

#define MSEC_USEC UINT64_C(1000)
#define NEVER UINT64_MAX

/* No run goes on, nor has come or gone for this long: there will be none in the next moment either. */
#define QUIET_USEC (20 * MSEC_USEC)
/* A run that found no worker is taken to go on for this long. */
#define MISSED_RUN_USEC (1000 * MSEC_USEC)

/* Idle CPUs are looked for this often at first, and less often the longer there are none. */
#define LOOK_FIRST_USEC (50 * MSEC_USEC)
#define LOOK_LAST_USEC (1000 * MSEC_USEC)

/* Of the CPU time, warm-ups take at most one part in so many while none is idle. */
#define SHARE 40

void refill_init(struct refill *refill) {
        *refill = (struct refill){ .wanted_usec = NEVER };
}

void refill_want(struct refill *refill, uint64_t now_usec) {
        if (refill->wanted_usec == NEVER)
                refill->wanted_usec = now_usec;
}

void refill_done(struct refill *refill) {
        refill->wanted_usec = NEVER;
}

/* When a warm-up starts although no CPU is idle. */
static uint64_t share_usec(const struct refill *refill, const struct pool_machine *machine, uint64_t warmup_usec) {
        return later(refill->wanted_usec, refill->last_start_usec) + SHARE * warmup_usec / machine->n_cpus;
}

/* When to look again for a CPU. */
static uint64_t look_usec(const struct refill *refill, uint64_t now_usec) {
        uint64_t pause_usec = (now_usec - refill->wanted_usec) / 4;

        return now_usec + earlier(later(pause_usec, LOOK_FIRST_USEC), LOOK_LAST_USEC);
}

uint64_t refill_ask(const struct refill *refill, struct pool_machine *machine, uint64_t warmup_usec, bool is_empty,
                    uint64_t now_usec) {
        const uint64_t quiet_usec = refill->last_run_usec + (is_empty ? 0 : QUIET_USEC);
        const bool has_missed = refill->last_miss_usec && now_usec < refill->last_miss_usec + MISSED_RUN_USEC;

        if (refill->wanted_usec == NEVER)
                return 0;
        if (!machine->n_runs && !has_missed)
                return now_usec < quiet_usec ? quiet_usec : 0;
        if (now_usec < refill->wanted_usec + QUIET_USEC)
                return refill->wanted_usec + QUIET_USEC; /* most runs are over by then */
        if (now_usec >= share_usec(refill, machine, warmup_usec) || machine->take_idle_cpu(machine, now_usec))
                return 0;
        return earlier(look_usec(refill, now_usec), share_usec(refill, machine, warmup_usec));
}
