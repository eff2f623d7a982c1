#include "reload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/fd.h"

struct reload {
        const char *path;
        const struct reload_events *events;
        void *data;

        int fd; /* an eventfd: the thread has done its work */
        struct loop_source *source;
        pthread_t thread;
        bool reading;

        /* The thread's, while it is reading. */
        struct config *config;
        char *errors;
        int result;
};

static void *read_config(void *data) {
        const uint64_t one = 1;
        struct reload *reload = data;

        reload->result = config_load(reload->path, &reload->config, &reload->errors);
        while (write(reload->fd, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
        return NULL;
}

static void on_read(void *data, unsigned events) {
        struct reload *reload = data;
        uint64_t n;

        (void)events;
        if (read(reload->fd, &n, sizeof(n)) != sizeof(n))
                return;
        pthread_join(reload->thread, NULL);
        reload->reading = false;
        if (reload->result == 0)
                reload->events->loaded(reload->config, NULL, reload->data);
        else
                reload->events->loaded(
                        NULL, reload->result == CONFIG_INVALID ? reload->errors : strerror(-reload->result),
                        reload->data);
        if (reload->result == CONFIG_INVALID)
                free(reload->errors);
}

struct reload *reload_new(struct loop *loop, const char *path, const struct reload_events *events, void *data) {
        struct reload *reload = calloc(1, sizeof(*reload));

        if (!reload)
                return NULL;
        reload->path = path;
        reload->events = events;
        reload->data = data;
        reload->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (reload->fd >= 0)
                reload->source = loop_add_fd(loop, reload->fd, LOOP_READ, on_read, reload);
        return reload->source ? reload : reload_free(reload);
}

struct reload *reload_free(struct reload *reload) {
        if (!reload)
                return NULL;
        loop_source_free(reload->source);
        if (reload->reading) {
                pthread_detach(reload->thread);
                return NULL;
        }
        fd_close(reload->fd);
        free(reload);
        return NULL;
}

int reload_start(struct reload *reload) {
        int r = pthread_create(&reload->thread, NULL, read_config, reload);

        reload->reading = r == 0;
        return -r;
}

bool reload_is_reading(const struct reload *reload) {
        return reload->reading;
}
