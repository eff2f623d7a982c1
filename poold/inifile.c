/*
 * inih takes lines from read_line() and gives back keys and values; it decides what a value, an inline comment and
 * a continued line are. What it cannot do is done on the way in:
 *  - it cuts section names at 49 bytes and does not tell of empty sections: section lines are read here, and it is
 *    given "[]" in their place, so that it forgets the last key;
 *  - it reports only the first bad line: a line that it was given and made nothing of is noticed before the next;
 *  - some versions leave inline comments in the further lines of a value: they are cut off here;
 *  - it cuts long lines and lines with a NUL byte: these are looked at before it gets them.
 */

#include "inifile.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nobody writes a larger one by hand; it keeps /dev/zero from filling the memory. */
#define MAX_FILE_BYTES ((size_t)256 << 10)

struct reader {
        const struct inifile_handler *handler;
        void *user;
        const char *at;   /* the next line */
        const char *end;  /* of the file */
        unsigned line;    /* the number of the line that inih has */
        bool indented;    /* it starts with white space */
        bool pending;     /* inih has not told yet what it says */
        bool has_key;     /* inih takes an indented line as the next of the last key's value */
        bool dropped;     /* that key has been reported: what follows of its value is passed over */
        char problem[80]; /* what is wrong with its bytes, or "" */
        int error;        /* what a callback returned */
};

static void set_error(struct reader *reader, int r) {
        if (r < 0 && reader->error == 0)
                reader->error = r;
}

static void report(struct reader *reader, const char *key, const char *message) {
        set_error(reader, reader->handler->problem(reader->user, reader->line, key, message));
}

static const char *skip_space(const char *at, const char *end) {
        while (at < end && isspace((unsigned char)*at))
                at++;
        return at;
}

/* The length of the UTF-8 sequence at @at, 0 if it is none. @n_bytes, at least 1, are there. */
static size_t utf8_sequence(const uint8_t *at, size_t n_bytes) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        size_t length = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
        uint32_t code = at[0] & (0x7fU >> length);

        if (length == 1)
                return 1;
        if (at[0] < 0xc2 || at[0] > 0xf4 || n_bytes < length)
                return 0;
        for (size_t i = 1; i < length; i++) {
                if ((at[i] & 0xc0) != 0x80)
                        return 0;
                code = code << 6 | (at[i] & 0x3f);
        }
        return code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? 0 : length;
}

static bool is_utf8(const char *at, const char *end) {
        size_t length;

        for (; at < end; at += length) {
                length = utf8_sequence((const uint8_t *)at, (size_t)(end - at));
                if (length == 0)
                        return false;
        }
        return true;
}

/* Sets what is wrong with the bytes of the line from @at to @end, of which @max_bytes can be given to inih. */
static void check_bytes(struct reader *reader, const char *at, const char *end, size_t max_bytes) {
        const char *problem = "";

        if (memchr(at, 0, (size_t)(end - at)))
                problem = "the line contains a NUL byte";
        else if (!is_utf8(at, end))
                problem = "the line is not valid UTF-8";
        snprintf(reader->problem, sizeof(reader->problem), "%s", problem);
        if ((size_t)(end - at) > max_bytes)
                snprintf(reader->problem, sizeof(reader->problem), "the line is longer than %zu bytes", max_bytes);
}

/* Reads "[section]" at @at, which may be followed by a comment. */
static void read_section(struct reader *reader, const char *at, const char *end) {
        const char *close = memchr(at, ']', (size_t)(end - at));
        const char *rest = close ? skip_space(close + 1, end) : NULL;
        char *name;

        reader->has_key = false;
        check_bytes(reader, at, end, SIZE_MAX);
        if (!reader->problem[0] && (!close || (rest < end && *rest != ';')))
                snprintf(reader->problem, sizeof(reader->problem), "not a [section] line");
        if (reader->problem[0]) {
                set_error(reader, reader->handler->section(reader->user, reader->line, NULL));
                report(reader, NULL, reader->problem);
                return;
        }
        name = strndup(at + 1, (size_t)(close - at - 1));
        set_error(reader, name ? reader->handler->section(reader->user, reader->line, name) : -ENOMEM);
        free(name);
}

