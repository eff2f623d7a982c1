#include "decline.h"

#include <stdarg.h>
#include <stdio.h>

int decline(struct decline *decline, const char *reason, const char *format, ...) {
        va_list arguments;

        if (!decline)
                return DECLINED;
        decline->reason = reason;
        va_start(arguments, format);
        vsnprintf(decline->detail, sizeof(decline->detail), format, arguments);
        va_end(arguments);
        return DECLINED;
}
