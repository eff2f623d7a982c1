#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
        const char *name;
        const char *journal; /* the priority of syslog(3) */
} levels[] = {
        [LOG_LEVEL_ERR] = { "err", "<3>" },
        [LOG_LEVEL_WARN] = { "warn", "<4>" },
        [LOG_LEVEL_INFO] = { "info", "<6>" },
        [LOG_LEVEL_DEBUG] = { "debug", "<7>" },
};

static enum log_level max_level = LOG_LEVEL_INFO;
static bool to_journal;

void log_init(enum log_level level) {
        const char *journal_stream = getenv("JOURNAL_STREAM");
        char stderr_stream[64];
        struct stat st;

        max_level = level;
        to_journal = false;
        if (!journal_stream || fstat(STDERR_FILENO, &st) < 0)
                return;
        snprintf(stderr_stream, sizeof(stderr_stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        to_journal = strcmp(journal_stream, stderr_stream) == 0;
}

int log_level_parse(const char *name, enum log_level *ret_level) {
        for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
                if (strcmp(name, levels[i].name) == 0) {
                        *ret_level = (enum log_level)i;
                        return 0;
                }
        return -EINVAL;
}

const char *log_level_name(enum log_level level) {
        return levels[level].name;
}

/* Nobody may wait for us because somebody does not read what we write, as behind `poold 2>&1 | less`. */
static bool has_room(void) {
        struct pollfd pollfd = { .fd = STDERR_FILENO, .events = POLLOUT };

        return poll(&pollfd, 1, 0) != 0;
}

void log_write(enum log_level level, const char *format, ...) {
        static unsigned n_lost;
        char line[4096];
        int saved = errno, n_prefix, n_text;
        size_t n_bytes;
        va_list arguments;

        if (level > max_level)
                return;
        if (!has_room()) {
                n_lost++;
                errno = saved;
                return;
        }
        if (n_lost) {
                unsigned n = n_lost;

                n_lost = 0; /* before it comes to this again */
                log_write(LOG_LEVEL_WARN, "%u lines are missing here: nobody had read what was written before", n);
        }
        n_prefix = to_journal ? snprintf(line, sizeof(line), "%s", levels[level].journal)
                              : snprintf(line, sizeof(line), "%s: ", levels[level].name);
        va_start(arguments, format);
        n_text = vsnprintf(line + n_prefix, sizeof(line) - (size_t)n_prefix - 1, format, arguments);
        va_end(arguments);

        n_bytes = (size_t)n_prefix + (n_text < 0 ? 0 : (size_t)n_text);
        if (n_bytes > sizeof(line) - 2) {
                n_bytes = sizeof(line) - 2;
                memcpy(line + n_bytes - 3, "...", 3);
        }
        for (size_t i = 0; i < n_bytes; i++)
                if ((unsigned char)line[i] < ' ' && line[i] != '\t')
                        line[i] = '?'; /* much of it comes from elsewhere: no new lines, nothing for a terminal */
        line[n_bytes++] = '\n';
        while (write(STDERR_FILENO, line, n_bytes) < 0 && errno == EINTR)
                ;
        errno = saved;
}

void log_plain(enum log_level level, const char *text) {
        while (*text) {
                int length = (int)strcspn(text, "\n");

                dprintf(STDERR_FILENO, "%s%.*s\n", to_journal ? levels[level].journal : "", length, text);
                text += length + (text[length] == '\n');
        }
}