/* Where a comment begins between @at and @end: at a semicolon behind white space; else @end. */
static const char *find_comment(const char *at, const char *end) {
        for (bool space = false; at < end; at++) {
                if (space && *at == ';')
                        return at;
                space = isspace((unsigned char)*at);
        }
        return end;
}

static void end_line(struct reader *reader) {
        if (reader->pending)
                report(reader, NULL,
                       reader->problem[0] ? reader->problem : "neither a [section] nor a key = value line");
        reader->pending = false;
}

/* The ini_reader: like fgets(3), but each call gives one whole line, and what inih need not see is given as empty.
 */
static char *read_line(char *buffer, int size, void *stream) {
        struct reader *reader = stream;
        const char *line = reader->at, *end, *text;
        size_t max_bytes = (size_t)size - 2, n_bytes;

        assert(size > 3);
        end_line(reader);
        if (reader->error || line == reader->end)
                return NULL;
        end = memchr(line, '\n', (size_t)(reader->end - line));
        reader->at = end ? end + 1 : reader->end;
        end = end ? end : reader->end;
        reader->line++;

        text = skip_space(line, end);
        reader->indented = text > line;
        if (text == end || *text == '#' || *text == ';')
                return memcpy(buffer, "\n", 2);
        if (*text == '[' && !(reader->indented && reader->has_key)) {
                read_section(reader, text, end);
                return memcpy(buffer, "[]\n", 4);
        }
        if (reader->indented && reader->has_key)
                end = find_comment(text, end);
        check_bytes(reader, line, end, max_bytes);
        n_bytes = (size_t)(end - line) < max_bytes ? (size_t)(end - line) : max_bytes;
        memcpy(buffer, line, n_bytes);
        memcpy(buffer + n_bytes, "\n", 2);
        reader->pending = true;
        return buffer;
}

/* The ini_handler. Its section is the one of read_line()'s making. */
static int take_value(void *user, const char *section, const char *name, const char *value) {
        struct reader *reader = user;
        bool continues = reader->indented && reader->has_key;

        (void)section;
        if (!continues)
                reader->has_key = name && name[0];
        if (reader->error || !reader->has_key || !value)
                return 1;
        reader->pending = false;
        if (continues && reader->dropped)
                return 1;
        reader->dropped = !continues && reader->problem[0];
        if (reader->problem[0])
                report(reader, name, reader->problem);
        else
                set_error(reader,
                          reader->handler->value(reader->user, reader->line, continues ? NULL : name, value));
        return 1;
}

/* Reads the file into new memory. Returns 0, negative errno, or -EFBIG. */
static int read_file(const char *path, char **ret_text, size_t *ret_n_bytes) {
        FILE *file = fopen(path, "re");
        char *text;
        int r = 0;

        if (!file)
                return -errno;
        text = malloc(MAX_FILE_BYTES + 1);
        if (text) {
                *ret_n_bytes = fread(text, 1, MAX_FILE_BYTES + 1, file);
                if (ferror(file))
                        r = -errno;
                else if (*ret_n_bytes > MAX_FILE_BYTES)
                        r = -EFBIG;
        } else
                r = -ENOMEM;
        fclose(file);
        if (r < 0)
                free(text);
        else
                *ret_text = text;
        return r;
}

static int report_unreadable(const struct inifile_handler *handler, void *user, int r) {
        char message[128];

        snprintf(message, sizeof(message), "cannot be read: %s", strerror(-r));
        return handler->problem(user, 0, NULL, message);
}

int inifile_read(const char *path, const struct inifile_handler *handler, void *user) {
        struct reader reader = { .handler = handler, .user = user };
        char *text = NULL;
        size_t n_bytes = 0;
        int r;

        r = read_file(path, &text, &n_bytes);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return report_unreadable(handler, user, r);

        reader.at = text;
        reader.end = text + n_bytes;
        if (n_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
                reader.at += 3;
#ifdef HAVE_INI_MAX_LINE
        /* Debian's inih takes 200 bytes a line as upstream's does, but lets itself be told. */
        ini_max_line = 4096;
#endif
        r = ini_parse_stream(read_line, &reader, take_value, &reader);
        end_line(&reader);
        free(text);
        return r == -2 ? -ENOMEM : reader.error;
}
