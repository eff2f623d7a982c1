#pragma once

struct _object;

/*
 * What CPython does from 3.13 on with the text of -c, so that tracebacks show its lines: linecache is told it, before
 * it runs as @code (run_mod() in Python/pythonrun.c). Returns 0, or -1 with an exception set.
 */
int linecache_register(struct _object *code, const char *command);
