#pragma once

/*
 * What a run leaves at its end, when its own modules are gone: the objects that it has hung on the pool's modules, which
 * stay. Objects of before the run are none of it: the collector has been made to forget them.
 */

#include <Python.h>
#include <stdbool.h>

/* Borrows these modules for as long as the process lives. Returns 0, or -1 with an exception set. */
int leftovers_init(PyObject *gc_module, PyObject *sys_module, PyObject *builtins_module);

/* The open files that the collector knows of: a new list, or NULL with an exception set. */
PyObject *leftovers_list_files(void);

/*
 * Frees what the run has given a name in one of @modules, the values of a dict, and calls __del__ of what hangs on other
 * objects there. With @has_threads there may be objects that only a frame holds which nobody will ever free, and whose
 * __del__ is not called; they cannot be told apart from the latter, which is then left out. Sets no exception.
 */
void leftovers_end(PyObject *modules, bool has_threads);
