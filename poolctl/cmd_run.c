#include "cmd_run.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connect.h"
#include "context.h"
#include "fallback.h"
#include "process.h"
#include "relay.h"
#include "say.h"

#define EXIT_OWN_FAILURE 125 /* that of poolctl and not of the script, as with docker run */

struct run_options {
        const char *pool; /* NULL: not given */
        bool no_fallback;
        bool verbose;
        enum proxy_mode tty;
};

/* poold or a worker has the run to the end. Results as of relay_run(). */
static int run_warm(struct context *context, const struct run_options *options, char **args, int *ret_wait_status,
                    uint64_t *ret_signals, struct miss *ret_miss) {
        struct relay_request request = { .pool = options->pool, .verbose = options->verbose };
        struct channel *channel = NULL;
        char *argv_copy = NULL, *env_copy = NULL;
        int r;

        if (!request.pool)
                request.pool = getenv("POOLD_POOL");
        r = connect_poold(&channel, ret_miss);
        if (r == 0 && (wire_strv_from_array(args, &request.argv, &argv_copy) < 0 ||
                       wire_strv_from_array(environ, &request.env, &env_copy) < 0))
                r = miss_set(ret_miss, "memory", "out of memory");
        if (r == 0)
                r = proxy_new(options->tty, context, &request.proxy, ret_miss);
        if (r == 0)
                r = relay_run(context, channel, &request, ret_wait_status, ret_signals, ret_miss);
        proxy_free(request.proxy);
        free(argv_copy);
        free(env_copy);
        channel_free(channel);
        return r;
}

static int fall_back(const struct run_options *options, const struct miss *miss, char **args) {
        if (!options->no_fallback)
                return fallback_exec(miss, args, options->verbose);
        say("not run, as --no-fallback asks: %s (%s)", miss_text(miss), miss->reason ? miss->reason : "");
        return EXIT_OWN_FAILURE;
}

static bool is_disabled(void) {
        const char *disable = getenv("POOLD_DISABLE");

        return disable && strcmp(disable, "1") == 0;
}

static int run(const struct run_options *options, char **args) {
        _cleanup_miss_ struct miss miss = { 0 };
        _cleanup_context_ struct context context;
        uint64_t signals = 0;
        int wait_status, r;

        context.cwd_fd = -1;
        if (is_disabled()) {
                miss_set(&miss, "disabled", "POOLD_DISABLE=1 is set");
                return fall_back(options, &miss, args);
        }
        r = context_collect(&context, &miss);
        if (r == 0)
                r = run_warm(&context, options, args, &wait_status, &signals, &miss);
        if (r == 0)
                return process_end_like(wait_status);
        context_restore_signals(&context, signals);
        if (r == MISS)
                return fall_back(options, &miss, args);
        say("the script was started, but how it ended cannot be known, since poold ended before it did; "
            "poold's log may say why");
        return EXIT_OWN_FAILURE;
}

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

/*
 * Takes our own options off the front of *args. The first argument that is not one is python's, and so are all
 * behind it. Returns 0 or the exit status.
 */
static int parse_options(char ***args, struct run_options *options) {
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

int cmd_run(char **argv) {
        struct run_options options = { 0 };
        char **args = argv + 1;
        int r = parse_options(&args, &options);

        return r ? r : run(&options, args);
}

int cmd_run_python(char **argv) {
        return run(&(struct run_options){ 0 }, argv + 1);
}
