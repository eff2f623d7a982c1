#pragma once

/* A growing array of things of one size. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Zero-initialised is empty. What it holds is its owner's, who ends it with free(items). */
struct list {
        void *items;
        size_t n, n_allocated;
};

/* Room for one more item of @n_bytes, zeroed. NULL: no memory. */
static inline void *list_extend(struct list *list, size_t n_bytes) {
        char *item;

        if (list->n == list->n_allocated) {
                size_t n_allocated = list->n_allocated ? 2 * list->n_allocated : 64;
                void *items = reallocarray(list->items, n_allocated, n_bytes);

                if (!items)
                        return NULL;
                list->items = items;
                list->n_allocated = n_allocated;
        }
        item = (char *)list->items + list->n++ * n_bytes;
        memset(item, 0, n_bytes);
        return item;
}

/* Two strings in one allocation, the first one returned. NULL: no memory. */
static inline char *list_join(const char *first, const char *second, char **ret_second) {
        const size_t n_first = strlen(first) + 1, n_second = strlen(second) + 1;
        char *text = malloc(n_first + n_second);

        if (text) {
                *ret_second = text + n_first;
                memcpy(text, first, n_first);
                memcpy(*ret_second, second, n_second);
        }
        return text;
}
