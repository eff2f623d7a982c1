#pragma once

/* Text from elsewhere, such as names, command lines and tracebacks, for a terminal that must not obey it. */

#include <stddef.h>
#include <stdio.h>

/* How many columns @text takes, as text_put() writes it. */
size_t text_columns(const char *text);

/*
 * Writes @text, at most @columns wide: what is longer ends in '+'. What could control the terminal, or is no UTF-8, is
 * a '?', as is a line's end. Returns how many columns that took.
 */
size_t text_put(FILE *file, const char *text, size_t columns);

/* Likewise, each of its lines behind @indent and with a line's end. Tabs stay what they are. */
void text_put_lines(FILE *file, const char *text, const char *indent);

/* How many bytes the UTF-8 character at @at has, 0 if there is none: neither overlong forms nor surrogates. */
size_t text_utf8_length(const char *at);
