#pragma once

/* Which CPUs are idle, from /proc/stat. It is read only when somebody asks. */

#include <stdbool.h>
#include <stdint.h>

struct cpus;

/* @stat_path, "/proc/stat" but for tests, is borrowed. Returns NULL for lack of memory. */
struct cpus *cpus_new(const char *stat_path);
/* Returns NULL. @cpus may be NULL. */
struct cpus *cpus_free(struct cpus *cpus);

/* How many CPUs we may run on, when they were last looked at; at least 1. Costs nothing: asked at each turn. */
uint32_t cpus_count(const struct cpus *cpus);

/*
 * Has one of these been idle, or more than one part of the time each? If so it is taken, and counts as busy until the next
 * look. To know takes two looks, some 50 ms to 2 s apart, at what has happened in between: false at the first one. Asking
 * more often is not looking.
 */
bool cpus_take_idle(struct cpus *cpus, uint64_t now_usec);
