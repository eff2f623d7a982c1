#include "screen.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What @variable says, else the terminal by @said, which is 0 if it does not. */
static size_t size_of(const char *variable, unsigned short said) {
        const char *text = getenv(variable);
        long number = text ? strtol(text, NULL, 10) : 0;

        if (number > 0)
                return (size_t)number;
        return said ? said : SIZE_MAX;
}

static struct winsize ask(void) {
        struct winsize size = { 0 };

        ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
        return size;
}

bool screen_is_terminal(void) {
        return isatty(STDOUT_FILENO);
}

size_t screen_columns(void) {
        return size_of("COLUMNS", ask().ws_col);
}

size_t screen_rows(void) {
        return size_of("LINES", ask().ws_row);
}

bool screen_has_colours(void) {
        const char *unwanted = getenv("NO_COLOR"), *term = getenv("TERM");

        return !(unwanted && unwanted[0]) && term && strcmp(term, "dumb") != 0 && screen_is_terminal();
}
