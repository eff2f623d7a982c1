#include "importable.h"

#include <stdbool.h>
#include <string.h>

static bool ends_with_one_of(const char *name, const char *const *suffixes, size_t n) {
        const size_t n_name = strlen(name);

        for (size_t i = 0; i < n; i++) {
                size_t n_suffix = strlen(suffixes[i]);

                if (n_name > n_suffix && strcmp(name + n_name - n_suffix, suffixes[i]) == 0)
                        return true;
        }
        return false;
}

enum importable importable_kind(const char *name, size_t *ret_length) {
        static const char *const modules[] = { ".py", ".pyc", ".so" };
        static const char *const metadata[] = { ".pth", ".dist-info", ".egg-info", ".egg-link", ".egg" };
        size_t length = strcspn(name, ".");

        if (ends_with_one_of(name, metadata, sizeof(metadata) / sizeof(metadata[0])))
                return IMPORTABLE_METADATA;
        /* A name without a suffix may be a folder's, or of a link to one. */
        if (length == 0 ||
            (name[length] && !ends_with_one_of(name, modules, sizeof(modules) / sizeof(modules[0]))))
                return IMPORTABLE_NOT;
        *ret_length = length;
        return IMPORTABLE_MODULE;
}
