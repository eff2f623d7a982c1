#pragma once

/*
 * Whether memory is tight: tasks have had to wait for it, says the kernel's pressure stall information (PSI). It says so
 * by itself, through an fd, so that nobody needs to look. That takes Linux 6.5, or CAP_SYS_RESOURCE. Before that somebody
 * has to look, at the averages of PSI, or at MemAvailable where there is no PSI.
 *
 * When memory is not tight any more it counts as scarce for a while, the longer the sooner it gets tight again, so that
 * workers are not given back and started in turn.
 */

#include <stdint.h>

struct pressure;

struct pressure_paths {
        const char *psi;     /* "/proc/pressure/memory" */
        const char *meminfo; /* "/proc/meminfo" */
};

/* @paths is copied, what it points to is borrowed. Returns NULL for lack of memory. */
struct pressure *pressure_new(const struct pressure_paths *paths);
/* Returns NULL. @pressure may be NULL. */
struct pressure *pressure_free(struct pressure *pressure);

/* Whoever waits for it to be readable calls pressure_notice() then; -1: the kernel does not tell. It stays @pressure's. */
int pressure_fd(const struct pressure *pressure);
/* Afterwards the fd may be another one, -1. */
void pressure_notice(struct pressure *pressure, uint64_t now_usec);

/* Looks if the kernel does not tell and the last look is not of just now. For whoever is awake anyway. */
void pressure_look(struct pressure *pressure, uint64_t now_usec);
/* When that is to be called at the latest by those who have something to give back; UINT64_MAX: the kernel tells. */
uint64_t pressure_next_look_usec(const struct pressure *pressure);

/* Until when memory counts as tight, and as scarce; a time that has passed: it does not. */
uint64_t pressure_tight_until_usec(const struct pressure *pressure);
uint64_t pressure_scarce_until_usec(const struct pressure *pressure);
