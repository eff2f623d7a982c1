/* What a new configuration changes. */

#include <string.h>

#include "config.h"
#include "config_keys.h"

static bool same_text(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_list(char *const *a, char *const *b) {
        while (*a && same_text(*a, *b)) {
                a++;
                b++;
        }
        return !*a && !*b;
}

static bool same_interpreter(const struct interpreter *a, const struct interpreter *b) {
        return same_text(a->path, b->path) && same_text(a->real_path, b->real_path) &&
               same_text(a->prefix, b->prefix) && a->is_environment == b->is_environment;
}

/* Is the field of @key in the two structs the same? */
static bool is_same(const struct config_key *key, const void *a_base, const void *b_base) {
        const void *a = (const char *)a_base + key->offset, *b = (const char *)b_base + key->offset;

        switch (key->type) {
        case CONFIG_TYPE_NUMBER:
        case CONFIG_TYPE_SECONDS:
        case CONFIG_TYPE_SIZE:
        case CONFIG_TYPE_CHOICE:
                return *(const uint32_t *)a == *(const uint32_t *)b;
        case CONFIG_TYPE_BYTES:
                return *(const uint64_t *)a == *(const uint64_t *)b;
        case CONFIG_TYPE_LOG_LEVEL:
                return *(const enum log_level *)a == *(const enum log_level *)b;
        case CONFIG_TYPE_PATH:
        case CONFIG_TYPE_ADDRESS:
                return same_text(*(char *const *)a, *(char *const *)b);
        case CONFIG_TYPE_PYTHON:
                return same_interpreter(a, b);
        case CONFIG_TYPE_PATHS:
        case CONFIG_TYPE_MODULES:
        case CONFIG_TYPE_OPTIONS:
        case CONFIG_TYPE_ENV:
        case CONFIG_TYPE_NAMES:
                return same_list(*(char **const *)a, *(char **const *)b);
        }
        return false;
}

bool config_pool_same_workers(const struct config_pool *a, const struct config_pool *b) {
        for (const struct config_key *key = config_keys; key < config_keys + CONFIG_N_KEYS; key++)
                if (key->section == CONFIG_SECTION_POOL && key->change == CONFIG_CHANGE_RENEWS &&
                    !is_same(key, a, b))
                        return false;
        return true;
}

void config_print_restarts(FILE *file, const char *prefix, const struct config *a, const struct config *b) {
        for (const struct config_key *key = config_keys; key < config_keys + CONFIG_N_KEYS; key++) {
                if (key->section != CONFIG_SECTION_POOLD || key->change != CONFIG_CHANGE_RESTARTS ||
                    is_same(key, a, b))
                        continue;
                fprintf(file, "%s%s", prefix, key->name);
                prefix = ", ";
        }
}
