#pragma once

/* The table of the keys of poold.ini, from which their parsing, the defaults and the sample file are made. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_ENV_PREFIX "env."

enum config_section {
        CONFIG_SECTION_NONE,    /* before the first one */
        CONFIG_SECTION_IGNORED, /* its name is wrong, which has been reported */
        CONFIG_SECTION_POOLD,
        CONFIG_SECTION_POOL,
};

enum config_type {
        CONFIG_TYPE_NUMBER,
        CONFIG_TYPE_SECONDS,
        CONFIG_TYPE_SIZE,
        CONFIG_TYPE_BYTES,
        CONFIG_TYPE_CHOICE,
        CONFIG_TYPE_LOG_LEVEL,
        CONFIG_TYPE_PATH,
        CONFIG_TYPE_PYTHON,
        CONFIG_TYPE_PATHS,
        CONFIG_TYPE_MODULES,
        CONFIG_TYPE_OPTIONS,
        CONFIG_TYPE_ENV,
        CONFIG_TYPE_NAMES,
        CONFIG_TYPE_ADDRESS,
};

/* What a change of a key does at a reload. */
enum config_change {
        CONFIG_CHANGE_APPLIES,  /* it counts from then on */
        CONFIG_CHANGE_RENEWS,   /* the pool's workers are replaced */
        CONFIG_CHANGE_RESTARTS, /* it needs a new start of poold */
};

struct config_key {
        enum config_section section;
        enum config_type type;
        const char *name;
        size_t offset;              /* of its field in struct config or struct config_pool */
        const char *fallback;       /* its default, as it would stand in the file */
        uint32_t min, max;          /* of a number; of a path's length in bytes */
        const char *const *choices; /* of a choice, whose value is its index; NULL-terminated */
        enum config_change change;
        const char *help; /* for a person, its lines broken */
};

/* In the order of the sample file, where the keys of a section stand together. */
#define CONFIG_N_KEYS 24
extern const struct config_key config_keys[CONFIG_N_KEYS];

/* The key called @name in @section, or NULL. */
const struct config_key *config_key_find(enum config_section section, const char *name);

/* The key of @section whose name is nearly @name, or NULL. */
const struct config_key *config_key_nearest(enum config_section section, const char *name);

/* Writes what a value of @key may be: "a whole number between 0 and 3". */
void config_key_describe(FILE *file, const struct config_key *key);
