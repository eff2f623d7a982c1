#pragma once

/*
 * The end of a run is Py_FinalizeEx() itself, but for two things: the modules of the pool are hidden from it, and it
 * is left when nothing of the run is there any more. What was there before the run is left to the kernel.
 *
 * To get at the right moments, places that Python clears at its end hold a capsule whose destructor is ours:
 *
 *     atexit                                    the first function registered, and so the last called; and one behind
 *                                               those of the pool's modules, which no trace function of the script sees
 *     sys.stdout and .stderr                    flushed through us, for the status
 *     sys.__interactivehook__                   just before all modules are removed: we do that, and hold the pool's
 *     a module that was imported last           just before modules that are still held are cleared, one by one
 *     builtins                                  the last name there: the run's objects are gone
 *
 * If a script or another version of Python should get around one of these, all of Py_FinalizeEx() takes place, which is
 * slow, but as right.
 */

/* To be called before a module registers anything with atexit. Returns 0, or -1 and exception. */
int finish_watch(void);

/* What is there now was there before the run. Keeps the collector from ever looking at it. 0, or -1 and exception. */
int finish_remember(void);

/*
 * There is no Python any more afterwards. Returns 0, or -1 if standard output or error could not be flushed, which
 * python3 ends with 120 for.
 */
int finish_run(void);
