/* poold: command line, configuration, signals. All else is the server's. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "config.h"
#include "groups.h"
#include "lib/fd.h"
#include "lib/log.h"
#include "listener.h"
#include "live_pool.h"
#include "loop.h"
#include "niceness.h"
#include "server.h"
#include "systemd.h"

#define FD_LIMIT 16384

struct options {
        const char *config_path;
        bool check;
};

static const char usage[] =
        "usage: poold [--config FILE] [--check] [--version]\n"
        "\n"
        "Keeps warm Python processes for `poolctl run`. Runs in the foreground and logs to stderr.\n"
        "\n"
        "  --config FILE  read this configuration (default: $POOLD_CONFIG,\n"
        "                 ~/.config/poold/poold.ini, " POOLD_SYSCONFDIR "/poold/poold.ini)\n"
        "  --check        report what is wrong with the configuration, and exit\n"
        "  --version      print the version, and exit\n";

/* Returns 0 to go on, or positive: exit with *ret_status. */
static int parse_options(int argc, char **argv, struct options *ret_options, int *ret_status) {
        static const struct option long_options[] = {
                { "config", required_argument, NULL, 'c' },
                { "check", no_argument, NULL, 'k' },
                { "version", no_argument, NULL, 'v' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        int option;

        *ret_options = (struct options){ 0 };
        *ret_status = EXIT_SUCCESS;
        while ((option = getopt_long(argc, argv, "h", long_options, NULL)) >= 0)
                switch (option) {
                case 'c':
                        ret_options->config_path = optarg;
                        break;
                case 'k':
                        ret_options->check = true;
                        break;
                case 'v':
                        puts("poold " POOLD_VERSION);
                        return 1;
                case 'h':
                        fputs(usage, stdout);
                        return 1;
                default:
                        fputs(usage, stderr);
                        *ret_status = EX_USAGE;
                        return 1;
                }
        if (optind < argc) {
                fprintf(stderr, "poold: unexpected argument '%s'\n%s", argv[optind], usage);
                *ret_status = EX_USAGE;
                return 1;
        }
        return 0;
}

/* Where a program of ours is: beside us, as in the build folder, else where it was installed. NULL: no memory. */
static char *find_program(const char *name) {
        char self[4096], *path = NULL;
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (n > 0) {
                char *slash;

                self[n] = '\0';
                slash = strrchr(self, '/');
                *slash = '\0';
                if (asprintf(&path, "%s/%s", self, name) < 0)
                        return NULL;
                if (access(path, F_OK) == 0)
                        return path;
                free(path);
        }
        return asprintf(&path, "%s/%s", POOLD_LIBEXECDIR, name) < 0 ? NULL : path;
}

struct signals {
        struct server *server;
        int fd;
};

static void on_signal(void *data, unsigned events) {
        const struct signals *signals = data;
        struct signalfd_siginfo info;

        (void)events;
        while (read(signals->fd, &info, sizeof(info)) == sizeof(info))
                if (info.ssi_signo == SIGHUP)
                        server_reload(signals->server);
                else
                        server_drain(signals->server, false);
}

/* Blocks the signals that are for us, to be read from an fd that the caller owns. Returns it or negative errno. */
static int catch_signals(void) {
        sigset_t ours;
        int fd;

        signal(SIGPIPE, SIG_IGN);
        signal(SIGCHLD, SIG_DFL); /* ignored, as our parent may have had it, the kernel would reap our workers */
        sigemptyset(&ours);
        sigaddset(&ours, SIGHUP);
        sigaddset(&ours, SIGTERM);
        sigaddset(&ours, SIGINT);
        sigprocmask(SIG_BLOCK, &ours, NULL);
        fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

/*
 * Each run in flight takes some fds of ours, and what a client sends must never find no room. Workers start with the
 * same, and have the client's limits from the handoff on.
 */
static void raise_fd_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FD_LIMIT)
                return;
        limit.rlim_cur = limit.rlim_max < FD_LIMIT ? limit.rlim_max : FD_LIMIT;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                log_warn("cannot raise the limit on open files: %s", strerror(errno));
}

/* The numbers below 3 are never anything else: what is logged must not get into a socket or the lock file. */
static int open_standard_fds(void) {
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd < 0)
                return -errno;
        fd_close(fd);
        return 0;
}

