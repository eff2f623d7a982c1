#include "json.h"

#include <inttypes.h>
#include <string.h>

/*
 * How many bytes the UTF-8 character at @at has, 0 if there is none: neither overlong forms nor surrogates,
 * nothing above U+10FFFF. The NUL that ends the string is no continuation byte, so nothing behind it is looked at.
 */
static size_t utf8_length(const unsigned char *at) {
        unsigned char least = 0x80, most = 0xbf;
        size_t length;

        if (at[0] < 0x80)
                return 1;
        if (at[0] < 0xc2 || at[0] > 0xf4)
                return 0;
        length = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
        if (at[0] == 0xe0)
                least = 0xa0;
        else if (at[0] == 0xed)
                most = 0x9f;
        else if (at[0] == 0xf0)
                least = 0x90;
        else if (at[0] == 0xf4)
                most = 0x8f;
        if (at[1] < least || at[1] > most)
                return 0;
        for (size_t i = 2; i < length; i++)
                if ((at[i] & 0xc0) != 0x80)
                        return 0;
        return length;
}

void json_put_string(FILE *file, const char *string) {
        const unsigned char *at = (const unsigned char *)string;

        putc('"', file);
        while (*at) {
                size_t length = utf8_length(at);

                if (length == 0)
                        fputs("\\ufffd", file);
                else if (*at == '"' || *at == '\\')
                        fprintf(file, "\\%c", *at);
                else if (*at < 0x20 || *at == 0x7f)
                        fprintf(file, "\\u%04x", *at);
                else
                        fwrite(at, 1, length, file);
                at += length ? length : 1;
        }
        putc('"', file);
}

void json_put_seconds(FILE *file, uint64_t usec) {
        fprintf(file, "%" PRIu64 ".%06" PRIu64, usec / 1000000, usec % 1000000);
}
