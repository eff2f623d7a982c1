#pragma once

/*
 * python3 looks for a module in the script's folder first. Where that folder has a module of the same name as one
 * that is loaded here already, python3 would have imported another one, and the run is not ours to serve.
 */

#include <Python.h>

#include "decline.h"

/* Remembers the modules that the preload has brought: those not in @before, a dict. 0, or -1 with an exception
 * set. */
int shadow_remember(PyObject *before);

/* Declines ("shadow") if @folder ("" is the current one) has a module of such a name. 0, DECLINED, or -1 and
 * exception. */
int shadow_check(const char *folder, struct decline *decline);

/* The same for an archive, of which @importer (borrowed) is its importer. */
int shadow_check_archive(PyObject *importer, struct decline *decline);

/* The same for a folder of PYTHONPATH, which python3 has from its start: of all modules that are loaded. */
int shadow_check_all(const char *folder, struct decline *decline);
