#include "cmd_suggest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absolute.h"
#include "child.h"
#include "clock.h"
#include "fallback.h"
#include "import_times.h"
#include "lib/fd.h"
#include "lib/pyargs.h"
#include "say.h"

#define LEAST_USEC (5 * USEC_PER_MS) /* what a pool is not worth having for */
#define LEAST_SHARE 50               /* one in so many, of the time of all imports */
#define LINE_LENGTH 80
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* Its own path, then which of the modules that are named a python does not find that starts in another folder. */
static const char find_modules[] = /* clang-format off */
        "import sys\n"
        "from importlib.util import find_spec\n"
        "print(sys.executable)\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        found = find_spec(name)\n"
        "    except Exception:\n"
        "        found = None\n"
        "    if found is None:\n"
        "        print(name)\n"; /* clang-format on */

struct measurement {
        const char *python;
        char **args; /* python's own, without its options that we add */
        struct import_times times;
        int64_t wall_usec;
        int wait_status;
        char *found; /* what find_modules said: lines, each with a newline before and behind it */
};

static void pass(const char *data, size_t n, void *user) {
        ssize_t written;

        (void)user;
        for (; n > 0; data += written, n -= (size_t)written) {
                written = write(STDERR_FILENO, data, n);
                if (written < 0 && errno != EINTR)
                        return;
                if (written < 0)
                        written = 0;
        }
}

/* Reads what is there. Returns 1, 0 at the end of file or if there is nothing now, or negative errno. */
static int take_some(int fd, struct import_times *times) {
        char buffer[65536];
        ssize_t n = read(fd, buffer, sizeof(buffer));
        int r;

        if (n < 0 && errno == EINTR)
                return 1;
        if (n <= 0)
                return n == 0 || errno == EAGAIN ? 0 : -errno;
        r = import_times_take(times, buffer, (size_t)n, pass, NULL);
        return r < 0 ? r : 1;
}

