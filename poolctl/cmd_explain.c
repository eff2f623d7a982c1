#include "cmd_explain.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "connect.h"
#include "context.h"
#include "fallback.h"
#include "lib/pyargs.h"
#include "run_options.h"
#include "say.h"

#define ANSWER_USEC (5 * USEC_PER_SEC)
#define EXIT_COLD 1
#define EXIT_USAGE 2

/* Sends what `run` would send. Returns 0 or negative errno. */
static int ask(struct channel *channel, const struct context *context, const char *pool, char **args) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        char *argv_copy = NULL, *env_copy = NULL;
        struct wire_strv argv, env;
        struct fdset fds; /* borrowed, all of them: not to be ended */
        int r;

        r = wire_strv_from_array(args, &argv, &argv_copy);
        if (r == 0)
                r = wire_strv_from_array(environ, &env, &env_copy);
        if (r == 0) {
                /* Nobody looks at the claim of a run that is not to be started, but there must be one. */
                context_put_run(context, pool, &argv, &env, context->cwd_fd, &payload, &fds);
                r = channel_send(channel, PROTO_EXPLAIN, &payload, &fds);
        }
        free(argv_copy);
        free(env_copy);
        while (r == CHANNEL_AGAIN) {
                poll(&(struct pollfd){ .fd = channel_fd(channel), .events = POLLOUT }, 1, -1);
                r = channel_flush(channel);
        }
        return r;
}

/* What a worker would find, as far as a look at the file's name tells. */
static int check_script(char **args, struct miss *ret_miss) {
        struct pyargs parsed;
        int n = 0;

        while (args[n])
                n++;
        if (pyargs_parse(args, n, &parsed) || parsed.kind != PYARGS_SCRIPT)
                return 0;
        if (access(parsed.target, R_OK) < 0)
                return miss_set(ret_miss, "script", "%s: %s", parsed.target, strerror(errno));
        return 0;
}

static int show_warm(const struct proto_explained *explained, char **args, struct miss *ret_miss) {
        int r = check_script(args, ret_miss);

        if (r == 0)
                printf("warm: a worker of pool %s runs it, as %s would; it may still hand it back: "
                       "script, syntax, warnings, shadow, module\n",
                       explained->pool, explained->python);
        else
                miss_set_python(ret_miss, explained->python);
        return r;
}

/* Returns 0 if the run would be warm, which is said; MISS and why; or negative, said as well. */
static int take(struct message *message, char **args, struct miss *ret_miss) {
        struct proto_explained explained;
        struct proto_refused refused;
        struct proto_denied denied;

        if (message->type == PROTO_DENIED && proto_get_denied(&message->payload, &denied) == 0) {
                ret_miss->is_final = true;
                return miss_refused(ret_miss, denied.reason, denied.detail, "");
        }
        if (message->type == PROTO_REFUSED && proto_get_refused(&message->payload, &refused) == 0)
                return miss_refused(ret_miss, refused.reason, refused.detail, refused.python);
        if (message->type != PROTO_EXPLAINED || proto_get_explained(&message->payload, &explained) < 0) {
                connect_complain(0, message);
                return -EPROTO;
        }
        if (explained.reason[0])
                return miss_refused(ret_miss, explained.reason, explained.detail, explained.python);
        return show_warm(&explained, args, ret_miss);
}

/* Results as of take(). */
static int consult(const struct context *context, const struct run_options *options, char **args,
                   struct miss *ret_miss) {
        struct channel *channel;
        int r;

        r = connect_poold(&channel, ret_miss);
        if (r)
                return r;
        r = ask(channel, context, run_options_pool(options), args);
        if (r == -EMSGSIZE || r == -ENOMEM || r == -EOVERFLOW) {
                r = miss_set(ret_miss, "send", "cannot hand the run to poold: %s", strerror(-r));
        } else {
                _cleanup_message_ struct message message;

                fdset_init(&message.fds);
                r = connect_receive(channel, clock_now_usec() + ANSWER_USEC, &message);
                if (r)
                        r = -connect_complain(r, NULL);
                else
                        r = take(&message, args, ret_miss);
        }
        channel_free(channel);
        return r;
}

static int show_miss(const struct miss *miss) {
        char path[PATH_MAX];
        const char *python = miss->is_final ? NULL : fallback_find(miss, path);

        printf("cold: %s: %s; ", miss->reason ? miss->reason : "", miss_text(miss));
        if (miss->is_final)
                puts("nothing runs it, as the pool's on_empty = fail asks");
        else if (python)
                printf("%s runs it\n", python);
        else
                puts("and there is no python3 to run it");
        return EXIT_COLD;
}

static int explain(const struct run_options *options, char **args) {
        _cleanup_miss_ struct miss miss = { 0 };
        _cleanup_context_ struct context context;
        int r;

        context.cwd_fd = -1;
        if (run_options_is_disabled()) {
                miss_set(&miss, "disabled", "POOLD_DISABLE=1 is set");
                return show_miss(&miss);
        }
        r = context_collect(&context, &miss);
        context_restore_signals(&context, 0);
        if (r == 0)
                r = consult(&context, options, args, &miss);
        if (r == MISS)
                return show_miss(&miss);
        return r < 0 ? EXIT_COLD : 0;
}

int cmd_explain(char **argv) {
        struct run_options options;
        char **args = argv + 1;

        return run_options_parse(&args, &options) ? EXIT_USAGE : explain(&options, args);
}
