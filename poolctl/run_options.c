#include "run_options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "say.h"

static int set_tty(const char *mode) {
        if (strcmp(mode, "auto") == 0 || strcmp(mode, "direct") == 0)
                return 0;
        if (strcmp(mode, "pty") == 0)
                say("--tty=pty is not available in this version; use --tty=auto or --tty=direct");
        else
                say("--tty must be auto or direct, not '%s'", mode);
        return EXIT_OWN_FAILURE;
}

int run_options_parse(char ***args, struct run_options *ret_options) {
        struct run_options *options = ret_options;

        *options = (struct run_options){ 0 };
        for (; **args; ++*args) {
                const char *arg = **args;

                if (strcmp(arg, "--no-fallback") == 0) {
                        options->no_fallback = true;
                } else if (strcmp(arg, "-v") == 0) {
                        options->verbose = true;
                } else if (strncmp(arg, "--pool=", 7) == 0) {
                        options->pool = arg + 7;
                } else if (strcmp(arg, "--pool") == 0) {
                        options->pool = *++*args;
                        if (!options->pool) {
                                say("--pool needs the name of a pool; `poolctl status` lists them");
                                return EXIT_OWN_FAILURE;
                        }
                } else if (strncmp(arg, "--tty=", 6) == 0) {
                        if (set_tty(arg + 6) != 0)
                                return EXIT_OWN_FAILURE;
                } else if (strcmp(arg, "--tty") == 0) {
                        say("--tty needs its value behind '=': --tty=auto or --tty=direct");
                        return EXIT_OWN_FAILURE;
                } else {
                        *args += strcmp(arg, "--") == 0;
                        return 0;
                }
        }
        return 0;
}

const char *run_options_pool(const struct run_options *options) {
        return options->pool ? options->pool : getenv("POOLD_POOL");
}

bool run_options_is_disabled(void) {
        const char *disable = getenv("POOLD_DISABLE");

        return disable && strcmp(disable, "1") == 0;
}
