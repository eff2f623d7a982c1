#include "cmd_kill.h"

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clock.h"
#include "connect.h"
#include "say.h"

#define ANSWER_USEC (5 * USEC_PER_SEC)
#define EXIT_USAGE 2

/* A whole decimal number of at most @most. */
static bool take_number(const char *text, long most, long *ret_number) {
        char *end;

        *ret_number = strtol(text, &end, 10);
        return *text >= '0' && *text <= '9' && !*end && *ret_number <= most;
}

#define N_NAMES ((int)(sizeof(names) / sizeof(names[0])))

static const char *const names[] = {
        [SIGHUP] = "HUP",       [SIGINT] = "INT",   [SIGQUIT] = "QUIT",   [SIGILL] = "ILL",
        [SIGTRAP] = "TRAP",     [SIGABRT] = "ABRT", [SIGBUS] = "BUS",     [SIGFPE] = "FPE",
        [SIGKILL] = "KILL",     [SIGUSR1] = "USR1", [SIGSEGV] = "SEGV",   [SIGUSR2] = "USR2",
        [SIGPIPE] = "PIPE",     [SIGALRM] = "ALRM", [SIGTERM] = "TERM",   [SIGCHLD] = "CHLD",
        [SIGCONT] = "CONT",     [SIGSTOP] = "STOP", [SIGTSTP] = "TSTP",   [SIGTTIN] = "TTIN",
        [SIGTTOU] = "TTOU",     [SIGURG] = "URG",   [SIGXCPU] = "XCPU",   [SIGXFSZ] = "XFSZ",
        [SIGVTALRM] = "VTALRM", [SIGPROF] = "PROF", [SIGWINCH] = "WINCH", [SIGIO] = "IO",
        [SIGPWR] = "PWR",       [SIGSYS] = "SYS",
#ifdef SIGSTKFLT
        [SIGSTKFLT] = "STKFLT",
#endif
};

/* "TERM", "SIGTERM" or "15". Returns the signal, or -1 if it is none. 0 only asks whether there is such a run. */
static int find_signal(const char *text) {
        const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
        long number;

        if (take_number(text, NSIG - 1, &number))
                return (int)number;
        for (int signo = 1; signo < N_NAMES; signo++)
                if (names[signo] && strcasecmp(names[signo], name) == 0)
                        return signo;
        if (strcasecmp(name, "POLL") == 0)
                return SIGPOLL; /* another name of SIGIO */
        return -1;
}

/* Asks poold, which knows whether the run still goes on. Returns 0, or the exit status, and the person is told. */
static int ask(struct channel *channel, const char *job, pid_t pid, int signo) {
        _cleanup_writer_ struct wire_writer payload = { 0 };
        _cleanup_message_ struct message message;
        struct proto_done done;
        int r;

        fdset_init(&message.fds);
        proto_put_kill(&payload, &(struct proto_kill){ .pid = (uint32_t)pid, .signo = (uint32_t)signo });
        channel_send(channel, PROTO_KILL, &payload, NULL); /* if it fails, so does the answer */
        r = connect_receive(channel, clock_now_usec() + ANSWER_USEC, &message);
        if (r || message.type != PROTO_DONE || proto_get_done(&message.payload, &done) < 0)
                return connect_complain(r, &message);
        if (!done.error[0])
                return 0;
        say("%s: %s", job, done.error);
        return 1;
}

static int kill_job(const char *job, int signo) {
        _cleanup_miss_ struct miss miss = { 0 };
        struct channel *channel;
        long pid;
        int r;

        if (!take_number(job, INT_MAX, &pid)) {
                say("'%s' is no pid; `poolctl ps` lists those of the runs", job);
                return 1;
        }
        if (connect_poold(&channel, &miss)) {
                say("%s", miss_text(&miss));
                return 1;
        }
        r = ask(channel, job, (pid_t)pid, signo);
        channel_free(channel);
        return r;
}

static int complain(void) {
        say("which run? usage: poolctl kill [-s SIGNAL] PID...; `poolctl ps` lists the runs");
        return EXIT_USAGE;
}

/* Takes the options off @argv: -s SIGNAL, --signal SIGNAL, --signal=SIGNAL, -SIGNAL. Returns NULL if one lacks its value. */
static char **take_options(char **argv, const char **ret_signal) {
        for (; *argv && (*argv)[0] == '-' && (*argv)[1]; argv++) {
                const char *option = *argv;

                if (strcmp(option, "--") == 0)
                        return argv + 1;
                if (strcmp(option, "-s") == 0 || strcmp(option, "--signal") == 0) {
                        if (!*++argv)
                                return NULL;
                        *ret_signal = *argv;
                } else if (strncmp(option, "--signal=", 9) == 0) {
                        *ret_signal = option + 9;
                } else {
                        *ret_signal = option + 1;
                }
        }
        return argv;
}

int cmd_kill(char **argv) {
        const char *name = "TERM";
        char **jobs = take_options(argv + 1, &name);
        int signo, status = 0;

        if (!jobs || !*jobs)
                return complain();
        signo = find_signal(name);
        if (signo < 0) {
                say("'%s' is no signal; such are TERM, SIGTERM and 15", name);
                return EXIT_USAGE;
        }
        for (; *jobs; jobs++)
                if (kill_job(*jobs, signo))
                        status = 1;
        return status;
}
