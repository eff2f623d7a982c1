#include "proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "lib/fd.h"
#include "terminal.h"

#define SETTLE_USEC (1 * USEC_PER_SEC) /* for our terminal to take what the script wrote before it was stopped */
#define MAX_ROUNDS 16                  /* of copying, before somebody else has his turn */

struct proxy {
        int own;    /* our controlling terminal, non-blocking */
        int master; /* of the script's, non-blocking; -1 before that has one */
        int slave;  /* so that the master does not hang up when the script has closed its own */
        int group;

        bool is_eager;      /* nobody but the script can want the terminal */
        bool wants;         /* the script had or has asked for it */
        bool attached;      /* our terminal is raw, and what is typed is the script's */
        bool is_full;       /* our terminal takes no more for now */
        bool is_behind;     /* there may be more to read from the master */
        bool has_hung_up;   /* our terminal is gone, which the keeper knows */
        bool is_output_raw; /* our terminal does nothing to what is written, while attached */

        struct termios found; /* our terminal's settings, while attached */

        size_t n_typed;
        char typed[4096];
        size_t n_written;
        size_t n_clean; /* of them, those that need no look any more */
        char written[65536];
};

/* Our terminal is gone: so is the script's, which the kernel tells it. */
static void hang_up(struct proxy *proxy) {
        proxy->attached = false;
        proxy->n_typed = proxy->n_written = proxy->n_clean = 0;
        proxy->own = fd_close(proxy->own);
        proxy->master = fd_close(proxy->master);
        proxy->slave = fd_close(proxy->slave);
}

static bool is_retry(ssize_t n) {
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* --- What the script writes --- */

/* Returns whether there was something, or room for it. */
static bool read_master(struct proxy *proxy) {
        size_t room = sizeof(proxy->written) - proxy->n_written;
        ssize_t n;

        if (room == 0)
                return false;
        n = read(proxy->master, proxy->written + proxy->n_written, room);
        if (n > 0)
                proxy->n_written += (size_t)n;
        return n > 0;
}

/* The others in our group also write, and expect of our terminal what they find on it; so does the script of its own. */
static void share_output(struct proxy *proxy, bool is_output_raw) {
        if (proxy->attached && proxy->is_output_raw != is_output_raw &&
            terminal_set_raw(proxy->own, &proxy->found, is_output_raw))
                proxy->is_output_raw = is_output_raw;
}

/*
 * Unless we have made it raw, our terminal does to '\n' what the script's has done before, so that is undone. The
 * two bytes that '\n' became may be read apart, but not once there is nothing more to read.
 */
static size_t find_writable(struct proxy *proxy, bool is_all) {
        bool is_raw = proxy->is_eager && proxy->attached;

        if (!is_raw) {
                is_raw = !terminal_adds_returns(proxy->master);
                share_output(proxy, is_raw);
        }
        if (is_raw) {
                proxy->n_clean = proxy->n_written;
                return proxy->n_written;
        }
        proxy->n_written = terminal_drop_returns(proxy->written, proxy->n_written, proxy->n_clean);
        proxy->n_clean = proxy->n_written;
        if (!is_all && proxy->n_written && proxy->written[proxy->n_written - 1] == '\r')
                proxy->n_clean--;
        return proxy->n_clean;
}

static void write_own(struct proxy *proxy, bool is_all) {
        size_t n_writable = find_writable(proxy, is_all);
        ssize_t n;

        if (n_writable == 0)
                return;
        n = write(proxy->own, proxy->written, n_writable);
        if (n < 0 && !is_retry(n)) {
                hang_up(proxy);
                return;
        }
        if (n < 0)
                n = 0;
        proxy->is_full = (size_t)n < n_writable;
        proxy->n_written -= (size_t)n;
        proxy->n_clean -= (size_t)n;
        memmove(proxy->written, proxy->written + n, proxy->n_written);
}

static void copy_output(struct proxy *proxy) {
        bool found = true;

        for (int i = 0; i < MAX_ROUNDS && found && proxy->master >= 0; i++) {
                found = read_master(proxy);
                write_own(proxy, !found);
                if (proxy->is_full)
                        break;
        }
        proxy->is_behind = found;
}

/* Returns whether all that was written so far has been passed on. */
static bool finish_output(struct proxy *proxy) {
        if (proxy->master >= 0)
                copy_output(proxy);
        return proxy->master < 0 || (!proxy->is_behind && proxy->n_written == 0);
}

/* All that was written so far, before something else happens on our terminal. */
static void settle_output(struct proxy *proxy) {
        int64_t deadline_usec = clock_now_usec() + SETTLE_USEC;

        while (!finish_output(proxy)) {
                struct pollfd pollfd = { .fd = proxy->own, .events = POLLOUT };

                if (proxy->is_full && poll(&pollfd, 1, clock_poll_ms(deadline_usec)) == 0)
                        return;
        }
}

/* --- What is typed --- */

static void write_master(struct proxy *proxy) {
        ssize_t n = write(proxy->master, proxy->typed, proxy->n_typed);

        if (n <= 0)
                return;
        proxy->n_typed -= (size_t)n;
        memmove(proxy->typed, proxy->typed + n, proxy->n_typed);
}

/*
 * What the keyboard does to the script's group it does to ours under python3: a shell script that runs us ends too.
 * The signal comes back to us, who have sent it, and counts for nothing.
 */
static void share_signals(const struct proxy *proxy, const char *typed, size_t n) {
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)typed[i] < ' ' || typed[i] == 0x7f) {
                        int signo = terminal_signal_of(proxy->master, proxy->group, typed[i]);

                        if (signo)
                                kill(0, signo);
                }
}

