#pragma once

/* What poold says about itself, as it is shown. */

#include <stddef.h>
#include <stdio.h>

#include "status.h"

struct status_view {
        FILE *file;
        size_t columns; /* no line is wider, but for those of an error */
        bool has_colours;
};

/* All pools, a row each, and what needs attention. Takes no time but for some milliseconds: see PSS_BUDGET_USEC. */
void status_view_overview(const struct status_view *view, const struct status *status);

/* All there is to say of one. As long as the kernel takes to look at each worker. */
void status_view_pool(const struct status_view *view, const struct status_pool *pool);

/* As one JSON document, on one line. As long, too. */
void status_view_json(FILE *file, const struct status *status);
