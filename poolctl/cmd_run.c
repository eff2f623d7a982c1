#include "cmd_run.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connect.h"
#include "context.h"
#include "fallback.h"
#include "lib/end.h"
#include "lib/stages.h"
#include "relay.h"
#include "run_options.h"
#include "say.h"

#define MAX_TRIES 3 /* if workers end before the start, as by somebody's kill; then python3 has it */

/* poold or a worker has the run to the end, if none of them is lost before. Results as of relay_run(). */
static int try_warm(struct context *context, const struct run_options *options, struct relay_request *request,
                    int *ret_wait_status, uint64_t *signals, struct miss *ret_miss) {
        static struct channel *channel; /* for as long as we are */
        int r;

        channel = NULL;
        r = connect_poold(&channel, ret_miss);
        if (r == 0)
                stages_note("connected");
        if (r == 0)
                r = proxy_new(options->tty, context, &request->proxy, ret_miss);
        if (r == 0)
                r = relay_run(context, channel, request, ret_wait_status, signals, ret_miss);
        request->proxy = proxy_free(request->proxy);
        if (r != 0) /* else it goes with us, which is faster */
                channel = channel_free(channel);
        return r;
}

/* The same, a run that was lost before its start being given to another worker. Returns 0, MISS or negative errno. */
static int run_warm(struct context *context, const struct run_options *options, char **args, int *ret_wait_status,
                    uint64_t *signals, struct miss *ret_miss) {
        struct relay_request request = { .pool = run_options_pool(options), .verbose = options->verbose };
        char *argv_copy = NULL, *env_copy = NULL;
        int r = RELAY_LOST;

        if (wire_strv_from_array(args, &request.argv, &argv_copy) < 0 ||
            wire_strv_from_array(environ, &request.env, &env_copy) < 0)
                r = miss_set(ret_miss, "memory", "out of memory");
        for (int n_tries = 0; r == RELAY_LOST && n_tries < MAX_TRIES; n_tries++) {
                miss_fini(ret_miss);
                r = try_warm(context, options, &request, ret_wait_status, signals, ret_miss);
        }
        free(argv_copy);
        free(env_copy);
        return r == RELAY_LOST ? MISS : r;
}

static int fall_back(const struct run_options *options, const struct miss *miss, char **args) {
        stages_end();
        if (!options->no_fallback && !miss->is_final)
                return fallback_exec(miss, args, options->verbose);
        say("not run, as %s asks: %s (%s)", options->no_fallback ? "--no-fallback" : "the pool's on_empty = fail",
            miss_text(miss), miss->reason ? miss->reason : "");
        return EXIT_OWN_FAILURE;
}

static int run(const struct run_options *options, char **args) {
        _cleanup_miss_ struct miss miss = { 0 };
        _cleanup_context_ struct context context;
        uint64_t signals = 0;
        int wait_status = 0, r;

        context.cwd_fd = -1;
        stages_begin(getenv("POOLD_TRACE"));
        stages_note("client");
        if (run_options_is_disabled()) {
                miss_set(&miss, "disabled", "POOLD_DISABLE=1 is set");
                return fall_back(options, &miss, args);
        }
        r = context_collect(&context, &miss);
        if (r == 0)
                r = run_warm(&context, options, args, &wait_status, &signals, &miss);
        if (r == 0 && miss.detail)
                say("%s", miss_text(&miss));
        if (r == 0) {
                stages_note("ends");
                stages_end();
                return end_like(wait_status);
        }
        context_restore_signals(&context, signals);
        if (r == MISS)
                return fall_back(options, &miss, args);
        say("the script was started, but how it ended cannot be known: %s", strerror(-r));
        return EXIT_OWN_FAILURE;
}

int cmd_run(char **argv) {
        struct run_options options = { 0 };
        char **args = argv + 1;
        int r = run_options_parse(&args, &options);

        return r ? r : run(&options, args);
}

int cmd_run_python(char **argv) {
        return run(&(struct run_options){ 0 }, argv + 1);
}
