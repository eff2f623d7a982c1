#pragma once

/*
 * The signals that are blocked, as the kernel has them: bit 0 is signal 1. C libraries leave those out that they use
 * themselves, each others.
 */

#include <stdint.h>

#define SIGNAL_MASK_ALL UINT64_MAX

/* Of the calling thread. Returns those that were blocked before. rt_sigprocmask(2). */
uint64_t signal_mask_set(uint64_t mask);
