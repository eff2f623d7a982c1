#pragma once

/*
 * The interactive interpreter: what python3 does before, with and after a program because standard input is a terminal,
 * because of -i, or of PYTHONINSPECT. It follows Modules/main.c of CPython; the loop is CPython's own, or from 3.13 on
 * the library's _pyrepl.
 */

#include <stdbool.h>

#include "decline.h"
#include "execute.h"

/* What of it the command line says, and sys.flags of what the environment does. */
struct prompt {
        bool has_program; /* a script, -c or -m */
        bool is_forced;   /* -i */
        bool is_quiet;
        bool inspects; /* after a program; -i, or PYTHONINSPECT at the start */
        bool has_site;
        bool is_isolated;
        bool ignores_environment;
};

/*
 * Would python3 prompt with what the fd @input is? Then declines ("interactive") if the pool's modules have set up line
 * editing before there was a terminal, or the interpreter was started to inspect. Returns 0 or DECLINED.
 */
int prompt_check(const struct prompt *prompt, int input, struct decline *decline);

/* Line editing, for which the script's folder is not looked at; to come before it is in sys.path. */
void prompt_import_readline(const struct prompt *prompt);
/* The version, if there is no program. */
void prompt_greet(const struct prompt *prompt);

/* Is standard input, as it is now, one to prompt for? */
bool prompt_is_interactive(const struct prompt *prompt);

/* Prompts in the place of a program. */
void prompt_run(const struct prompt *prompt, struct execution *execution);
/* Prompts after one, if that is wanted: a program can still say so in its environment. */
void prompt_inspect(const struct prompt *prompt, struct execution *execution);
