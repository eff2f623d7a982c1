#include "terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "lib/fd.h"

static int terminal = -1;

void terminal_init(int slave) {
        terminal = slave;
}

static int copy_settings(int model, bool is_foreground) {
        struct termios settings;
        struct winsize size;

        if (tcgetattr(model, &settings) < 0 || tcsetattr(terminal, TCSANOW, &settings) < 0)
                return -errno;
        if (ioctl(model, TIOCGWINSZ, &size) == 0)
                ioctl(terminal, TIOCSWINSZ, &size);
        if (is_foreground && tcsetpgrp(terminal, getpgrp()) < 0)
                return -errno;
        return 0;
}

/* Our group is in the background until then, where setting a terminal stops whoever does not block SIGTTOU. */
int terminal_take(int model, bool is_foreground, struct decline *why) {
        sigset_t mask, set;
        int r;

        if (terminal < 0)
                return decline(why, "terminal", "the worker could not get one when it was started");
        sigemptyset(&set);
        sigaddset(&set, SIGTTOU);
        pthread_sigmask(SIG_BLOCK, &set, &mask);
        r = copy_settings(model, is_foreground);
        pthread_sigmask(SIG_SETMASK, &mask, NULL);
        return r < 0 ? decline(why, "terminal", "it cannot be the script's: %s", strerror(-r)) : 0;
}

int terminal_place(const struct wire_u64v *numbers) {
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < numbers->count; i++)
                if (dup2(terminal, (int)wire_u64v_at(numbers, i)) < 0)
                        r = -errno;
        terminal = fd_close(terminal);
        return r;
}

void terminal_drop(void) {
        if (terminal >= 0)
                ioctl(terminal, TIOCNOTTY);
        terminal = fd_close(terminal);
}
