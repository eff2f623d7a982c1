#pragma once

/* Why a worker hands a run back before it has started anything: the client runs python3 itself then. */

enum {
        DECLINED = 1, /* positive result of everything that may decline */
};

struct decline {
        const char *reason; /* the miss's name, static */
        char detail[512];   /* for a person */
};

/* Fills in @decline and returns DECLINED. */
int decline(struct decline *decline, const char *reason, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
