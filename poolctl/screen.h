#pragma once

/* What standard output is shown on. */

#include <stdbool.h>
#include <stddef.h>

bool screen_is_terminal(void);
/* How wide it is: $COLUMNS, else what the terminal says; SIZE_MAX where there is none, or it does not say. */
size_t screen_columns(void);
/* How high it is: $LINES, else what the terminal says; SIZE_MAX as above. */
size_t screen_rows(void);
/* A terminal that knows colours, and a user who wants them (https://no-color.org)? */
bool screen_has_colours(void);
