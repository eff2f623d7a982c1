#pragma once

/*
 * What the run's command line names, made ready before the run is claimed. What python3 would not run without a word is
 * declined, so that it is python3 that says what is wrong. Nothing is read that can be read but once.
 */

#include <Python.h>

#include <stdbool.h>
#include <stdio.h>

#include "decline.h"

/* How python3 treats a file that is its script. */
enum script_form {
        SCRIPT_SOURCE,
        SCRIPT_BYTECODE, /* .pyc */
        SCRIPT_PACKAGE,  /* a folder or an archive: __main__ in it is run, and it is sys.path[0] */
        SCRIPT_STREAM, /* source that is to be read after the claim: a pipe; or what only the file's own parser reads */
};

struct script {
        enum script_form form;
        PyObject *filename; /* as python3 puts it into __file__: absolute */
        PyObject *code;     /* of source and bytecode, else NULL */
        PyObject *importer; /* of a package, else NULL */
        bool is_archive;    /* a package that is a file */
};

void script_fini(struct script *script);

/* The number of the fd that @path names, such as /dev/stdin or /dev/fd/63; -1 if it names none. */
int script_fd_number(const char *path);

/*
 * Makes the file at @path ready; if script_fd_number() says that it names an fd, @fd (borrowed) is that one of the
 * client's, or -1. With @skip_first_line that one is blank. Declines "script", "syntax" or "warnings".
 * Returns 0 and *ret_script, which the caller ends; DECLINED, or -1 with a Python exception set.
 */
int script_prepare(const char *path, int fd, bool skip_first_line, struct script *ret_script,
                   struct decline *decline);

/* The same for the code behind -c. *ret_code is a new reference. */
int script_compile_command(const char *command, PyObject **ret_code, struct decline *decline);

/* Opens SCRIPT_STREAM, at its second line if @skip_first_line. NULL if it cannot be, which is said as python3 does. */
FILE *script_open(const struct script *script, bool skip_first_line);

/*
 * What ComputeSysPath0() of CPython makes of @argv0: the folder of the script that it names, or "". malloc()ed. Of a
 * script that names an fd it is right once that is ours.
 */
char *script_folder(const char *argv0);
