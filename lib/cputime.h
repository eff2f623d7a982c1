#pragma once

#include <stdint.h>
#include <sys/types.h>

/* The CPU time that a process has used so far, all its threads together; 0 if there is none of that pid. */
uint64_t cputime_usec(pid_t pid);
