/* Which command is it? Nothing here costs `run`, which is the reason for poolctl, more than a few comparisons. */

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd_explain.h"
#include "cmd_kill.h"
#include "cmd_ps.h"
#include "cmd_reload.h"
#include "cmd_run.h"
#include "cmd_start.h"
#include "cmd_status.h"
#include "cmd_stop.h"
#include "cmd_suggest.h"
#include "say.h"

#define EXIT_USAGE 2

static const char help[] =
        "usage: poolctl COMMAND [ARGUMENTS]\n"
        "       poolpython PYTHON-ARGS...\n"
        "\n"
        "Runs Python scripts in interpreters that poold keeps warm.\n"
        "\n"
        "  run [--pool NAME] [--no-fallback] [--tty=MODE] [-v] [--] PYTHON-ARGS...\n"
        "               as python3 PYTHON-ARGS... The first argument that is none of the\n"
        "               options shown is python's, and so are all behind it\n"
        "      --pool NAME    by a worker of this pool (else $POOLD_POOL, else the first\n"
        "                     pool that fits)\n"
        "      --no-fallback  fail with status 125 rather than start python3 itself\n"
        "      --tty=MODE     auto, the default: a script on a terminal has one of its own, with\n"
        "                     job control; direct: it has our terminal as it is;\n"
        "                     pty: as auto, and also if only /dev/tty is a terminal\n"
        "      -v             say who runs the script, and why if it is python3 itself\n"
        "  explain [--pool NAME] PYTHON-ARGS...\n"
        "                     how this run would be served, and if not by a warm worker,\n"
        "                     why: status 0 if it would be, 1 if python3 itself would run it\n"
        "  status [--pool NAME] [--json] [--watch [SECONDS]]\n"
        "                     the pools; or one of them, with its workers and the whole of its\n"
        "                     last error. --watch shows them anew every 2 seconds, or so many\n"
        "  ps [--json]        the scripts that workers run\n"
        "  kill [-s SIGNAL] PID...\n"
        "                     send SIGTERM, or another signal, to scripts that ps lists, and to\n"
        "                     their process groups\n"
        "  reload             poold reads its configuration again: pools that are not\n"
        "                     changed keep their workers, and running scripts go on\n"
        "  start [--config FILE]\n"
        "                     start poold unless it runs, and return when it serves: by\n"
        "                     systemd where it has poold's units, else in the background,\n"
        "                     with a log in ~/.local/state/poold\n"
        "  stop [--now]       end poold once running scripts have ended, or them too;\n"
        "                     returns when poold has ended\n"
        "  suggest [--python FILE] PYTHON-ARGS...\n"
        "                     run this by python3, and print which of its imports a pool\n"
        "                     should have done, and what that saves\n"
        "  version            poolctl's version, as --version\n"
        "\n"
        "poolpython is `poolctl run` where a python is expected: all arguments are python's.\n"
        "POOLD_SOCKET is where poold listens; POOLD_DISABLE=1 always runs python3 itself.\n";

static int cmd_help(char **argv) {
        (void)argv;
        fputs(help, stdout);
        return 0;
}

static int cmd_version(char **argv) {
        (void)argv;
        puts("poolctl " POOLD_VERSION);
        return 0;
}

static const struct {
        const char *name;
        int (*run)(char **argv);
} commands[] = {
        { "run", cmd_run },       { "explain", cmd_explain }, { "status", cmd_status },
        { "reload", cmd_reload }, { "stop", cmd_stop },       { "ps", cmd_ps },
        { "kill", cmd_kill },     { "version", cmd_version }, { "--version", cmd_version },
        { "--help", cmd_help },   { "-h", cmd_help },         { "help", cmd_help },
        { "start", cmd_start },   { "suggest", cmd_suggest },
};

static const char *base_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static bool names_python(const char *name) {
        return strncmp(name, "poolpython", 10) == 0 || strncmp(name, "python", 6) == 0;
}

/*
 * As poolpython, and as any python that somebody has linked to it. Who starts a program may call it what they like
 * (subprocess.Popen's `executable`, a link): then the name counts that poolpython was installed under.
 */
static bool is_python(const char *argv0) {
        const char *name = base_name(argv0);
        char file[PATH_MAX];
        ssize_t length;

        if (names_python(name) || strcmp(name, "poolctl") == 0)
                return names_python(name);
        length = readlink("/proc/self/exe", file, sizeof(file) - 1);
        file[length < 0 ? 0 : length] = '\0';
        return names_python(base_name(file));
}

/* What was printed must have been written: a full disk is a failure. */
static int finish(int status) {
        if (fflush(stdout) == 0)
                return status;
        say("cannot write to standard output: %s", strerror(errno));
        return 1;
}

int main(int argc, char **argv) {
        if (argc > 0 && is_python(argv[0]))
                return cmd_run_python(argv);
        if (argc < 2) {
                say("which command? `poolctl --help` lists them");
                return EXIT_USAGE;
        }
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
                if (strcmp(argv[1], commands[i].name) == 0)
                        return finish(commands[i].run(argv + 1));
        say("'%s' is no command; `poolctl --help` lists them, `poolctl run %s` runs it with python", argv[1],
            argv[1]);
        return EXIT_USAGE;
}
