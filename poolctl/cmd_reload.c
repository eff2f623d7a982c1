#include "cmd_reload.h"

#include <errno.h>
#include <stdio.h>

#include "clock.h"
#include "connect.h"
#include "say.h"

#define PATIENCE_USEC (5 * USEC_PER_SEC) /* then we say what we wait for */

/* However long the interpreters that it names take to start. */
static int receive(struct channel *channel, struct message *message) {
        int r = connect_receive(channel, clock_now_usec() + PATIENCE_USEC, message);

        if (r != -ETIMEDOUT)
                return r;
        say("no answer yet: poold asks the interpreters that the configuration names, or is stopped or "
            "overloaded");
        return connect_receive(channel, NEVER, message);
}

static int await_answer(struct channel *channel) {
        _cleanup_message_ struct message message;
        struct proto_done done;
        int r;

        fdset_init(&message.fds);
        r = receive(channel, &message);
        if (r || message.type != PROTO_DONE || proto_get_done(&message.payload, &done) < 0)
                return connect_complain(r, &message);
        if (!done.error[0]) {
                puts(done.text);
                return 0;
        }
        say("nothing is changed:\n%s", done.error);
        return 1;
}

int cmd_reload(char **argv) {
        _cleanup_miss_ struct miss miss = { 0 };
        struct channel *channel;
        int r;

        if (argv[1]) {
                say("'%s' is no option of reload; usage: poolctl reload", argv[1]);
                return 2;
        }
        if (connect_poold(&channel, &miss)) {
                say("%s", miss_text(&miss));
                return 1;
        }
        connect_ask(channel, PROTO_RELOAD, 0); /* if it fails, so does the answer */
        r = await_answer(channel);
        channel_free(channel);
        return r;
}
