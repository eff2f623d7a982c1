#include "say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

void say(const char *format, ...) {
        char *text = NULL;
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (n < 0)
                return;
        /* By one call: others may write to the same file. */
        if (writev(STDERR_FILENO,
                   (const struct iovec[]){ { (char *)"poolctl: ", 9 }, { text, (size_t)n }, { (char *)"\n", 1 } },
                   3) < 0)
                errno = 0; /* there is nobody to tell */
        free(text);
}
