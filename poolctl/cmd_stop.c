#include "cmd_stop.h"

#include <string.h>

#include "clock.h"
#include "connect.h"
#include "say.h"

#define ANSWER_USEC (5 * USEC_PER_SEC)

/* poold answers when it begins to stop. Returns 0 or the exit status. */
static int await_answer(struct channel *channel) {
        _cleanup_message_ struct message message;
        struct proto_done done;
        int r;

        fdset_init(&message.fds);
        r = connect_receive(channel, clock_now_usec() + ANSWER_USEC, &message);
        if (r || message.type != PROTO_DONE || proto_get_done(&message.payload, &done) < 0)
                return connect_complain(r, &message);
        if (!done.error[0])
                return 0;
        say("poold does not stop: %s", done.error);
        return 1;
}

/* However long running scripts take. It has ended when the connection has. */
static void await_end(struct channel *channel) {
        int r = 0;

        while (r == 0) {
                _cleanup_message_ struct message message;

                fdset_init(&message.fds);
                r = connect_receive(channel, NEVER, &message);
        }
}

static int stop(uint32_t flags) {
        _cleanup_miss_ struct miss miss = { 0 };
        struct channel *channel;
        int r;

        if (connect_poold(&channel, &miss)) {
                say("%s", miss_text(&miss));
                return 1;
        }
        connect_ask(channel, PROTO_STOP, flags); /* if it fails, so does the answer */
        r = await_answer(channel);
        if (r == 0)
                await_end(channel);
        channel_free(channel);
        return r;
}

int cmd_stop(char **argv) {
        uint32_t flags = 0;

        while (*++argv) {
                if (strcmp(*argv, "--now") != 0) {
                        say("'%s' is no option of stop; usage: poolctl stop [--now]", *argv);
                        return 2;
                }
                flags |= PROTO_STOP_NOW;
        }
        return stop(flags);
}
