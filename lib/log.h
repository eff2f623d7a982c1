#pragma once

/*
 * One line per event on stderr: `warn: pool=ml worker=12 could not start`. Where stderr is the journal, the level is
 * journald's <N> prefix instead (sd-daemon(3)). Every line is one write(2);
 * control characters in it become '?'.
 */

enum log_level {
        LOG_LEVEL_ERR,
        LOG_LEVEL_WARN,
        LOG_LEVEL_INFO,
        LOG_LEVEL_DEBUG,
};

/* Lines above @level are dropped. Looks at $JOURNAL_STREAM, as systemd.exec(5) says. Until called: info. */
void log_init(enum log_level level);

/* "err", "warn", "info" or "debug". Returns 0 and the level, or -EINVAL. */
int log_level_parse(const char *name, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

/* errno is kept. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lines that are for whoever called us, as they are; only the journal gets @level before each. */
void log_plain(enum log_level level, const char *text);

#define log_err(...) log_write(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
