#pragma once

/* A table for a person: columns as wide as they must be, and of too many the less important left out. */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_column {
        const char *title;
        bool is_right; /* aligned, as numbers are */
        unsigned rank; /* where there is no room for all, the highest is left out first; 0: never */
        size_t least;  /* not 0: it may be cut to this width before another is left out */
};

struct table;

/* @columns is borrowed. Returns NULL for lack of memory. */
struct table *table_new(const struct table_column *columns, size_t n_columns);
/* Returns NULL; @table may be NULL, here and below. */
struct table *table_free(struct table *table);

/* The next cell, row by row. What there is no memory for is empty. @colour, borrowed, is an escape sequence or NULL. */
void table_add(struct table *table, const char *colour, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Writes the titles and the rows, no wider than @width. */
void table_put(const struct table *table, FILE *file, size_t width);
