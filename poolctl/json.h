#pragma once

/* The two values of JSON (RFC 8259) that printf(3) does not write by itself. */

#include <stdint.h>
#include <stdio.h>

/* In quotes. What is no UTF-8 becomes U+FFFD, since JSON must be UTF-8 and names and errors need not be. */
void json_put_string(FILE *file, const char *string);

/* Microseconds, as seconds with a fraction. */
void json_put_seconds(FILE *file, uint64_t usec);
