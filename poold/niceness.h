#pragma once

#include <stdbool.h>

/*
 * Can a process of ours that has made itself nicer go back? It takes CAP_SYS_NICE in the machine's own user namespace, or
 * an RLIMIT_NICE that reaches our nice value. Finds out by trying, in a process that is gone when it returns.
 */
bool niceness_can_be_undone(void);
