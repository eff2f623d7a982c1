#include "expand.h"

#include <errno.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *expand_home(void) {
        const char *home = getenv("HOME");
        const struct passwd *user;

        if (home && home[0] == '/')
                return home;
        user = getpwuid(geteuid());
        return user && user->pw_dir[0] == '/' ? user->pw_dir : NULL;
}

/* What "%@specifier" stands for, or NULL and *ret_problem. */
static const char *expand_specifier(char specifier, const char **ret_problem) {
        const char *expanded;

        switch (specifier) {
        case '%':
                return "%";
        case 'h':
                *ret_problem = "needs a home folder, and there is none";
                return expand_home();
        case 't':
                expanded = getenv("XDG_RUNTIME_DIR");
                if (expanded && expanded[0] == '/')
                        return expanded;
                *ret_problem = expanded && expanded[0] ? "needs $XDG_RUNTIME_DIR, which is not an absolute path"
                                                       : "needs $XDG_RUNTIME_DIR, which is not set";
                return NULL;
        default:
                *ret_problem = "has a % that is not %t, %h or %%";
                return NULL;
        }
}

/* Writes @value, expanded, into @file. Returns whether that was possible. */
static bool expand_into(FILE *file, const char *value, const char **ret_problem) {
        bool home = value[0] == '~' && (value[1] == '/' || value[1] == 0);
        const char *expanded;

        for (const char *at = value; *at; at++) {
                if (*at == '%')
                        expanded = expand_specifier(*++at, ret_problem);
                else if (home && at == value)
                        expanded = expand_specifier('h', ret_problem);
                else {
                        fputc(*at, file);
                        continue;
                }
                if (!expanded)
                        return false;
                fputs(expanded, file);
        }
        return true;
}

int expand_path(const char *value, char **ret_path, const char **ret_problem) {
        char *path = NULL;
        size_t n_bytes;
        FILE *file;
        int r;

        file = open_memstream(&path, &n_bytes);
        if (!file)
                return -ENOMEM;
        r = expand_into(file, value, ret_problem) ? 0 : EXPAND_IMPOSSIBLE;
        if (fclose(file) != 0)
                r = -ENOMEM;
        if (r == 0 && path[0] != '/') {
                *ret_problem = "is not an absolute path";
                r = EXPAND_IMPOSSIBLE;
        }
        if (r == 0)
                *ret_path = path;
        else
                free(path);
        return r;
}
