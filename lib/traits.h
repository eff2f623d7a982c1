#pragma once

/*
 * Where "/" is: the root folder and, by the number of its mount, the mount namespace, since no two of them share one.
 * One system call tells them apart.
 */

#include <stdint.h>

#define ROOT_N_NUMBERS 3 /* device, inode, mount */

/* All of them are 0 if the kernel does not say. */
void root_identify(uint64_t ret_numbers[ROOT_N_NUMBERS]);
