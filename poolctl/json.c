#include "json.h"

#include <inttypes.h>

#include "text.h"

void json_put_string(FILE *file, const char *string) {
        putc('"', file);
        for (const char *at = string; *at;) {
                size_t length = text_utf8_length(at);
                unsigned char byte = (unsigned char)*at;

                if (length == 0)
                        fputs("\\ufffd", file);
                else if (*at == '"' || *at == '\\')
                        fprintf(file, "\\%c", *at);
                else if (byte < 0x20 || byte == 0x7f)
                        fprintf(file, "\\u%04x", byte);
                else
                        fwrite(at, 1, length, file);
                at += length ? length : 1;
        }
        putc('"', file);
}

void json_put_seconds(FILE *file, uint64_t usec) {
        fprintf(file, "%" PRIu64 ".%06" PRIu64, usec / 1000000, usec % 1000000);
}
