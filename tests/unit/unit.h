#pragma once

/* What every unit test starts with: cmocka, and the check that a test leaves no file descriptor behind. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* How many fds this process has open. */
size_t unit_count_fds(void);

/* Is @fd, borrowed, open? */
int unit_fd_is_open(int fd);

/* Are both fds the same open file, socket or pipe? */
int unit_same_file(int a, int b);

/* A new file in memory, a file unlike any other; the caller owns the fd. */
int unit_new_file(void);

/* Lets the process open no fd numbered @limit or above, and undoes it; returns the limit there was. */
unsigned long unit_limit_fds(unsigned long limit);

/* A pair of connected stream sockets, close-on-exec, of which the second does not block. Both are the caller's. */
void unit_socketpair(int ret_fds[2]);

int unit_setup(void **state);
int unit_teardown(void **state);

/* A test after which as many fds are open as before it. */
#define UNIT_TEST(test) cmocka_unit_test_setup_teardown(test, unit_setup, unit_teardown)
