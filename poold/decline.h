#pragma once

/* Why a run is not served warm: poold refuses it, or a worker hands it back before it has started anything. */

enum {
        DECLINED = 1, /* positive result of everything that may decline */
};

struct decline {
        const char *reason; /* the miss's name, static */
        char detail[512];   /* for a person */
};

/* Fills in @decline, unless that is NULL: nobody wants to know. Returns DECLINED. */
int decline(struct decline *decline, const char *reason, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
