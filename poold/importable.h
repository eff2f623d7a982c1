#pragma once

/* What Python's import system may make of an entry of a folder, by its name alone. No Python in it. */

#include <stddef.h>

enum importable {
        IMPORTABLE_NOT,
        IMPORTABLE_MODULE,   /* a module or a package: of the name up to the first dot */
        IMPORTABLE_METADATA, /* what installed packages are described with, or added to sys.path: .pth, .dist-info */
};

/* *ret_length is that of a module's name. */
enum importable importable_kind(const char *name, size_t *ret_length);
