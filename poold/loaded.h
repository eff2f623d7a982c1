#pragma once

/*
 * What the interpreter has loaded, for poold to watch (footprint.h): its modules, the libraries that are mapped, itself,
 * and which modules it has looked for in vain. Everything here wants the GIL. Written against the limited API.
 */

#include <Python.h>

#include <stdint.h>

#include "footprint.h"

/* From now on notes in @footprint (borrowed) which modules are not found. Returns 0, or -1 with an exception set. */
int loaded_begin(struct footprint *footprint);
/* No longer. */
void loaded_end(void);

/* Adds the files that an import which fails with @error has to do with. No exception is set afterwards. */
void loaded_add_failure(struct footprint *footprint, PyObject *error);

/* Adds all that is loaded now. What cannot be found out is left out. Returns 0 or -ENOMEM. */
int loaded_add_all(struct footprint *footprint);

/*
 * An importer remembers what is in a folder until that has another time. If the folder has changed lately, another
 * change may not give it one: those forget what they know. @since_nsec is when the process began.
 */
void loaded_forget_recent(uint64_t since_nsec);
