#pragma once

/*
 * What modules of the standard library, and matplotlib, read once, when they are imported, and what is another for each
 * run. For all other modules the pool's owner answers: see poold.ini(5).
 */

#include "decline.h"

/* Before the claim, in the run's current folder. Returns 0 or DECLINED: matplotlib has not read the file that is there. */
int captured_check(struct decline *why);

/*
 * Sets it as if these modules were imported now, in the current folder. Nothing is done about modules that have not
 * been imported. Returns 0, or -1 with an exception set.
 */
int captured_renew(void);
