#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "lib/fd.h"
#include "lib/stages.h"
#include "process.h"
#include "say.h"

#define REPLY_USEC (PROTO_REPLY_MS * USEC_PER_MS) /* for poold to answer, and for a worker to start */
#define SETTLE_USEC (20 * USEC_PER_MS)            /* a run that takes longer is worth letting go of its files */

#define N_POLLFDS 3

#define BIT(signo) (UINT64_C(1) << ((signo)-1))

#define STOP_SIGNALS (BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))
/* Those that do not end a python3 that has yet to start its script. */
#define HARMLESS_SIGNALS                                                                                          \
        (STOP_SIGNALS | BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH) | BIT(SIGPIPE) | BIT(SIGXFSZ))
/* Those that a terminal sends to a whole process group. */
#define TERMINAL_SIGNALS (STOP_SIGNALS | BIT(SIGINT) | BIT(SIGQUIT) | BIT(SIGHUP) | BIT(SIGCONT) | BIT(SIGWINCH))

/* What we wait for, beside the run's end. Each has a deadline, and relay_expire() says what happens then. */
enum phase {
        PHASE_ASKED,    /* poold's answer, or the start of the script */
        PHASE_ASSIGNED, /* the same, a worker having been found */
        PHASE_RUNNING,
};

struct relay {
        struct context *context;
        struct channel *channel;
        struct proxy *proxy;
        struct process worker;
        struct channel *keeper; /* the worker's parent; NULL until we are told of it, and once it is gone */
        enum phase phase;
        int64_t deadline_usec;
        uint32_t reply_ms; /* how long poold may take to answer, as far as that is known */
        int claim_fd;
        int signal_fd;
        bool connected; /* poold or the worker may still say something */
        bool sending;   /* the rest of RUN is waiting for room */
        bool started;   /* somebody else has the claim */
        bool stopped;   /* the worker is, and we were with it */
        bool verbose;
        char *why; /* the pool's limit that ended the run, if one did */

        uint64_t held;       /* signals for the worker that is yet to be found */
        uint64_t held_group; /* of them, those for its group */

        int wait_status;
        struct miss *miss;
};

/* The positive result, beside MISS and RELAY_LOST, of what moves a relay on; 0 means that there is more to wait for. */
enum {
        RELAY_ENDED = 3, /* wait_status says how */
};

static void relay_enter(struct relay *relay, enum phase phase, int64_t after_usec) {
        relay->phase = phase;
        relay->deadline_usec = after_usec == NEVER ? NEVER : clock_now_usec() + after_usec;
}

/* Is the run ours, so that nobody else will ever start it? Once it is, the relay must end. */
static bool relay_take_claim(struct relay *relay) {
        uint64_t claim;

        if (!relay->started && read(relay->claim_fd, &claim, sizeof(claim)) == sizeof(claim))
                return true;
        relay->started = true;
        return false;
}

static bool relay_has_started(struct relay *relay) {
        struct pollfd pollfd = { .fd = relay->claim_fd, .events = POLLIN };

        if (!relay->started)
                relay->started = poll(&pollfd, 1, 0) == 0;
        return relay->started;
}

static int relay_settle(struct relay *relay) {
        context_release(relay->context);
        relay_enter(relay, PHASE_RUNNING, NEVER);
        return 0;
}

static void relay_keep(const struct relay *relay, unsigned orders, int signo) {
        _cleanup_writer_ struct wire_writer payload = { 0 };

        proto_put_keep(&payload, &(struct proto_keep){ .orders = orders, .signo = (uint32_t)signo });
        if (relay->keeper && orders)
                channel_send(relay->keeper, PROTO_KEEP, &payload, NULL);
}

/* We go on, so the script does, all of its process group. */
static void relay_continue(struct relay *relay) {
        relay->stopped = false;
        relay_keep(relay, PROTO_KEEP_CONTINUE | (relay->proxy ? proxy_continue(relay->proxy) : 0), 0);
}

/* Gives the worker a signal that was meant for us. */
static void relay_pass_on(struct relay *relay, int signo, bool group) {
        if (signo == SIGWINCH && group && relay->proxy)
                proxy_resize(relay->proxy);
        else if (signo == SIGCONT && (relay->stopped || relay->proxy))
                relay_continue(relay);
        else if (group)
                relay_keep(relay, PROTO_KEEP_SIGNAL, signo);
        else
                process_signal(&relay->worker, signo);
}

