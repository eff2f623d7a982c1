#include "run_options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "say.h"

static int set_tty(const char *name, enum proxy_mode *ret_mode) {
        static const char *const names[] = {
                [PROXY_AUTO] = "auto",
                [PROXY_DIRECT] = "direct",
                [PROXY_ALWAYS] = "pty",
        };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(name, names[i]) == 0) {
                        *ret_mode = (enum proxy_mode)i;
                        return 0;
                }
        say("--tty must be auto, direct or pty, not '%s'", name);
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
                        if (set_tty(arg + 6, &options->tty) != 0)
                                return EXIT_OWN_FAILURE;
                } else if (strcmp(arg, "--tty") == 0) {
                        say("--tty needs its value behind '=': --tty=auto, --tty=direct or --tty=pty");
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
