#include "pressure.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/fd.h"

#define SEC_USEC UINT64_C(1000000)

/* Some task waited for memory for a tenth of the time. Anyone may have windows that are multiples of two seconds. */
#define PSI_TRIGGER "some 200000 2000000"
#define PSI_TIGHT_PERCENT 10.0
#define MEMINFO_TIGHT_PERCENT 5

/* What a trigger or a look says holds for so long: a trigger says it again after its window. */
#define TIGHT_USEC (3 * SEC_USEC)
/* And then memory is scarce; for twice as long if it gets tight again in as much time after that. */
#define SCARCE_LEAST_USEC (60 * SEC_USEC)
#define SCARCE_MOST_USEC (960 * SEC_USEC)

/* Where nobody tells, it is looked at not more often than this, nor less often if there is something to give back. */
#define LOOK_PAUSE_USEC SEC_USEC
#define LOOK_LONG_PAUSE_USEC (10 * SEC_USEC)

struct pressure {
        struct pressure_paths paths;
        int trigger_fd; /* -1: there is none */
        int epoll_fd;   /* readable when the trigger has fired, which other event loops cannot wait for */
        uint64_t looked_usec;
        uint64_t tight_until_usec, scarce_until_usec;
        uint64_t scarce_usec; /* how long it is this time */
};

/* Returns false if there is none to be had. */
static bool set_trigger(struct pressure *pressure) {
        struct epoll_event event = { .events = EPOLLPRI };

        pressure->trigger_fd = open(pressure->paths.psi, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        pressure->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        return pressure->trigger_fd >= 0 && pressure->epoll_fd >= 0 &&
               write(pressure->trigger_fd, PSI_TRIGGER, sizeof(PSI_TRIGGER)) == sizeof(PSI_TRIGGER) &&
               epoll_ctl(pressure->epoll_fd, EPOLL_CTL_ADD, pressure->trigger_fd, &event) == 0;
}

static void drop_trigger(struct pressure *pressure) {
        pressure->trigger_fd = fd_close(pressure->trigger_fd);
        pressure->epoll_fd = fd_close(pressure->epoll_fd);
}

struct pressure *pressure_new(const struct pressure_paths *paths) {
        struct pressure *pressure = calloc(1, sizeof(*pressure));

        if (!pressure)
                return NULL;
        pressure->paths = *paths;
        pressure->trigger_fd = pressure->epoll_fd = -1;
        if (!set_trigger(pressure))
                drop_trigger(pressure);
        return pressure;
}

struct pressure *pressure_free(struct pressure *pressure) {
        if (!pressure)
                return NULL;
        drop_trigger(pressure);
        free(pressure);
        return NULL;
}

int pressure_fd(const struct pressure *pressure) {
        return pressure->epoll_fd;
}

/* Memory is tight. */
static void note(struct pressure *pressure, uint64_t now_usec) {
        if (now_usec >= pressure->scarce_until_usec) {
                const bool is_again = now_usec < pressure->scarce_until_usec + pressure->scarce_usec;

                pressure->scarce_usec = is_again ? 2 * pressure->scarce_usec : SCARCE_LEAST_USEC;
                if (pressure->scarce_usec > SCARCE_MOST_USEC)
                        pressure->scarce_usec = SCARCE_MOST_USEC;
        }
        pressure->tight_until_usec = now_usec + TIGHT_USEC;
        pressure->scarce_until_usec = pressure->tight_until_usec + pressure->scarce_usec;
}

void pressure_notice(struct pressure *pressure, uint64_t now_usec) {
        struct epoll_event event;

        /* That it is readable says it all: who has asked for that has taken the event. An error stays. */
        if (epoll_wait(pressure->epoll_fd, &event, 1, 0) == 1 && event.events & EPOLLERR)
                drop_trigger(pressure);
        else
                note(pressure, now_usec);
}

/* The number behind @name in @text; @otherwise: it is not there. */
static double find_number(const char *text, const char *name, double otherwise) {
        const char *at = strstr(text, name);

        return at ? strtod(at + strlen(name), NULL) : otherwise;
}

static bool is_tight(const struct pressure *pressure) {
        char text[4096];

        if (fd_read_text(AT_FDCWD, pressure->paths.psi, text, sizeof(text)) > 0)
                return find_number(text, "some avg10=", 0) >= PSI_TIGHT_PERCENT;
        if (fd_read_text(AT_FDCWD, pressure->paths.meminfo, text, sizeof(text)) <= 0)
                return false;
        return find_number(text, "MemAvailable:", INFINITY) <
               find_number(text, "MemTotal:", 0) * MEMINFO_TIGHT_PERCENT / 100;
}

void pressure_look(struct pressure *pressure, uint64_t now_usec) {
        if (pressure->epoll_fd >= 0 ||
            (pressure->looked_usec && now_usec < pressure->looked_usec + LOOK_PAUSE_USEC))
                return;
        pressure->looked_usec = now_usec;
        if (is_tight(pressure))
                note(pressure, now_usec);
}

uint64_t pressure_next_look_usec(const struct pressure *pressure) {
        return pressure->epoll_fd >= 0 ? UINT64_MAX : pressure->looked_usec + LOOK_LONG_PAUSE_USEC;
}

uint64_t pressure_tight_until_usec(const struct pressure *pressure) {
        return pressure->tight_until_usec;
}

uint64_t pressure_scarce_until_usec(const struct pressure *pressure) {
        return pressure->scarce_until_usec;
}
