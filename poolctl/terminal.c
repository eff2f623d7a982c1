#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/fd.h"

unsigned terminal_device(int fd) {
        unsigned device = 0;

        return ioctl(fd, TIOCGDEV, &device) == 0 ? device : 0;
}

int terminal_open_own(void) {
        return open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

bool terminal_is_foreground(int fd) {
        return tcgetpgrp(fd) == getpgrp();
}

int terminal_open_slave(int master) {
        return ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

void terminal_copy_size(int from, int to) {
        struct winsize size;

        if (ioctl(from, TIOCGWINSZ, &size) == 0)
                ioctl(to, TIOCSWINSZ, &size);
}

bool terminal_set_raw(int fd, const struct termios *settings, bool is_output_raw) {
        struct termios raw = *settings;

        cfmakeraw(&raw);
        if (!is_output_raw)
                raw.c_oflag = settings->c_oflag;
        return tcsetattr(fd, TCSANOW, &raw) == 0;
}

int terminal_signal_of(int master, int group, char byte) {
        struct termios settings;

        if (tcgetattr(master, &settings) < 0 || !(settings.c_lflag & ISIG) || tcgetpgrp(master) != group ||
            byte == _POSIX_VDISABLE)
                return 0;
        if (byte == (char)settings.c_cc[VINTR])
                return SIGINT;
        if (byte == (char)settings.c_cc[VQUIT])
                return SIGQUIT;
        return byte == (char)settings.c_cc[VSUSP] ? SIGTSTP : 0;
}

bool terminal_adds_returns(int master) {
        struct termios settings;

        return tcgetattr(master, &settings) == 0 && settings.c_oflag & OPOST && settings.c_oflag & ONLCR;
}

size_t terminal_drop_returns(char *data, size_t n, size_t n_clean) {
        size_t to = n_clean;

        for (size_t from = n_clean; from < n; from++)
                if (data[from] != '\r' || from + 1 == n || data[from + 1] != '\n')
                        data[to++] = data[from];
        return to;
}

void terminal_take_over(int fd, int master, int slave) {
        struct pollfd pollfd = { .fd = slave, .events = POLLIN };
        struct termios settings, silent;
        char typed[4096];
        ssize_t n = read(fd, typed, sizeof(typed));

        if (n <= 0 || tcgetattr(slave, &settings) < 0)
                return;
        /* The end of a file that was typed while the terminal was read by lines is a NUL now that it is raw. */
        for (ssize_t i = 0; settings.c_lflag & ICANON && i < n; i++)
                if (!typed[i])
                        typed[i] = (char)settings.c_cc[VEOF];
        silent = settings;
        silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
        tcsetattr(slave, TCSANOW, &silent);
        if (write(master, typed, (size_t)n) == n)
                poll(&pollfd, 1, 0); /* waits for the kernel to have passed it on */
        tcsetattr(slave, TCSANOW, &settings);
}

/* Not every kernel lets it be given back (sysctl dev.tty.legacy_tiocsti); then it is lost. */
void terminal_give_back(int slave, int fd) {
        struct termios settings;
        char typed[4096];
        ssize_t n;

        if (tcgetattr(slave, &settings) < 0)
                return;
        cfmakeraw(&settings);
        settings.c_cc[VMIN] = settings.c_cc[VTIME] = 0;
        tcsetattr(slave, TCSANOW, &settings);
        n = read(slave, typed, sizeof(typed));
        for (ssize_t i = 0; i < n; i++)
                if (typed[i] && ioctl(fd, TIOCSTI, &typed[i]) < 0)
                        return;
}