static int relay_on_assigned(struct relay *relay, struct message *message) {
        struct proto_assigned assigned;
        uint64_t held = relay->held;

        if (relay->keeper || proto_get_assigned(&message->payload, &assigned) < 0)
                return -EPROTO;
        relay->worker.pidfd = fdset_steal(&message->fds, PROTO_ASSIGNED_FD_PROCESS);
        relay->worker.pid = (int)assigned.pid;
        relay->keeper =
                channel_new(fdset_steal(&message->fds, PROTO_ASSIGNED_FD_KEEPER), PROTO_CLIENT, PROTO_KEEPER);
        if (!relay->keeper)
                return -ENOMEM;
        if (relay->proxy)
                proxy_begin(relay->proxy, fdset_steal(&message->fds, PROTO_ASSIGNED_FD_TERMINAL),
                            (int)assigned.group);
        relay_enter(relay, PHASE_ASSIGNED, SETTLE_USEC);
        if (relay->verbose)
                say("run by poold's worker %d", relay->worker.pid);

        relay->held = 0;
        for (int signo = 1; held; held &= ~BIT(signo), signo++)
                if (held & BIT(signo))
                        relay_pass_on(relay, signo, relay->held_group & BIT(signo));
        return 0;
}

static int relay_on_message(struct relay *relay, struct message *message) {
        struct proto_refused refused;
        struct proto_waiting waiting;
        struct proto_denied denied;
        struct proto_ended ended;

        switch (message->type) {
        case PROTO_REFUSED:
                if (proto_get_refused(&message->payload, &refused) < 0)
                        return -EPROTO;
                return miss_refused(relay->miss, refused.reason, refused.detail, refused.python);
        case PROTO_DENIED:
                if (proto_get_denied(&message->payload, &denied) < 0)
                        return -EPROTO;
                relay->miss->is_final = true;
                return miss_refused(relay->miss, denied.reason, denied.detail, "");
        case PROTO_WAITING:
                if (proto_get_waiting(&message->payload, &waiting) < 0)
                        return -EPROTO;
                relay->reply_ms = waiting.timeout_ms;
                relay_enter(relay, PHASE_ASKED, waiting.timeout_ms * USEC_PER_MS);
                return 0;
        case PROTO_ASSIGNED:
                return relay_on_assigned(relay, message);
        case PROTO_EXIT:
                if (proto_get_ended(&message->payload, &ended) < 0)
                        return -EPROTO;
                relay->wait_status = (int)ended.wait_status;
                return RELAY_ENDED;
        default:
                return -EPROTO;
        }
}

static int relay_lose_worker(struct relay *relay) {
        miss_set(relay->miss, "worker", "the worker ended before it started the script");
        return RELAY_LOST;
}

/* Nothing more comes over the connection, or nothing that makes sense. */
static int relay_on_hangup(struct relay *relay, int error) {
        relay->connected = false;
        if (relay_take_claim(relay)) {
                if (error == -EPROTO)
                        return miss_set(relay->miss, "protocol", "poold does not speak poolctl's protocol");
                if (error == -EPROTONOSUPPORT)
                        return miss_set(relay->miss, "version", "poold is of another version");
                if (relay->keeper)
                        return relay_lose_worker(relay);
                miss_set(relay->miss, "lost", "poold closed the connection; its log may say why");
                return RELAY_LOST;
        }
        return relay->keeper ? 0 : -ENODATA; /* it was started by somebody whom we were not told of */
}

static int relay_on_readable(struct relay *relay) {
        int r = channel_read(relay->channel);

        if (r == CHANNEL_AGAIN)
                return 0;
        if (r)
                return relay_on_hangup(relay, r);
        for (;;) {
                _cleanup_message_ struct message message;

                fdset_init(&message.fds);
                r = channel_next(relay->channel, &message);
                if (r == CHANNEL_AGAIN)
                        return 0;
                if (r == 0)
                        r = relay_on_message(relay, &message);
                if (r > 0)
                        return r;
                if (r < 0)
                        return relay_on_hangup(relay, r);
        }
}

/* An error is no reason to give up: what poold said before it closed its end can still be read. */
static void relay_on_writable(struct relay *relay) {
        relay->sending = channel_flush(relay->channel) == CHANNEL_AGAIN;
}

/* The worker's process has ended. What it has said itself before that counts more. */
static int relay_on_gone(struct relay *relay, int wait_status) {
        struct pollfd pollfd = { .fd = channel_fd(relay->channel), .events = POLLIN };
        int r = 0;

        while (r == 0 && relay->connected && poll(&pollfd, 1, 0) > 0)
                r = relay_on_readable(relay);
        if (r)
                return r;
        if (relay_take_claim(relay))
                return relay_lose_worker(relay);
        relay->wait_status = wait_status;
        return RELAY_ENDED;
}

