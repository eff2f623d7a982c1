#include "cmd_start.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absolute.h"
#include "child.h"
#include "clock.h"
#include "connect.h"
#include "daemon.h"
#include "lib/fd.h"
#include "lib/sock.h"
#include "log_file.h"
#include "say.h"
#include "user_manager.h"

#define ANSWER_USEC (5 * USEC_PER_SEC)
#define READY_USEC (30 * USEC_PER_SEC)
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* Positive result of look_for_poold(), beside MISS. */
enum {
        FAILED = 2,
};

/* Asks who listens where clients look. Returns 0 and its pid, or FAILED, having said why. */
static int ask(struct channel *channel, int *ret_pid) {
        _cleanup_message_ struct message message;
        struct proto_status_head head;
        int r;

        fdset_init(&message.fds);
        connect_ask(channel, PROTO_STATUS, 0); /* if it fails, so does the answer */
        r = connect_receive(channel, clock_now_usec() + ANSWER_USEC, &message);
        if (r || message.type != PROTO_STATUS_HEAD || proto_get_status_head(&message.payload, &head) < 0) {
                connect_complain(r, &message);
                return FAILED;
        }
        if (strcmp(head.state, "stopping") == 0) {
                say("poold, pid %u, is about to end; `poolctl stop` returns when it has", head.pid);
                return FAILED;
        }
        *ret_pid = (int)head.pid;
        return 0;
}

/* Returns 0 and the pid of the poold that serves us, MISS if none does, or FAILED, having said why. */
static int look_for_poold(int *ret_pid) {
        _cleanup_miss_ struct miss miss = { 0 };
        struct channel *channel;
        int r;

        if (connect_poold(&channel, &miss)) {
                if (miss.reason && strcmp(miss.reason, "absent") == 0)
                        return MISS;
                say("%s", miss_text(&miss));
                return FAILED;
        }
        r = ask(channel, ret_pid);
        channel_free(channel);
        return r;
}

static int show_running(int pid) {
        printf("poold is running already, pid %d\n", pid);
        return 0;
}

/* It has said that it is ready: can it be reached from here, too? Returns the exit status. */
static int confirm(const char *log) {
        char path[SOCK_PATH_BYTES];
        int r, pid;

        r = look_for_poold(&pid);
        if (r == 0)
                printf("poold is ready, pid %d; its log: %s\n", pid, log);
        else if (r == MISS && sock_client_path(path) == 0)
                say("poold was started, but listens elsewhere than at %s: look at `socket` in its configuration, "
                    "and "
                    "at POOLD_SOCKET and XDG_RUNTIME_DIR here; its log: %s",
                    path, log);
        return r ? EXIT_FAILED : 0;
}

static int start_by_manager(const struct user_manager *manager) {
        int r, pid;

        /* systemd would take the socket away from one that was started otherwise. */
        r = manager->is_socket_active ? MISS : look_for_poold(&pid);
        if (r == 0)
                return show_running(pid);
        if (r == FAILED)
                return EXIT_FAILED;
        r = user_manager_start(manager);
        if (r == 0)
                return confirm("journalctl --user -u poold");
        if (r < 0)
                say("cannot run systemctl: %s", strerror(-r));
        else
                say("systemd could not start poold; `journalctl --user -u poold` shows why, `poold --check` what "
                    "is "
                    "wrong with its configuration");
        return EXIT_FAILED;
}

static int complain_of_end(int wait_status, const struct log_file *log) {
        size_t n_shown = log_file_show(log);
        const char *about = n_shown > 0 ? "as its log says above" : "and its log says nothing";

        if (WIFSIGNALED(wait_status))
                say("poold was killed by signal %d (%s), %s: %s", WTERMSIG(wait_status),
                    strsignal(WTERMSIG(wait_status)), about, log->path);
        else
                say("poold ended with status %d, %s: %s", WEXITSTATUS(wait_status), about, log->path);
        return EXIT_FAILED;
}

static int start_daemon(const char *config, const struct log_file *log) {
        _cleanup_child_ struct child child = { .pidfd = -1 };
        int r, wait_status;

        r = daemon_start(config, log->fd, clock_now_usec() + READY_USEC, &child, &wait_status);
        if (r == DAEMON_ENDED)
                return complain_of_end(wait_status, log);
        if (r < 0) {
                say("cannot start poold: %s; it must be beside poolctl or in PATH", strerror(-r));
                return EXIT_FAILED;
        }
        if (r == DAEMON_SILENT) {
                log_file_show(log);
                say("poold, pid %d, is not ready after %d s; its log: %s", child.pid,
                    (int)(READY_USEC / USEC_PER_SEC), log->path);
                return EXIT_FAILED;
        }
        return confirm(log->path);
}

static int start_in_background(const char *config) {
        _cleanup_log_file_ struct log_file log = { .lock = -1, .fd = -1 };
        int r, pid;

        r = look_for_poold(&pid); /* one that runs needs no log of ours */
        if (r == MISS && log_file_open(&log) < 0)
                return EXIT_FAILED;
        /* Another `start` may have had the lock before us. */
        if (r == MISS)
                r = look_for_poold(&pid);
        if (r == 0)
                return show_running(pid);
        return r == MISS ? start_daemon(config, &log) : EXIT_FAILED;
}

/* Do clients look where the units' poold listens? */
static bool is_default_socket(void) {
        char ours[SOCK_PATH_BYTES], *usual = NULL;
        bool is_usual = sock_client_path(ours) == 0 && sock_default_path(&usual) == 0 && strcmp(ours, usual) == 0;

        free(usual);
        return is_usual;
}

static int start(const char *config) {
        struct user_manager manager = { 0 };

        if (is_default_socket())
                user_manager_ask(&manager);
        if (manager.is_active)
                return show_running(manager.pid);
        if (manager.has_service && !config)
                return start_by_manager(&manager);
        if (!manager.is_socket_active)
                return start_in_background(config);
        say("systemd holds poold's socket, and starts poold with its own configuration: without --config and "
            "POOLD_CONFIG, `poolctl start` has it do so; for one of your own first "
            "`systemctl --user stop poold.socket`");
        return EXIT_FAILED;
}

/* Returns 0 or the exit status. *ret_config may stay NULL. */
static int parse(char **argv, const char **ret_config) {
        *ret_config = getenv("POOLD_CONFIG");
        while (*++argv) {
                if (strncmp(*argv, "--config=", 9) == 0) {
                        *ret_config = *argv + 9;
                } else if (strcmp(*argv, "--config") == 0 && argv[1]) {
                        *ret_config = *++argv;
                } else {
                        say("'%s' is %s; usage: poolctl start [--config FILE]", *argv,
                            strcmp(*argv, "--config") == 0 ? "nothing without a file" : "no option of start");
                        return EXIT_USAGE;
                }
        }
        if (*ret_config && !(*ret_config)[0])
                *ret_config = NULL;
        return 0;
}

int cmd_start(char **argv) {
        const char *config;
        char *path = NULL;
        int r;

        r = parse(argv, &config);
        if (r)
                return r;
        if (config) {
                path = absolute(config); /* poold does not run in our folder */
                if (!path) {
                        say("cannot find %s: %s", config, strerror(errno));
                        return EXIT_FAILED;
                }
        }
        fd_close_from(STDERR_FILENO + 1); /* what we were started with is nothing for poold */
        r = start(path);
        free(path);
        return r;
}
