#pragma once

/*
 * Python's options and variables that can be applied to an interpreter that runs already, so that nothing tells it from
 * one that was started with them: sys.flags, sys.warnoptions and the filters, sys._xoptions, PYTHONPATH and so on. What
 * they change in sys.stdin and its like is returned for streams_adopt(). All of this wants the GIL.
 */

#include "decline.h"
#include "lib/pyargs.h"
#include "lib/wire.h"
#include "streams.h"

/* Before the modules are imported: watches for warnings of theirs. Returns 0, or -1 with an exception set. */
int options_watch(void);
/* After it. The same. */
int options_unwatch(void);

/*
 * Applies what @argv (@argc arguments, parsed as @args) and @env ask for. Nothing of it is seen outside the process, so
 * the run may still be given back afterwards. @ret_streams borrows from @env.
 * Returns 0; DECLINED ("options", "warnings", "shadow"); or -1 with an exception set.
 */
int options_adopt(const struct pyargs *args, char *const *argv, int argc, const struct wire_strv *env,
                  struct stream_settings *ret_streams, struct decline *why);
