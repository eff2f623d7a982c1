#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Nothing above U+10FFFF. The NUL that ends a string is no continuation byte, so nothing behind it is looked at. */
size_t text_utf8_length(const char *text) {
        const unsigned char *at = (const unsigned char *)text;
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

static uint32_t code_point(const char *at, size_t length) {
        uint32_t point = (unsigned char)at[0] & (length == 1 ? 0x7f : 0x7f >> length);

        for (size_t i = 1; i < length; i++)
                point = point << 6 | ((unsigned char)at[i] & 0x3f);
        return point;
}

/* Those that terminals show two columns wide, roughly: no locale is needed for that, which a static program lacks. */
static bool is_wide(uint32_t point) {
        static const uint32_t ranges[][2] = {
                { 0x1100, 0x115f }, { 0x2e80, 0xa4cf }, { 0xac00, 0xd7a3 },   { 0xf900, 0xfaff },
                { 0xfe30, 0xfe6f }, { 0xff00, 0xff60 }, { 0x1f300, 0x1faff }, { 0x20000, 0x3fffd },
        };

        for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
                if (point >= ranges[i][0] && point <= ranges[i][1])
                        return true;
        return false;
}

/* What is to be shown of the character at the beginning of a text. */
struct glyph {
        size_t n_bytes, columns;
        bool is_shown; /* as it is; else as '?' */
};

static struct glyph look_at(const char *at) {
        size_t length = text_utf8_length(at);
        uint32_t point = length ? code_point(at, length) : 0;

        /* Those that write from right to left turn round what follows them. */
        if (point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0x200b && point <= 0x200f) ||
            (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069))
                return (struct glyph){ length ? length : 1, 1, false };
        return (struct glyph){ length, is_wide(point) ? 2 : 1, true };
}

static void put_glyph(FILE *file, const char *at, const struct glyph *glyph) {
        if (glyph->is_shown)
                fwrite(at, 1, glyph->n_bytes, file);
        else
                putc('?', file);
}

size_t text_columns(const char *text) {
        size_t columns = 0;

        while (*text) {
                struct glyph glyph = look_at(text);

                columns += glyph.columns;
                text += glyph.n_bytes;
        }
        return columns;
}

size_t text_put(FILE *file, const char *text, size_t columns) {
        const bool is_whole = text_columns(text) <= columns;
        size_t column = 0;

        while (*text) {
                struct glyph glyph = look_at(text);

                if (!is_whole && column + glyph.columns + 1 > columns)
                        break;
                put_glyph(file, text, &glyph);
                column += glyph.columns;
                text += glyph.n_bytes;
        }
        if (*text && column < columns) {
                putc('+', file);
                column++;
        }
        return column;
}

void text_put_lines(FILE *file, const char *text, const char *indent) {
        while (*text) {
                fputs(indent, file);
                for (; *text && *text != '\n';) {
                        struct glyph glyph = look_at(text);

                        if (*text == '\t')
                                putc('\t', file);
                        else
                                put_glyph(file, text, &glyph);
                        text += glyph.n_bytes;
                }
                putc('\n', file);
                text += *text == '\n';
        }
}