/* The worker was stopped, by whatever signal, and a python3 would be now. */
static void relay_on_stopped(struct relay *relay, int signo) {
        if (relay->proxy) {
                unsigned orders = proxy_stop(relay->proxy, signo);

                relay_keep(relay, orders, 0);
                if (orders & PROTO_KEEP_CONTINUE)
                        return;
        }
        relay->stopped = true;
        if (!process_stop_self(signo))
                relay_continue(relay);
}

static void relay_note_why(struct relay *relay, struct message *message) {
        struct proto_why why;

        if (message->type == PROTO_WHY && !relay->why && proto_get_why(&message->payload, &why) == 0)
                relay->why = strdup(why.text);
}

static int relay_on_keeper_message(struct relay *relay, struct message *message) {
        struct proto_stopped stopped;
        struct proto_ended ended;

        if (message->type == PROTO_GONE && proto_get_ended(&message->payload, &ended) == 0)
                return relay_on_gone(relay, (int)ended.wait_status);
        if (message->type == PROTO_STOPPED && proto_get_stopped(&message->payload, &stopped) == 0)
                relay_on_stopped(relay, (int)stopped.signo);
        relay_note_why(relay, message);
        return 0;
}

/* What the keeper has said before the run said how it ended; all else that it may say is late. */
static void relay_hear_why(struct relay *relay) {
        while (!relay->why && channel_read(relay->keeper) == 0) {
                _cleanup_message_ struct message message;

                while (channel_next(relay->keeper, &message) == 0)
                        relay_note_why(relay, &message);
        }
}

/* A keeper that is killed takes its worker with it. */
static int relay_on_keeper(struct relay *relay) {
        int r = channel_read(relay->keeper);

        while (r == 0) {
                _cleanup_message_ struct message message;

                r = channel_next(relay->keeper, &message);
                if (r == 0) {
                        r = relay_on_keeper_message(relay, &message);
                        if (r)
                                return r;
                }
        }
        if (r == CHANNEL_AGAIN)
                return 0;
        relay->keeper = channel_free(relay->keeper);
        return relay_on_gone(relay, SIGKILL);
}

/* Nobody is told of @signo yet: as with pending signals, a stop undoes a continue and the reverse. */
static void relay_hold(struct relay *relay, int signo, bool group) {
        if (signo == SIGCONT)
                relay->held &= ~STOP_SIGNALS;
        else if (STOP_SIGNALS & BIT(signo))
                relay->held &= ~BIT(SIGCONT);
        relay->held |= BIT(signo);
        relay->held_group &= ~BIT(signo);
        relay->held_group |= group ? BIT(signo) : 0;
}

/*
 * Before the script starts we are all there is of it: a signal that would end python3 ends the run, or else a
 * worker that died of it would look like one that failed, and the script would be run after all.
 */
static int relay_on_signal(struct relay *relay) {
        const struct context *context = relay->context;
        struct signalfd_siginfo info;
        bool group;
        int signo;

        if (read(relay->signal_fd, &info, sizeof(info)) != sizeof(info) || info.ssi_signo == SIGCHLD)
                return 0;
        signo = (int)info.ssi_signo;
        if (info.ssi_code == SI_USER && info.ssi_pid == (uint32_t)getpid())
                return 0; /* was for the others of our group */
        group = info.ssi_code == SI_KERNEL && TERMINAL_SIGNALS & BIT(signo);
        if (BIT(signo) & ~HARMLESS_SIGNALS & ~context->ignored_signals & ~context->blocked_signals &&
            relay_take_claim(relay)) {
                relay->wait_status = signo;
                return RELAY_ENDED;
        }
        if (relay->worker.pidfd < 0)
                relay_hold(relay, signo, group);
        else
                relay_pass_on(relay, signo, group);
        return 0;
}

static int relay_expire(struct relay *relay) {
        switch (relay->phase) {
        case PHASE_ASKED:
                if (relay_take_claim(relay))
                        return miss_set(relay->miss, "timeout", "poold did not start the script within %u ms",
                                        relay->reply_ms);
                return relay_settle(relay);
        case PHASE_ASSIGNED:
                if (relay_has_started(relay))
                        return relay_settle(relay);
                relay_enter(relay, PHASE_ASKED, REPLY_USEC);
                return 0;
        case PHASE_RUNNING:
                break;
        }
        return 0;
}

/* Waits for something to happen, and lets it. The connection comes first: EXIT counts more than what follows it.
 */
