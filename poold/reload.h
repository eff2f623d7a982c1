#pragma once

/*
 * Reading the configuration again without keeping anybody waiting: to see what an interpreter is, it has to be run,
 * which on a network file system may take seconds. So a thread does it.
 */

#include "config.h"
#include "loop.h"

struct reload;

struct reload_events {
        /* It is read: @config, to be given back, or NULL and what is wrong, borrowed. */
        void (*loaded)(struct config *config, const char *errors, void *data);
};

/* @path is as config_load() has it. All is borrowed. Returns NULL for lack of memory. */
struct reload *reload_new(struct loop *loop, const char *path, const struct reload_events *events, void *data);
/* A thread that is reading goes on until the process ends, which should be soon. Returns NULL. @reload may be NULL. */
struct reload *reload_free(struct reload *reload);

/* Begins to read; not while it does. Returns 0 or negative errno. */
int reload_start(struct reload *reload);
bool reload_is_reading(const struct reload *reload);
