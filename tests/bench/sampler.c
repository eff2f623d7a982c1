/*
 * Runs commands and takes the time, with no more in between than the kernel: posix_spawn(3), which does not copy this
 * process, a read, a wait. bench.py decides what is run when, and asleep while it runs reads the answer.
 *
 *     sampler [terminal]
 *
 * A line of standard input is a request, its words separated by tabs. A line of JSON answers it.
 *
 *     row COUNT PAUSE_USEC COMMAND...               one after the other, each after a pause
 *     crowd COUNT AT_ONCE USEC COMMAND...           so many at once, until COUNT are started or USEC have passed
 *
 * The answer has a list for each run, [start, first output, end, exit status, CPU time of the process]: nanoseconds of
 * CLOCK_MONOTONIC; 0 is no output. Standard input is /dev/null and output a pipe; of a crowd it is /dev/null as well.
 * With `terminal` the commands are a shell's jobs, in the foreground of a terminal of ours.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS 256
#define LINE_BYTES (64 << 10)

extern char **environ;

struct sample {
        uint64_t start, first, end, cpu; /* nanoseconds */
        pid_t pid;                       /* while it runs, else 0 */
        int status;
};

struct sampler {
        int master, slave; /* of the terminal, -1 without one */
        struct sample *samples;
        size_t n_samples;
};

static _Noreturn void die(const char *what) {
        fprintf(stderr, "sampler: %s: %s\n", what, strerror(errno));
        exit(1);
}

static uint64_t now(void) {
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void pause_usec(unsigned long usec) {
        struct timespec time = { .tv_sec = (time_t)(usec / 1000000), .tv_nsec = (long)(usec % 1000000) * 1000 };

        while (usec && nanosleep(&time, &time) < 0 && errno == EINTR)
                ;
}

/* @output becomes standard output; -1 is /dev/null. In a terminal all three are that. */
static void spawn(const struct sampler *sampler, char **argv, int output, struct sample *sample) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t signals;
        int r;

        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
        sigemptyset(&signals);
        posix_spawnattr_setsigmask(&attributes, &signals);
        sigaddset(&signals, SIGTTOU);
        posix_spawnattr_setsigdefault(&attributes, &signals);
        posix_spawnattr_setpgroup(&attributes, 0);
        posix_spawnattr_setflags(&attributes, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                      (sampler->slave >= 0 ? POSIX_SPAWN_SETPGROUP : 0)));
        if (sampler->slave >= 0) {
                posix_spawn_file_actions_addtcsetpgrp_np(&actions, sampler->slave);
                for (int fd = 0; fd <= STDERR_FILENO; fd++)
                        posix_spawn_file_actions_adddup2(&actions, sampler->slave, fd);
        } else {
                posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
                if (output >= 0)
                        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
                else
                        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        }

        *sample = (struct sample){ .start = now() };
        r = posix_spawnp(&sample->pid, argv[0], &actions, &attributes, argv, environ);
        if (r != 0) {
                errno = r;
                die(argv[0]);
        }
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
}