static void copy_input(struct proxy *proxy) {
        ssize_t n = read(proxy->own, proxy->typed + proxy->n_typed, sizeof(proxy->typed) - proxy->n_typed);

        if (is_retry(n))
                return;
        if (n <= 0) {
                if (n < 0 && !terminal_is_foreground(proxy->own) && tcgetpgrp(proxy->own) >= 0)
                        proxy->attached = false; /* somebody has taken it, and set it up to his needs */
                else
                        hang_up(proxy);
                return;
        }
        proxy->n_typed += (size_t)n;
        share_signals(proxy, proxy->typed + proxy->n_typed - n, (size_t)n);
        write_master(proxy);
}

/* --- Whose terminal it is --- */

/* What was written before must have been passed on, unless the script only begins. */
static void attach(struct proxy *proxy) {
        if (proxy->attached || proxy->own < 0 || proxy->master < 0 || tcgetattr(proxy->own, &proxy->found) < 0)
                return;
        terminal_copy_size(proxy->own, proxy->master);
        proxy->is_output_raw = proxy->is_eager;
        proxy->attached = terminal_set_raw(proxy->own, &proxy->found, proxy->is_output_raw);
        proxy->wants = true;
        if (proxy->attached)
                terminal_take_over(proxy->own, proxy->master, proxy->slave);
}

static void detach(struct proxy *proxy) {
        if (!proxy->attached)
                return;
        if (terminal_is_foreground(proxy->own))
                tcsetattr(proxy->own, TCSANOW, &proxy->found);
        proxy->attached = false;
}

unsigned proxy_continue(struct proxy *proxy) {
        struct termios now;

        settle_output(proxy);
        if (proxy->own < 0 || proxy->master < 0 || !proxy->wants || !terminal_is_foreground(proxy->own))
                return 0;
        if (!proxy->attached && tcgetattr(proxy->own, &now) == 0)
                tcsetattr(proxy->master, TCSANOW, &now); /* as the shell has left it */
        proxy->attached = false;                         /* if we were stopped unseen, it is raw no more */
        attach(proxy);
        return PROTO_KEEP_FOREGROUND;
}

unsigned proxy_stop(struct proxy *proxy, int signo) {
        bool asks = (signo == SIGTTIN || signo == SIGTTOU) && !proxy->attached;

        settle_output(proxy);
        if (asks && proxy->own < 0)
                return PROTO_KEEP_CONTINUE;
        proxy->wants |= asks;
        if (asks && terminal_is_foreground(proxy->own)) {
                attach(proxy);
                return PROTO_KEEP_FOREGROUND | PROTO_KEEP_CONTINUE;
        }
        detach(proxy);
        return PROTO_KEEP_BACKGROUND;
}

bool proxy_finish(struct proxy *proxy) {
        return finish_output(proxy);
}

void proxy_resize(struct proxy *proxy) {
        if (proxy->own >= 0 && proxy->master >= 0)
                terminal_copy_size(proxy->own, proxy->master);
}

/* --- Waiting --- */

void proxy_watch(const struct proxy *proxy, struct pollfd ret_pollfds[PROXY_N_POLLFDS]) {
        for (size_t i = 0; i < PROXY_N_POLLFDS; i++)
                ret_pollfds[i] = (struct pollfd){ .fd = -1 };
        if (!proxy)
                return;
        ret_pollfds[0].fd = proxy->own;
        ret_pollfds[0].events = (short)((proxy->attached && proxy->n_typed < sizeof(proxy->typed) ? POLLIN : 0) |
                                        (proxy->is_full ? POLLOUT : 0));
        ret_pollfds[1].fd = proxy->master;
        ret_pollfds[1].events = (short)((proxy->is_full ? 0 : POLLIN) | (proxy->n_typed ? POLLOUT : 0));
}

