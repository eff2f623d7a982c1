#include "interpreter.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/fd.h"

#define PROBE_TIMEOUT_MS 20000 /* a folder of the network's may have to be mounted first */

/* The interpreter's answer begins behind this: whatever is imported at its start may have printed something. */
#define MARK "poold-probe"

/*
 * A conda environment has that folder. Whether there is a GIL is asked of the build: without it, objects look
 * different, and the limited API that the host is written against does not hold.
 */
static const char question[] =
        "import os, sys\n"
        "prefix = sys.prefix\n"
        "is_environment = prefix != sys.base_prefix or os.path.isdir(prefix + '/conda-meta')\n"
        "version = sys.version_info[:2]\n"
        "answer = ['" MARK "', sys.implementation.name, '%d.%d' % version,\n"
        "          '1' if (3, 9) <= version < (4,) else '',\n"
        "          't' if 't' in sys.abiflags else '', '1' if is_environment else '', prefix,\n"
        "          os.path.realpath(sys.executable)]\n"
        "os.write(1, b'\\0'.join(map(os.fsencode, answer)) + b'\\0')\n";

enum {
        ANSWER_MARK,
        ANSWER_NAME,
        ANSWER_VERSION,
        ANSWER_IS_RECENT,
        ANSWER_FREE_THREADED,
        ANSWER_IS_ENVIRONMENT,
        ANSWER_PREFIX,
        ANSWER_REAL_PATH,
        N_ANSWERS,
};

struct answer {
        char data[2 * PATH_MAX + 4096];
        size_t n_bytes;
        const char *fields[N_ANSWERS];
};

__attribute__((format(printf, 2, 3))) static int unfit(char *ret_problem, const char *format, ...) {
        va_list list;

        va_start(list, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
        vsnprintf(ret_problem, INTERPRETER_PROBLEM_BYTES, format, list);
        va_end(list);
        return INTERPRETER_UNFIT;
}

/* Returns 0, or the error of posix_spawn(3). @output (borrowed) becomes its standard output. */
static int start(const char *path, int output, pid_t *ret_pid) {
        char *const argv[] = { (char *)path, (char *)"-I", (char *)"-c", (char *)question, NULL };
        posix_spawn_file_actions_t actions;
        int r;

        posix_spawn_file_actions_init(&actions);
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn(ret_pid, path, &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        return r;
}

static int64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads what fits until the end, or until it takes too long: then returns false. */
static bool receive(int fd, struct answer *answer) {
        const int64_t deadline_ms = now_ms() + PROBE_TIMEOUT_MS;

        while (answer->n_bytes < sizeof(answer->data) - 1) {
                struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
                int64_t left_ms = deadline_ms - now_ms();
                ssize_t n = -1;

                if (left_ms > 0 && poll(&poll_fd, 1, (int)left_ms) > 0)
                        n = read(fd, answer->data + answer->n_bytes, sizeof(answer->data) - 1 - answer->n_bytes);
                else if (left_ms <= 0)
                        return false;
                if (n == 0)
                        break;
                answer->n_bytes += n > 0 ? (size_t)n : 0;
        }
        return true;
}

static bool parse(struct answer *answer) {
        const char *end = answer->data + answer->n_bytes;
        const char *at = memmem(answer->data, answer->n_bytes, MARK, sizeof(MARK));

        for (size_t i = 0; i < N_ANSWERS; i++) {
                const char *zero = at ? memchr(at, 0, (size_t)(end - at)) : NULL;

                if (!zero)
                        return false;
                answer->fields[i] = at;
                at = zero + 1;
        }
        return true;
}

static int judge(const struct answer *answer, const char *real_path, char *ret_problem) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): parse() has set them all */
        if (strcmp(answer->fields[ANSWER_NAME], "cpython") != 0)
                return unfit(ret_problem, "is a %.40s, and workers have to be a CPython",
                             answer->fields[ANSWER_NAME]);
        if (!answer->fields[ANSWER_IS_RECENT][0])
                return unfit(ret_problem, "is a CPython %.20s, and workers need 3.9 or later",
                             answer->fields[ANSWER_VERSION]);
        if (answer->fields[ANSWER_FREE_THREADED][0])
                return unfit(ret_problem, "is a free-threaded CPython, and workers need one with a GIL");
        if (strcmp(answer->fields[ANSWER_REAL_PATH], real_path) != 0)
                return unfit(ret_problem, "only starts another python, which is to be named here: %.150s",
                             answer->fields[ANSWER_REAL_PATH]);
        return 0;
}

/* Asks the interpreter. Returns 0, INTERPRETER_UNFIT or negative errno. */
static int ask(const char *path, struct answer *answer, char *ret_problem) {
        _cleanup_fd_ int ours = -1, theirs = -1;
        int r, pipe_fds[2];
        bool in_time;
        pid_t pid;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        ours = pipe_fds[0];
        theirs = pipe_fds[1];
        r = start(path, theirs, &pid);
        if (r)
                return unfit(ret_problem, "cannot be run: %s", strerror(r));
        fd_close(fd_steal(&theirs));
        in_time = receive(ours, answer);
        if (!in_time)
                kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        if (!in_time)
                return unfit(ret_problem, "has not answered within %d seconds", PROBE_TIMEOUT_MS / 1000);
        return parse(answer) ? 0 : unfit(ret_problem, "is no CPython 3.9 or later");
}

int interpreter_probe(const char *path, struct interpreter *ret_interpreter,
                      char ret_problem[INTERPRETER_PROBLEM_BYTES]) {
        struct answer answer = { .n_bytes = 0 };
        char real_path[PATH_MAX];
        int r;

        if (!realpath(path, real_path))
                return unfit(ret_problem, "cannot be run: %s", strerror(errno));
        r = ask(path, &answer, ret_problem);
        if (r == 0)
                r = judge(&answer, real_path, ret_problem);
        if (r)
                return r;
        *ret_interpreter = (struct interpreter){
                .path = strdup(path),
                .real_path = strdup(real_path),
                .prefix = strdup(answer.fields[ANSWER_PREFIX]),
                .is_environment = answer.fields[ANSWER_IS_ENVIRONMENT][0],
        };
        if (ret_interpreter->path && ret_interpreter->real_path && ret_interpreter->prefix)
                return 0;
        interpreter_fini(ret_interpreter);
        return -ENOMEM;
}

void interpreter_fini(struct interpreter *interpreter) {
        free(interpreter->path);
        free(interpreter->real_path);
        free(interpreter->prefix);
        *interpreter = (struct interpreter){ 0 };
}

static size_t length_without_slashes(const char *folder) {
        size_t length = strlen(folder);

        while (length > 1 && folder[length - 1] == '/')
                length--;
        return length;
}

/* Is @path in "@folder/bin"? */
static bool is_below(const char *path, const char *folder, size_t n_folder) {
        const char *rest = path + n_folder;

        return strncmp(path, folder, n_folder) == 0 && strncmp(rest, "/bin/", 5) == 0 && !strchr(rest + 5, '/');
}

/* What the shell has and what the configuration has may be different ways to the same folder; that is a miss. */
bool interpreter_is_of(const struct interpreter *interpreter, const char *folder) {
        size_t length = length_without_slashes(folder);

        return is_below(interpreter->path, folder, length) ||
               (strncmp(interpreter->prefix, folder, length) == 0 && !interpreter->prefix[length]);
}

bool interpreter_is_same(const struct interpreter *a, const struct interpreter *b) {
        return !a->is_environment && !b->is_environment && strcmp(a->real_path, b->real_path) == 0;
}
