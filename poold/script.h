#pragma once

/*
 * A script's or a command's source, made ready before the run is claimed. What python3 would treat as anything
 * else than source that compiles without a word is declined, so that it is python3 that says what is wrong.
 */

#include <Python.h>

#include <stdbool.h>

#include "decline.h"

/*
 * Compiles the file at @path, its first line blank if @skip_first_line, declining "script", "syntax" or "warnings". *ret_code and *ret_filename (as python3
 * puts it into __file__: absolute) are new references.
 * Returns 0, DECLINED, or -1 with a Python exception set.
 */
int script_compile_file(const char *path, bool skip_first_line, PyObject **ret_code, PyObject **ret_filename,
                        struct decline *decline);

/* The same for the code behind -c. */
int script_compile_command(const char *command, PyObject **ret_code, struct decline *decline);

/* Reads all of standard input and compiles it: what is wrong with it is an exception. New reference, or NULL. */
PyObject *script_compile_stdin(void);

/* What ComputeSysPath0() of CPython makes of @argv0: the folder of the script that it names, or "". malloc()ed. */
char *script_folder(const char *argv0);
