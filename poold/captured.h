#pragma once

/*
 * What modules of the standard library read once, when they are imported, and what is another for each run. For all
 * other modules the pool's owner answers: see poold.ini(5).
 */

/*
 * Sets it as if these modules were imported now, in the current folder. Nothing is done about modules that have not
 * been imported. Returns 0, or -1 with an exception set.
 */
int captured_renew(void);