/* Until the script has ended: others may hold its standard error longer. Returns 0 or negative errno. */
static int follow(int fd, struct child *child, struct import_times *times) {
        struct pollfd pollfds[] = { { .fd = child->pidfd, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
        int r;

        do {
                if (poll(pollfds, 2, -1) < 0 && errno != EINTR)
                        return -errno;
                r = pollfds[1].revents ? take_some(fd, times) : 1;
                if (r == 0 && pollfds[1].revents & POLLHUP)
                        pollfds[1].fd = -1;
        } while (r >= 0 && !pollfds[0].revents);
        while (r > 0)
                r = take_some(fd, times);
        return r < 0 ? r : import_times_take(times, "", 0, pass, NULL);
}

/* Python's own argv: @args behind the option that measures. A new list, or NULL. */
static char **make_argv(const char *python, char **args) {
        size_t n = 0;
        char **argv;

        while (args[n])
                n++;
        argv = calloc(n + 4, sizeof(*argv));
        if (!argv)
                return NULL;
        argv[0] = (char *)python;
        argv[1] = (char *)"-X"; /* the variable PYTHONPROFILEIMPORTTIME would be inherited */
        argv[2] = (char *)"importtime";
        memcpy(argv + 3, args, n * sizeof(*args));
        return argv;
}

/* Runs the script to its end. Returns 0 or negative errno. */
static int measure(struct measurement *measurement, int read_end, int write_end) {
        struct child_how how = { .file = measurement->python, .fds = { -1, -1, write_end } };
        _cleanup_child_ struct child child = { .pidfd = -1 };
        char **argv = make_argv(measurement->python, measurement->args);
        int64_t begin = clock_now_usec();
        int r;

        if (!argv)
                return -ENOMEM;
        how.argv = argv;
        r = child_start(&how, &child);
        free(argv);
        fd_close(write_end);
        if (r < 0)
                return r;
        signal(SIGINT, SIG_IGN); /* Ctrl-C is for the script; what it has imported by then is what we tell of */
        signal(SIGQUIT, SIG_IGN);
        r = follow(read_end, &child, &measurement->times);
        measurement->wall_usec = clock_now_usec() - begin;
        if (r == 0)
                r = measurement->wait_status = child_wait(&child);
        return r < 0 ? r : 0;
}

/* The package that a module is in, a new string, or NULL. */
static char *package_of(const char *module) {
        return strndup(module, strcspn(module, "."));
}

/* Asks python which packages it does not find from another folder. Returns 0 or negative errno. */
static int find_local(struct measurement *measurement) {
        _cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const struct import_times *times = &measurement->times;
        struct child_how how = { .file = measurement->python, .fds = { null, -1, null }, .cwd = "/" };
        char **argv = calloc(times->n_entries + 4, sizeof(*argv)), *output = NULL;
        size_t n = 0;
        int r = 0;

        if (!argv)
                return -ENOMEM;
        argv[n++] = (char *)measurement->python;
        argv[n++] = (char *)"-c";
        argv[n++] = (char *)find_modules;
        for (size_t i = 0; i < times->n_entries && r == 0; i++)
                if (times->entries[i].usec >= LEAST_USEC && !(argv[n++] = package_of(times->entries[i].name)))
                        r = -ENOMEM;
        how.argv = argv;
        if (r == 0)
                r = child_output(&how, &output);
        if (r == 0 && asprintf(&measurement->found, "\n%s", output) < 0)
                r = -ENOMEM;
        else if (r > 0)
                r = -ECHILD;
        while (n-- > 3)
                free(argv[n]);
        free(argv);
        free(output);
        return r;
}

static bool is_local(const char *module, void *user) {
        const struct measurement *measurement = user;
        size_t length = strcspn(module, ".");

        for (const char *at = measurement->found; (at = memmem(at, strlen(at), module, length)); at++)
                if (at[-1] == '\n' && at[length] == '\n')
                        return true;
        return false;
}

static void print_seconds(int64_t usec) {
        printf("%.*f s", usec < 100 * USEC_PER_MS ? 3 : 2, (double)usec / USEC_PER_SEC);
}

static void print_run(const struct measurement *measurement, uint64_t imports_usec) {
        fputs("The run took ", stdout);
        print_seconds(measurement->wall_usec);
        fputs(", of which its imports ", stdout);
        print_seconds((int64_t)imports_usec);
        puts(".");
}

static void print_local(const struct import_choice *choice) {
        fputs("Not proposed: ", stdout);
        printf("%s (", choice->name);
        print_seconds((int64_t)choice->usec);
        puts("), which python3 does not find by itself. It may be listed, too, if the pool's `path` names its "
             "folder.");
}

/* Those options that a pool's workers must have been started with. */
static void print_options(char *const *args) {
        struct pyargs_cursor cursor = { 0 };
        struct pyargs_option option;
        bool any = false;
        int n = 0;

        while (args[n])
                n++;
        while (pyargs_next(args, n, &cursor, &option) > 0)
                if (pyargs_is_start(&option)) {
                        printf("%s-%c%s", any ? " " : "options = ", option.letter, option.argument);
                        any = true;
                }
        if (any)
                puts("");
}

static void print_saved(const struct measurement *measurement, uint64_t saved_usec) {
        fputs("; saves ", stdout);
        print_seconds((int64_t)saved_usec);
        fputs(" of ", stdout);
        print_seconds(measurement->wall_usec);
        puts("");
}

/* `modules = a, b   ; saves`, or with a line for each where that would be long. */
static void print_modules(const struct measurement *measurement, const struct import_choice *choices,
                          size_t n_choices) {
        const char *separator = "";
        uint64_t saved_usec = 0;
        size_t length = 0;

        for (size_t i = 0; i < n_choices; i++)
                if (!choices[i].is_local) {
                        saved_usec += choices[i].usec;
                        length += strlen(choices[i].name) + 2;
                }
        fputs(length > LINE_LENGTH ? "modules =    " : "modules = ", stdout);
        if (length > LINE_LENGTH)
                print_saved(measurement, saved_usec);
        for (size_t i = 0; i < n_choices; i++) {
                if (choices[i].is_local)
                        continue;
                if (length > LINE_LENGTH)
                        printf("    %s\n", choices[i].name);
                else
                        printf("%s%s", separator, choices[i].name);
                separator = ", ";
        }
        if (length <= LINE_LENGTH) {
                fputs("    ", stdout);
                print_saved(measurement, saved_usec);
        }
}

/* Unless it is that of pools which name none. */
static void print_python(const struct measurement *measurement) {
        const char *python = measurement->found + 1;
        size_t length = strcspn(python, "\n");

        if (length != strlen(POOLD_PYTHON) || memcmp(python, POOLD_PYTHON, length) != 0)
                printf("python = %.*s\n", (int)length, python);
}

static void print_choices(const struct measurement *measurement, const struct import_choice *choices,
                          size_t n_choices) {
        size_t n_proposed = 0;

        for (size_t i = 0; i < n_choices; i++)
                if (!choices[i].is_local) {
                        n_proposed++;
                        fputs("    ", stdout);
                        print_seconds((int64_t)choices[i].usec);
                        printf("  %s\n", choices[i].name);
                }
        for (size_t i = 0; i < n_choices; i++)
                if (choices[i].is_local)
                        print_local(&choices[i]);
        if (n_proposed == 0) {
                puts("No module that a pool could have imported takes long.");
                return;
        }
        puts("\n[pool:default]");
        print_python(measurement);
        print_options(measurement->args);
        print_modules(measurement, choices, n_choices);
}

static int report(struct measurement *measurement) {
        uint64_t total_usec = import_times_total(&measurement->times);
        uint64_t least_usec = total_usec / LEAST_SHARE > LEAST_USEC ? total_usec / LEAST_SHARE : LEAST_USEC;
        struct import_choice *choices = NULL;
        size_t n_choices = 0;
        int r;

        r = find_local(measurement);
        if (r == 0)
                r = import_times_choose(&measurement->times, least_usec, is_local, measurement, &choices,
                                        &n_choices);
        if (r < 0) {
                say("cannot find out what %s would import: %s", measurement->python, strerror(-r));
                return EXIT_FAILED;
        }
        print_run(measurement, total_usec);
        print_choices(measurement, choices, n_choices);
        free(choices);
        return 0;
}

/* That the script failed is no failure of ours, but what it would have imported then is missing. */
static void tell_of_end(int wait_status) {
        if (WIFSIGNALED(wait_status))
                say("the script was killed by signal %d (%s): what it had imported until then counts",
                    WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
        else if (WEXITSTATUS(wait_status))
                say("the script ended with status %d: what it had imported until then counts",
                    WEXITSTATUS(wait_status));
}

static int suggest(const char *python, char **args) {
        struct measurement measurement = { .python = python, .args = args };
        int pipe_fds[2], r;

        unsetenv("PYTHONDONTWRITEBYTECODE"); /* a pool does not compile each time, either */
        unsetenv("PYTHONPROFILEIMPORTTIME");
        r = pipe2(pipe_fds, O_CLOEXEC) < 0 ? -errno : 0;
        if (r == 0) {
                fd_set_nonblock(pipe_fds[0], true);
                r = measure(&measurement, pipe_fds[0], pipe_fds[1]);
                fd_close(pipe_fds[0]);
        }
        if (r == 0) {
                tell_of_end(measurement.wait_status);
                r = report(&measurement);
        } else {
                say("cannot run %s: %s", python, strerror(-r));
                r = EXIT_FAILED;
        }
        import_times_fini(&measurement.times);
        free(measurement.found);
        return r;
}

/* The interpreter that is asked for, its path absolute, or that of a fallback: a new string. NULL, having said why. */
static char *find_python(const char *asked) {
        char path[PATH_MAX], *python;
        const char *name = asked;

        if (!asked)
                name = fallback_find(&(struct miss){ 0 }, path);
        if (!name) {
                say("there is no python3: neither %s nor that of an activated environment; name one with --python",
                    POOLD_PYTHON);
                return NULL;
        }
        python = strchr(name, '/') ? absolute(name) : strdup(name);
        if (!python)
                say("cannot find %s: %s", name, strerror(errno));
        return python;
}

int cmd_suggest(char **argv) {
        const char *asked = NULL;
        char **args = argv + 1, *python;
        int r;

        if (args[0] && strncmp(args[0], "--python=", 9) == 0) {
                asked = *args++ + 9;
        } else if (args[0] && strcmp(args[0], "--python") == 0 && args[1]) {
                asked = args[1];
                args += 2;
        }
        if (args[0] && strcmp(args[0], "--") == 0)
                args++;
        if (!args[0] || strncmp(args[0], "--", 2) == 0) {
                say("which script? usage: poolctl suggest [--python FILE] PYTHON-ARGS...");
                return EXIT_USAGE;
        }
        python = find_python(asked);
        if (!python)
                return EXIT_FAILED;
        r = suggest(python, args);
        free(python);
        return r;
}