/* Serves at @listener (taken) until told to stop. Returns 0 or negative errno. */
static int serve(struct loop *loop, const struct server_settings *settings, struct listener *listener,
                 int signal_fd) {
        struct signals signals = { .fd = signal_fd };
        struct loop_source *source;
        int r;

        r = server_new(loop, settings, listener, &signals.server);
        if (r < 0)
                return r;
        source = loop_add_fd(loop, signal_fd, LOOP_READ, on_signal, &signals);
        if (source) {
                log_info("poold " POOLD_VERSION " pid=%d listens at %s", getpid(), listener_path(listener));
                systemd_notify(settings->systemd, "READY=1");
                r = loop_run(loop);
        }
        loop_source_free(source);
        server_free(signals.server);
        return source ? r : -ENOMEM;
}

/* Returns 0 or negative errno; what is wrong has been logged. */
static int run(struct config *config, const char *config_path, const struct programs *programs) {
        _cleanup_fd_ int signal_fd = catch_signals();
        struct systemd systemd = { 0 };
        struct server_settings settings = {
                .config = config,
                .config_path = config_path,
                .programs = programs,
                .systemd = &systemd,
        };
        struct listener *listener;
        struct loop *loop;
        int r;

        r = systemd_init(&systemd);
        if (r < 0)
                log_warn("cannot tell systemd anything, $NOTIFY_SOCKET: %s", strerror(-r));
        r = listener_new(config->socket, &listener);
        if (r < 0)
                return r; /* logged there */
        settings.groups = groups_new("/sys/fs/cgroup");
        settings.may_be_nice = niceness_can_be_undone();
        if (!settings.may_be_nice)
                log_info("workers warm up without niceness, which without RLIMIT_NICE could not be taken back");
        loop = settings.groups ? loop_new() : NULL;
        if (loop && signal_fd >= 0)
                r = serve(loop, &settings, listener, signal_fd);
        else
                listener_free(listener);
        if (!loop || signal_fd < 0 || r < 0)
                log_err("stopped: %s", strerror(r < 0 ? -r : signal_fd < 0 ? -signal_fd : ENOMEM));
        loop_free(loop);
        groups_free(settings.groups);
        return !loop ? -ENOMEM : signal_fd < 0 ? signal_fd : r;
}

int main(int argc, char **argv) {
        struct config *config = NULL;
        char *errors = NULL;
        struct programs programs;
        struct options options;
        int r, status;

        if (parse_options(argc, argv, &options, &status))
                return status;
        log_init(LOG_LEVEL_INFO);
        r = config_load(options.config_path, &config, &errors);
        if (r == CONFIG_INVALID) {
                log_plain(LOG_LEVEL_ERR, errors);
                free(errors);
                return EX_CONFIG;
        }
        if (r < 0) {
                log_err("cannot read the configuration: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        if (options.check) {
                printf("%s: no errors\n", config->file ? config->file : "built-in defaults");
                config_unref(config);
                return EXIT_SUCCESS;
        }

        log_init(config->log_level);
        r = open_standard_fds();
        if (r < 0)
                return EXIT_FAILURE; /* with nowhere to say so */
        raise_fd_limit();
        mallopt(M_ARENA_MAX, 1);              /* the thread that reloads needs none of its own */
        mallopt(M_MMAP_THRESHOLD, 128 << 10); /* else what one huge environment takes is kept for ever */
        programs = (struct programs){
                .keeper = find_program("poold-keeper"),
                .script = find_program("worker.py"),
        };
        r = programs.keeper && programs.script ? run(config, options.config_path, &programs) : -ENOMEM;
        free(programs.keeper);
        free(programs.script);
        config_unref(config);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
