#pragma once

/*
 * The end of a run: what Py_FinalizeEx() would have done for what the run made, in its order, and nothing for what
 * was there before, which is left to the kernel.
 */

/* What is there now was there before the run. Keeps the collector from ever looking at it. 0, or -1 and exception.
 */
int finish_remember(void);

/* Returns 0, or -1 if standard output or error could not be flushed, which python3 ends with 120 for. */
int finish_run(void);
