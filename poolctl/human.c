#include "human.h"

#include <stdio.h>

/* @value, a number of 1/@unit, with a digit behind the point if there is but one before it. */
static struct human with_unit(uint64_t value, uint64_t unit, const char *name) {
        struct human human;

        if (value / unit < 10)
                snprintf(human.text, sizeof(human.text), "%u.%u%s", (unsigned)(value / unit),
                         (unsigned)(value % unit * 10 / unit), name);
        else
                snprintf(human.text, sizeof(human.text), "%llu%s", (unsigned long long)(value / unit), name);
        return human;
}

static struct human with_two(uint64_t seconds, uint64_t unit, const char *name, uint64_t lower,
                             const char *lower_name) {
        struct human human;

        snprintf(human.text, sizeof(human.text), "%llu%s%02u%s", (unsigned long long)(seconds / unit), name,
                 (unsigned)(seconds % unit / lower), lower_name);
        return human;
}

struct human human_duration(uint64_t usec) {
        const uint64_t seconds = usec / 1000000;
        struct human human;

        if (usec < 1000) {
                snprintf(human.text, sizeof(human.text), "%uus", (unsigned)usec);
                return human;
        }
        if (usec < 1000000)
                return with_unit(usec, 1000, "ms");
        if (seconds < 60)
                return with_unit(usec, 1000000, "s");
        if (seconds < 3600)
                return with_two(seconds, 60, "m", 1, "s");
        if (seconds < 86400)
                return with_two(seconds, 3600, "h", 60, "m");
        return with_two(seconds, 86400, "d", 3600, "h");
}

struct human human_memory(uint64_t kb) {
        struct human human;

        if (kb >= 1 << 20)
                return with_unit(kb, 1 << 20, "G");
        if (kb >= 1 << 10)
                return with_unit(kb, 1 << 10, "M");
        snprintf(human.text, sizeof(human.text), "%uK", (unsigned)kb);
        return human;
}
