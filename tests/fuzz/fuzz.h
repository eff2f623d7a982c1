#pragma once

/*
 * A fuzz target is one function that is given bytes and must survive them. clang's -fsanitize=fuzzer finds the bytes
 * (build option fuzz); without it driver.c gives it the seeds, so that they run as ordinary tests.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Not assert(3): it must hold in every build. */
#define FUZZ_CHECK(condition)                                                                                     \
        do {                                                                                                      \
                if (!(condition))                                                                                 \
                        abort();                                                                                  \
        } while (0)
