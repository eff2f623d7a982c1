#include "miss.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int miss_refused(struct miss *miss, const char *reason, const char *detail, const char *python) {
        miss->reason = strdup(reason);
        miss->detail = strdup(detail);
        miss->python = strdup(python);
        return MISS;
}

int miss_set(struct miss *miss, const char *reason, const char *format, ...) {
        va_list arguments;

        miss->reason = strdup(reason);
        va_start(arguments, format);
        if (vasprintf(&miss->detail, format, arguments) < 0)
                miss->detail = NULL;
        va_end(arguments);
        return MISS;
}

void miss_set_python(struct miss *miss, const char *python) {
        free(miss->python);
        miss->python = strdup(python);
}

const char *miss_text(const struct miss *miss) {
        if (miss->detail && miss->detail[0])
                return miss->detail;
        return miss->reason ? miss->reason : "";
}

void miss_fini(struct miss *miss) {
        free(miss->reason);
        free(miss->detail);
        free(miss->python);
        *miss = (struct miss){ 0 };
}
