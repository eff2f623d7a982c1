#pragma once

/*
 * What systemd is told while poold serves: a line on its workers for `systemctl status`, and that the loop still turns
 * (WatchdogSec=). Without systemd all of it does nothing, and nothing wakes up for it.
 */

#include "loop.h"
#include "pools.h"
#include "systemd.h"

struct tell;

/* All is borrowed. Returns NULL for lack of memory. */
struct tell *tell_new(struct loop *loop, const struct systemd *systemd, const struct pools *pools);
/* @tell may be NULL. Returns NULL. */
struct tell *tell_free(struct tell *tell);

/* The workers may have changed. Costs next to nothing: what is to be said is, once a second at most. */
void tell_changed(struct tell *tell);

/* From now on poold waits for the runs that there are. */
void tell_stopping(struct tell *tell);
