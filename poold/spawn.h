#pragma once

#include <sys/types.h>

/*
 * Starts @program with posix_spawn(3) in a session of its own, signals at their defaults and none blocked, its standard
 * input /dev/null, its standard output and error our standard error, @control (borrowed) as its fd
 * KEEPER_FD_CONTROL, @group (borrowed), unless that is negative, as KEEPER_FD_GROUP, and nothing else of ours. @argv and @envp are NULL-terminated.
 * Returns 0, the process and its pidfd, which the caller owns, or negative errno.
 */
int spawn(const char *program, char *const argv[], char *const envp[], int control, int group, pid_t *ret_pid,
          int *ret_pidfd);
