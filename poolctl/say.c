#include "say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void say(const char *format, ...) {
        FILE *file;
        char *line = NULL;
        size_t n_bytes = 0;
        va_list arguments;

        file = open_memstream(&line, &n_bytes);
        if (!file)
                return;
        fputs("poolctl: ", file);
        va_start(arguments, format);
        vfprintf(file, format, arguments);
        va_end(arguments);
        putc('\n', file);
        /* By one call: others may write to the same file. */
        if (fclose(file) == 0 && write(STDERR_FILENO, line, n_bytes) < 0)
                errno = 0; /* there is nobody to tell */
        free(line);
}