static int relay_step(struct relay *relay) {
        struct pollfd pollfds[] = {
                {
                        .fd = relay->connected ? channel_fd(relay->channel) : -1,
                        .events = (short)(relay->sending ? POLLIN | POLLOUT : POLLIN),
                },
                { .fd = relay->signal_fd, .events = POLLIN },
                { .fd = relay->keeper ? channel_fd(relay->keeper) : -1, .events = POLLIN },
                { 0 },
                { 0 },
        };
        int n_ready, r = 0;

        proxy_watch(relay->proxy, pollfds + N_POLLFDS);
        n_ready = poll(pollfds, relay->proxy ? N_POLLFDS + PROXY_N_POLLFDS : N_POLLFDS,
                       clock_poll_ms(relay->deadline_usec));
        if (n_ready < 0)
                return errno == EINTR ? 0 : -errno;
        if (n_ready == 0)
                return relay_expire(relay);
        if (pollfds[0].revents & POLLOUT)
                relay_on_writable(relay);
        if (pollfds[0].revents & ~POLLOUT)
                r = relay_on_readable(relay);
        if (r == 0 && pollfds[1].revents)
                r = relay_on_signal(relay);
        if (r == 0 && pollfds[2].revents)
                r = relay_on_keeper(relay);
        else if (r == RELAY_ENDED && pollfds[2].revents)
                relay_hear_why(relay);
        if (r == 0 && relay->proxy)
                relay_keep(relay, proxy_step(relay->proxy, pollfds + N_POLLFDS), 0);
        return r;
}

/* The script has ended, but our terminal may be slow. Whoever does not want to wait may say so. */
static void relay_drain(const struct relay *relay) {
        while (!proxy_finish(relay->proxy)) {
                struct pollfd pollfds[PROXY_N_POLLFDS + 1] = { 0 };
                struct signalfd_siginfo info;

                proxy_watch(relay->proxy, pollfds);
                pollfds[PROXY_N_POLLFDS] = (struct pollfd){ .fd = relay->signal_fd, .events = POLLIN };
                if (poll(pollfds, PROXY_N_POLLFDS + 1, -1) > 0 && pollfds[PROXY_N_POLLFDS].revents &&
                    read(relay->signal_fd, &info, sizeof(info)) == sizeof(info) &&
                    BIT(info.ssi_signo) & ~HARMLESS_SIGNALS)
                        return;
        }
}

/* Returns 0, or MISS if the kernel does not let RUN go. That poold has hung up is for relay_on_readable(). */
static int relay_send(struct relay *relay, const struct relay_request *request) {
        static uint8_t usual[16 << 10]; /* for less than malloc(3) takes of the kernel */
        _cleanup_writer_ struct wire_writer payload = { 0 };
        struct fdset fds; /* borrowed, all of them: not to be ended */
        int r;

        wire_writer_borrow(&payload, usual, sizeof(usual));
        context_put_run(relay->context, request->pool, &request->argv, &request->env, relay->claim_fd, &payload,
                        &fds);
        stages_note("asks");
        r = channel_send(relay->channel, PROTO_RUN, &payload, &fds);
        if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                return miss_set(relay->miss, "send", "cannot hand the run to poold: %s", strerror(-r));
        relay->sending = r == CHANNEL_AGAIN;
        relay_enter(relay, PHASE_ASKED, REPLY_USEC);
        return 0;
}

int relay_run(struct context *context, struct channel *channel, const struct relay_request *request,
              int *ret_wait_status, uint64_t *signals, struct miss *ret_miss) {
        const uint64_t all_signals = UINT64_MAX;
        _cleanup_fd_ int claim_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        _cleanup_fd_ int signal_fd =
                (int)syscall(SYS_signalfd4, -1, &all_signals, sizeof(all_signals), SFD_CLOEXEC | SFD_NONBLOCK);
        struct relay relay = {
                .context = context,
                .channel = channel,
                .worker = { .pidfd = -1 },
                .claim_fd = claim_fd,
                .signal_fd = signal_fd,
                .proxy = request->proxy,
                .reply_ms = PROTO_REPLY_MS,
                .connected = true,
                .verbose = request->verbose,
                .held = *signals,
                .miss = ret_miss,
        };
        int r;

        if (claim_fd < 0 || signal_fd < 0)
                return miss_set(ret_miss, "fds", "cannot open another file: %s", strerror(errno));
        r = relay_send(&relay, request);
        while (r == 0)
                r = relay_step(&relay);
        if (r == RELAY_ENDED && relay.proxy)
                relay_drain(&relay);
        if (r == RELAY_ENDED)
                relay_keep(&relay, PROTO_KEEP_DONE, 0);
        if (r == RELAY_ENDED && relay.why)
                miss_refused(ret_miss, "", relay.why, "");
        free(relay.why);
        channel_free(relay.keeper);
        fd_close(relay.worker.pidfd);
        *ret_wait_status = relay.wait_status;
        *signals = relay.held;
        return r == RELAY_ENDED ? 0 : r;
}
