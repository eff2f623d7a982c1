#pragma once

/*
 * An ini file, read through inih, as events with line numbers. It closes the traps that inih leaves open:
 * everything that inih would cut off, skip or keep to itself is reported, and reading goes on, so that all
 * problems are seen.
 */

/*
 * What to call for each line that says something. A negative errno that a callback returns ends the reading.
 * Strings are borrowed and valid only during the call.
 */
struct inifile_handler {
        /* "[@name]". @name is NULL where the line is no proper section line; a problem() for it follows. */
        int (*section)(void *user, unsigned line, const char *name);
        /* "@key = @value", or the next line of the value of the last key: @key is then NULL. */
        int (*value)(void *user, unsigned line, const char *key, const char *value);
        /* @message says what is wrong with a line, or with the file if @line is 0. @key may be NULL: not known. */
        int (*problem)(void *user, unsigned line, const char *key, const char *message);
};

/*
 * Reads the file at @path. Returns 0, also after problems (a file that cannot be read is one), -ENOMEM, or what a
 * callback returned.
 */
int inifile_read(const char *path, const struct inifile_handler *handler, void *user);