static void copy(struct proxy *proxy, const struct pollfd pollfds[PROXY_N_POLLFDS]) {
        if ((pollfds[0].revents & POLLOUT) || (pollfds[1].revents & POLLIN))
                copy_output(proxy);
        if (pollfds[1].revents & POLLOUT && proxy->master >= 0)
                write_master(proxy);
        if (pollfds[0].revents & POLLIN && proxy->attached)
                copy_input(proxy);
        else if (pollfds[0].revents & (POLLHUP | POLLERR))
                hang_up(proxy);
}

unsigned proxy_step(struct proxy *proxy, const struct pollfd pollfds[PROXY_N_POLLFDS]) {
        if (proxy->own >= 0)
                copy(proxy, pollfds);
        if (proxy->own >= 0 || proxy->has_hung_up)
                return 0;
        proxy->has_hung_up = true;
        return PROTO_KEEP_HANGUP;
}

/* --- Beginning and end --- */

static bool is_pipe(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

/* A shell's job, of which we are the only process: it is us who have the keyboard. */
static bool is_alone(const struct proxy *proxy, unsigned device) {
        return getpid() == getpgrp() && terminal_device(STDIN_FILENO) == device && !is_pipe(STDOUT_FILENO) &&
               terminal_is_foreground(proxy->own);
}

/* Returns whether fd 0, 1 or 2 is the terminal. Others that are it are replaced as well. */
static bool replace_fds(struct context *context, unsigned device) {
        bool is_standard = false;

        for (size_t i = 0; i < context->n_fds; i++) {
                context->is_terminal[i] = terminal_device((int)context->fd_numbers[i]) == device;
                is_standard |= context->is_terminal[i] && context->fd_numbers[i] <= STDERR_FILENO;
        }
        return is_standard;
}

/* Returns 0, or -ENOTTY if there is to be no proxy. */
static int set_up(struct proxy *proxy, enum proxy_mode mode, struct context *context) {
        unsigned device;

        proxy->own = terminal_open_own();
        if (proxy->own < 0)
                return -ENOTTY;
        device = terminal_device(proxy->own);
        if (!replace_fds(context, device) && mode == PROXY_AUTO) {
                memset(context->is_terminal, 0, sizeof(context->is_terminal));
                return -ENOTTY;
        }
        proxy->is_eager = is_alone(proxy, device);
        context->terminal = proxy->is_eager ? PROTO_TERMINAL_FOREGROUND : PROTO_TERMINAL_BACKGROUND;
        context->terminal_fd = proxy->own;
        return 0;
}

static bool has_terminal(void) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (terminal_device(fd))
                        return true;
        return false;
}

int proxy_new(enum proxy_mode mode, struct context *context, struct proxy **ret_proxy, struct miss *ret_miss) {
        struct proxy *proxy;

        *ret_proxy = NULL;
        if (mode == PROXY_DIRECT || (mode == PROXY_AUTO && !has_terminal()))
                return 0;
        proxy = malloc(sizeof(*proxy)); /* its buffers are not to be touched before they are used */
        if (!proxy)
                return miss_set(ret_miss, "memory", "out of memory");
        proxy->own = proxy->master = proxy->slave = -1;
        proxy->group = 0;
        proxy->is_eager = proxy->wants = proxy->attached = proxy->is_full = proxy->is_behind = proxy->has_hung_up =
                proxy->is_output_raw = false;
        proxy->n_typed = proxy->n_written = proxy->n_clean = 0;
        if (set_up(proxy, mode, context) == 0)
                *ret_proxy = proxy;
        else
                proxy_free(proxy);
        return 0;
}

void proxy_begin(struct proxy *proxy, int master, int group) {
        proxy->master = master;
        proxy->slave = terminal_open_slave(master);
        proxy->group = group;
        if (proxy->is_eager && terminal_is_foreground(proxy->own))
                attach(proxy);
}

struct proxy *proxy_free(struct proxy *proxy) {
        if (!proxy)
                return NULL;
        if (proxy->attached && terminal_is_foreground(proxy->own))
                terminal_give_back(proxy->slave, proxy->own);
        detach(proxy);
        fd_close(proxy->own);
        fd_close(proxy->master);
        fd_close(proxy->slave);
        free(proxy);
        return NULL;
}