static void set_end(struct sample *sample, int status, const struct rusage *usage) {
        sample->end = now();
        sample->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        sample->cpu = (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000 +
                      (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000;
        sample->pid = 0;
}

static void wait_for(struct sample *sample) {
        struct rusage usage;
        int status;

        if (wait4(sample->pid, &status, 0, &usage) != sample->pid)
                die("wait4");
        set_end(sample, status, &usage);
}

/* A byte or more; an end of file is no output. */
static void read_first(int fd, struct sample *sample) {
        char bytes[4096];

        if (read(fd, bytes, sizeof(bytes)) > 0)
                sample->first = now();
}

static void run_on_pipe(const struct sampler *sampler, char **argv, struct sample *sample) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                die("pipe2");
        spawn(sampler, argv, fds[1], sample);
        close(fds[1]);
        read_first(fds[0], sample);
        wait_for(sample);
        close(fds[0]);
}

static void run_in_terminal(const struct sampler *sampler, char **argv, struct sample *sample) {
        struct pollfd pollfds[2] = { { .fd = sampler->master, .events = POLLIN }, { .events = POLLIN } };
        char bytes[4096];

        spawn(sampler, argv, -1, sample);
        pollfds[1].fd = (int)syscall(SYS_pidfd_open, sample->pid, 0);
        if (pollfds[1].fd < 0)
                die("pidfd_open");
        while (poll(pollfds, 2, -1) < 0)
                if (errno != EINTR)
                        die("poll");
        if (pollfds[0].revents)
                read_first(sampler->master, sample);
        wait_for(sample);
        close(pollfds[1].fd);
        tcsetpgrp(sampler->slave, getpgrp());
        while (read(sampler->master, bytes, sizeof(bytes)) > 0)
                ;
}

static struct sample *samples_resize(struct sampler *sampler, size_t n_samples) {
        struct sample *samples = realloc(sampler->samples, (n_samples ? n_samples : 1) * sizeof(*samples));

        if (!samples)
                die("realloc");
        sampler->samples = samples;
        sampler->n_samples = n_samples;
        return samples;
}

static void run_row(struct sampler *sampler, size_t count, unsigned long usec, char **argv) {
        struct sample *samples = samples_resize(sampler, count);

        for (size_t i = 0; i < count; i++) {
                pause_usec(usec);
                (sampler->slave >= 0 ? run_in_terminal : run_on_pipe)(sampler, argv, samples + i);
        }
}

/* Returns whether one has ended. */
static bool reap(struct sampler *sampler, int flags) {
        struct rusage usage;
        int status;
        pid_t pid = wait4(-1, &status, flags, &usage);

        if (pid < 0)
                die("wait4");
        for (size_t i = 0; pid > 0 && i < sampler->n_samples; i++)
                if (sampler->samples[i].pid == pid)
                        set_end(&sampler->samples[i], status, &usage);
        return pid > 0;
}

static void run_crowd(struct sampler *sampler, size_t count, size_t at_once, unsigned long usec, char **argv) {
        const uint64_t until = now() + (uint64_t)usec * 1000;
        size_t n_running = 0;
        bool is_over = false;

        samples_resize(sampler, 0);
        while (!is_over || n_running > 0) {
                bool has_room;

                is_over = is_over || sampler->n_samples >= count || now() >= until;
                has_room = !is_over && n_running < at_once;
                if (has_room) {
                        size_t n = sampler->n_samples;

                        spawn(sampler, argv, -1, &samples_resize(sampler, n + 1)[n]);
                        n_running++;
                }
                if (n_running > 0)
                        n_running -= reap(sampler, has_room && n_running < at_once ? WNOHANG : 0);
        }
}

static void answer(const struct sampler *sampler) {
        putchar('[');
        for (size_t i = 0; i < sampler->n_samples; i++) {
                const struct sample *sample = &sampler->samples[i];

                printf("%s[%llu, %llu, %llu, %d, %llu]", i ? ", " : "", (unsigned long long)sample->start,
                       (unsigned long long)sample->first, (unsigned long long)sample->end, sample->status,
                       (unsigned long long)sample->cpu);
        }
        puts("]");
        fflush(stdout);
}

static size_t split(char *line, char *words[MAX_WORDS]) {
        size_t n_words = 0;

        line[strcspn(line, "\n")] = '\0';
        while (line && n_words < MAX_WORDS - 1)
                words[n_words++] = strsep(&line, "\t");
        words[n_words] = NULL;
        return n_words;
}

static void serve(struct sampler *sampler, char *line) {
        char *words[MAX_WORDS];
        size_t n_words = split(line, words);

        if (n_words > 3 && strcmp(words[0], "row") == 0) {
                run_row(sampler, strtoul(words[1], NULL, 10), strtoul(words[2], NULL, 10), words + 3);
        } else if (n_words > 4 && strcmp(words[0], "crowd") == 0) {
                run_crowd(sampler, strtoul(words[1], NULL, 10), strtoul(words[2], NULL, 10),
                          strtoul(words[3], NULL, 10), words + 4);
        } else {
                errno = EINVAL;
                die(words[0]);
        }
        answer(sampler);
}

/* Becomes what a shell is in a terminal of its own. */
static void open_terminal(struct sampler *sampler) {
        struct winsize size = { .ws_row = 24, .ws_col = 80 };

        setsid();
        signal(SIGTTOU, SIG_IGN);
        sampler->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (sampler->master < 0 || unlockpt(sampler->master) < 0)
                die("posix_openpt");
        sampler->slave = ioctl(sampler->master, TIOCGPTPEER, O_RDWR | O_CLOEXEC);
        if (sampler->slave < 0 || tcgetsid(sampler->slave) != getpid())
                die("terminal");
        ioctl(sampler->master, TIOCSWINSZ, &size);
}

int main(int argc, char **argv) {
        struct sampler sampler = { .master = -1, .slave = -1 };
        static char line[LINE_BYTES];

        if (argc > 1 && strcmp(argv[1], "terminal") == 0)
                open_terminal(&sampler);
        while (fgets(line, sizeof(line), stdin))
                serve(&sampler, line);
        free(sampler.samples);
        return 0;
}
