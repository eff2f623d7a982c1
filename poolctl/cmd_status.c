#include "cmd_status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "say.h"
#include "screen.h"
#include "status.h"
#include "status_view.h"

#define EXIT_USAGE 2
#define WATCH_SEC 2
#define WATCH_SEC_LEAST 0.1
#define WATCH_SEC_MOST 86400

/* To redraw in place: to the upper left corner; the rest of the line, and of the screen; lines that are cut, or go on. */
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"
#define WRAP_OFF "\033[?7l"
#define WRAP_ON "\033[?7h"

struct options {
        const char *pool; /* NULL: all */
        bool json;
        double watch_sec; /* 0: once */
};

/* --- One look --- */

static void view(const struct options *options, const struct status *status, FILE *file) {
        const struct status_view view = {
                .file = file,
                .columns = screen_columns(),
                .has_colours = screen_has_colours(),
        };

        if (options->json)
                status_view_json(file, status);
        else if (options->pool)
                for (size_t i = 0; i < status->n_pools; i++)
                        status_view_pool(&view, &status->pools[i]);
        else
                status_view_overview(&view, status);
}

/* Writes to @file what there is to show. Returns 0; MISS and why; or negative, and the person has been told. */
static int look(const struct options *options, FILE *file, struct miss *ret_miss) {
        _cleanup_status_ struct status status = { 0 };
        int r;

        r = status_ask(&status, ret_miss);
        if (r)
                return r;
        if (options->pool && !status_keep(&status, options->pool))
                return miss_set(ret_miss, "pool", "there is no pool '%s'; `poolctl status` lists them",
                                options->pool);
        view(options, &status, file);
        return 0;
}

static int look_once(const struct options *options) {
        _cleanup_miss_ struct miss miss = { 0 };
        int r = look(options, stdout, &miss);

        if (r == MISS)
                say("%s", miss_text(&miss));
        return r ? 1 : 0;
}

/* --- Again and again --- */

/* In place of what was there before, as much as fits. */
static void redraw(const char *text) {
        size_t n_rows = screen_rows();

        fputs(WRAP_OFF HOME, stdout);
        for (size_t row = 1; *text && row < n_rows; row++) {
                int length = (int)strcspn(text, "\n");

                printf("%.*s" CLEAR_LINE "\n", length, text);
                text += length + (text[length] == '\n');
        }
        fputs(CLEAR_BELOW WRAP_ON, stdout);
}

/* What was looked at, or why it could not be: that poold is gone may be for a moment only. */
static char *take_look(const struct options *options, bool *ret_failed) {
        _cleanup_miss_ struct miss miss = { 0 };
        char *text = NULL;
        size_t n_text = 0;
        FILE *file = open_memstream(&text, &n_text);
        int r;

        if (!file)
                return NULL;
        r = look(options, file, &miss);
        if (r == MISS)
                fprintf(file, "%s\n", miss_text(&miss));
        *ret_failed = r != 0;
        if (fclose(file) == 0)
                return text;
        free(text);
        return NULL;
}

/* On a terminal in its place; else one after the other, and what is no answer on standard error, when it begins. */
static void show(const struct options *options, const char *text, bool failed, bool failed_before) {
        if (!options->json && screen_is_terminal())
                redraw(text);
        else if (!failed)
                printf("%s%s", text, options->json ? "" : "\n");
        else if (!failed_before && *text)
                say("%.*s", (int)strcspn(text, "\n"), text);
}

static int watch(const struct options *options) {
        const struct timespec pause = {
                .tv_sec = (time_t)options->watch_sec,
                .tv_nsec = (long)((options->watch_sec - (double)(time_t)options->watch_sec) * 1e9),
        };
        bool failed = false;

        for (;;) {
                const bool failed_before = failed;
                char *text = take_look(options, &failed);

                if (!text) {
                        say("out of memory");
                        return 1;
                }
                show(options, text, failed, failed_before);
                free(text);
                if (fflush(stdout) != 0)
                        return 1; /* which main() explains */
                nanosleep(&pause, NULL);
        }
}

/* --- Options --- */

/* Returns whether @text is a number of seconds for --watch. */
static bool take_seconds(const char *text, struct options *options) {
        char *end;
        double seconds = strtod(text, &end);

        if (end == text || *end || !(seconds >= WATCH_SEC_LEAST && seconds <= WATCH_SEC_MOST))
                return false;
        options->watch_sec = seconds;
        return true;
}

static int complain(const char *argument) {
        say("'%s' is no option of status; usage: poolctl status [--pool NAME] [--json] [--watch [SECONDS]]",
            argument);
        return EXIT_USAGE;
}

/* Returns 0 or the exit status. */
static int parse(char **argv, struct options *options) {
        while (*++argv) {
                const char *argument = *argv;

                if (strcmp(argument, "--json") == 0) {
                        options->json = true;
                } else if (strncmp(argument, "--pool=", 7) == 0) {
                        options->pool = argument + 7;
                } else if (strcmp(argument, "--pool") == 0 && argv[1]) {
                        options->pool = *++argv;
                } else if (strcmp(argument, "--watch") == 0) {
                        options->watch_sec = WATCH_SEC;
                        if (argv[1] && take_seconds(argv[1], options))
                                argv++;
                } else if (strncmp(argument, "--watch=", 8) == 0) {
                        if (!take_seconds(argument + 8, options)) {
                                say("'%s' is no number of seconds between 0.1 and 86400", argument + 8);
                                return EXIT_USAGE;
                        }
                } else {
                        return complain(argument);
                }
        }
        return 0;
}

int cmd_status(char **argv) {
        struct options options = { 0 };
        int r = parse(argv, &options);

        if (r)
                return r;
        return options.watch_sec > 0 ? watch(&options) : look_once(&options);
}
