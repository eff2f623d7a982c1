#include "table.h"

#include <stdarg.h>
#include <stdlib.h>

#include "text.h"

#define COLOUR_OFF "\033[m"

struct cell {
        char *text; /* or NULL */
        const char *colour;
};

struct table {
        const struct table_column *columns;
        size_t n_columns, n_cells, n_allocated;
        struct cell *cells;
};

/* How a table is put: the width of each column, 0 if it is left out, and how many spaces are between them. */
struct layout {
        size_t *widths;
        size_t gap;
};

struct table *table_new(const struct table_column *columns, size_t n_columns) {
        struct table *table = calloc(1, sizeof(*table));

        if (!table)
                return NULL;
        table->columns = columns;
        table->n_columns = n_columns;
        return table;
}

struct table *table_free(struct table *table) {
        if (!table)
                return NULL;
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i].text);
        free(table->cells);
        free(table);
        return NULL;
}

void table_add(struct table *table, const char *colour, const char *format, ...) {
        struct cell *cell;
        va_list arguments;

        if (!table)
                return;
        if (table->n_cells == table->n_allocated) {
                size_t n = table->n_allocated ? 2 * table->n_allocated : 64;
                struct cell *grown = reallocarray(table->cells, n, sizeof(*grown));

                if (!grown)
                        return;
                table->cells = grown;
                table->n_allocated = n;
        }
        cell = &table->cells[table->n_cells++];
        cell->colour = colour;
        va_start(arguments, format);
        if (vasprintf(&cell->text, format, arguments) < 0)
                cell->text = NULL;
        va_end(arguments);
}

static const char *text_of(const struct cell *cell) {
        return cell->text ? cell->text : "";
}

static size_t natural_width(const struct table *table, size_t column) {
        size_t width = text_columns(table->columns[column].title);

        for (size_t i = column; i < table->n_cells; i += table->n_columns) {
                size_t columns = text_columns(text_of(&table->cells[i]));

                width = columns > width ? columns : width;
        }
        return width;
}

static size_t total(const struct table *table, const struct layout *layout) {
        size_t width = 0;

        for (size_t i = 0; i < table->n_columns; i++)
                width += layout->widths[i] ? layout->widths[i] + layout->gap : 0;
        return width ? width - layout->gap : 0;
}

/* Of those that are left the one that matters least, or n_columns. */
static size_t least_important(const struct table *table, const struct layout *layout) {
        size_t found = table->n_columns;
        unsigned rank = 0;

        for (size_t i = 0; i < table->n_columns; i++) {
                if (layout->widths[i] && table->columns[i].rank > rank) {
                        rank = table->columns[i].rank;
                        found = i;
                }
        }
        return found;
}

/* A column that may be cut has its least width in @layout; of what is left of @width it gets what it takes. */
static void stretch(const struct table *table, struct layout *layout, size_t width) {
        for (size_t i = 0; i < table->n_columns; i++) {
                size_t natural = natural_width(table, i), used = total(table, layout);

                if (!layout->widths[i] || natural <= layout->widths[i] || used >= width)
                        continue;
                layout->widths[i] +=
                        natural - layout->widths[i] < width - used ? natural - layout->widths[i] : width - used;
        }
}

/* If not even those fit that are never left out, the first one that may be cut is cut further. */
static void squeeze(const struct table *table, struct layout *layout, size_t width) {
        size_t used = total(table, layout);

        for (size_t i = 0; i < table->n_columns && used > width; i++) {
                if (!table->columns[i].least)
                        continue;
                layout->widths[i] = layout->widths[i] > used - width ? layout->widths[i] - (used - width) : 1;
                return;
        }
}

static void fit(const struct table *table, struct layout *layout, size_t width) {
        size_t least;

        for (size_t i = 0; i < table->n_columns; i++) {
                size_t natural = natural_width(table, i), cut = table->columns[i].least;

                layout->widths[i] = cut && cut < natural ? cut : natural;
        }
        layout->gap = 2;
        if (total(table, layout) > width)
                layout->gap = 1;
        while (total(table, layout) > width && (least = least_important(table, layout)) < table->n_columns)
                layout->widths[least] = 0;
        squeeze(table, layout, width);
        stretch(table, layout, width);
}

static void put_spaces(FILE *file, size_t n) {
        while (n--)
                putc(' ', file);
}

static void put_cell(FILE *file, const struct table_column *column, const struct cell *cell, size_t width,
                     bool is_last) {
        size_t taken = text_columns(text_of(cell));
        size_t rest = taken < width ? width - taken : 0;

        if (column->is_right)
                put_spaces(file, rest);
        if (cell->colour)
                fputs(cell->colour, file);
        text_put(file, text_of(cell), width);
        if (cell->colour)
                fputs(COLOUR_OFF, file);
        if (!column->is_right && !is_last)
                put_spaces(file, rest);
}

static void put_row(const struct table *table, FILE *file, const struct layout *layout, const struct cell *cells) {
        size_t last = table->n_columns - 1;
        bool is_first = true;

        while (last && !layout->widths[last])
                last--;
        for (size_t i = 0; i <= last; i++) {
                struct cell title = { .text = (char *)table->columns[i].title };

                if (!layout->widths[i])
                        continue;
                put_spaces(file, is_first ? 0 : layout->gap);
                put_cell(file, &table->columns[i], cells ? &cells[i] : &title, layout->widths[i], i == last);
                is_first = false;
        }
        putc('\n', file);
}

void table_put(const struct table *table, FILE *file, size_t width) {
        struct layout layout = { 0 };

        if (!table)
                return;
        layout.widths = calloc(table->n_columns, sizeof(*layout.widths));
        if (!layout.widths)
                return;
        fit(table, &layout, width);
        put_row(table, file, &layout, NULL);
        for (size_t i = 0; i + table->n_columns <= table->n_cells; i += table->n_columns)
                put_row(table, file, &layout, &table->cells[i]);
        free(layout.widths);
}
