#include "loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

struct deferred {
        SLIST_ENTRY(deferred) link;
        void (*free_fn)(void *object);
        void *object;
};

struct loop {
        struct event_base *base;
        struct event *end_of_turn;
        SLIST_HEAD(, deferred) deferred;
};

struct loop_source {
        struct event *event;
        loop_fn fn;
        void *data;
};

static void free_deferred(evutil_socket_t fd, short what, void *data) {
        struct loop *loop = data;

        (void)fd;
        (void)what;
        while (!SLIST_EMPTY(&loop->deferred)) {
                struct deferred *deferred = SLIST_FIRST(&loop->deferred);

                SLIST_REMOVE_HEAD(&loop->deferred, link);
                deferred->free_fn(deferred->object);
                free(deferred);
        }
}

struct loop *loop_new(void) {
        struct event_config *config = event_config_new();
        struct loop *loop = calloc(1, sizeof(*loop));

        if (!config || !loop)
                goto fail;
        /*
         * No EPOLL_USE_CHANGELIST: that would take an fd out of the epoll set only after it was closed. Ours are often
         * open elsewhere too (a client's connection in its worker, a worker's pidfd in its client), and would be
         * reported from then on, to nobody, in a loop.
         */
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        loop->base = event_base_new_with_config(config);
        if (!loop->base)
                goto fail;
        /* The lowest priority runs when no other callback of this turn is left. */
        event_base_priority_init(loop->base, 2);
        loop->end_of_turn = event_new(loop->base, -1, 0, free_deferred, loop);
        if (!loop->end_of_turn)
                goto fail;
        event_priority_set(loop->end_of_turn, 1);
        event_config_free(config);
        return loop;

fail:
        if (config)
                event_config_free(config);
        return loop_free(loop);
}

struct loop *loop_free(struct loop *loop) {
        if (!loop)
                return NULL;
        free_deferred(-1, 0, loop);
        if (loop->end_of_turn)
                event_free(loop->end_of_turn);
        if (loop->base)
                event_base_free(loop->base);
        free(loop);
        return NULL;
}

struct event_base *loop_base(const struct loop *loop) {
        return loop->base;
}

int loop_run(struct loop *loop) {
        return event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0 ? -EIO : 0;
}

void loop_stop(struct loop *loop) {
        event_base_loopbreak(loop->base);
}

uint64_t loop_now_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void dispatch(evutil_socket_t fd, short what, void *data) {
        struct loop_source *source = data;

        (void)fd;
        source->fn(source->data, (what & EV_READ ? LOOP_READ : 0U) | (what & EV_WRITE ? LOOP_WRITE : 0U));
}

static short to_event(unsigned events) {
        return (short)(EV_PERSIST | (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0));
}

static struct loop_source *source_new(struct loop *loop, int fd, short what, loop_fn fn, void *data) {
        struct loop_source *source = calloc(1, sizeof(*source));

        if (!source)
                return NULL;
        source->fn = fn;
        source->data = data;
        source->event = event_new(loop->base, fd, what, dispatch, source);
        if (!source->event)
                return loop_source_free(source);
        event_priority_set(source->event, 0);
        return source;
}

struct loop_source *loop_add_fd(struct loop *loop, int fd, unsigned events, loop_fn fn, void *data) {
        struct loop_source *source = source_new(loop, fd, to_event(events), fn, data);

        if (source && events && event_add(source->event, NULL) < 0)
                return loop_source_free(source);
        return source;
}

struct loop_source *loop_add_timer(struct loop *loop, loop_fn fn, void *data) {
        return source_new(loop, -1, 0, fn, data);
}

int loop_set_events(struct loop_source *source, unsigned events) {
        struct event *event = source->event;
        short wanted = to_event(events);

        if (wanted == event_get_events(event))
                return 0;
        event_del(event);
        event_assign(event, event_get_base(event), event_get_fd(event), wanted, dispatch, source);
        event_priority_set(event, 0);
        return events && event_add(event, NULL) < 0 ? -ENOMEM : 0;
}

int loop_set_deadline(struct loop_source *source, uint64_t deadline_usec) {
        uint64_t now_usec, wait_usec;
        struct timeval wait;

        if (deadline_usec == LOOP_NEVER)
                return event_del(source->event) < 0 ? -ENOMEM : 0;
        now_usec = loop_now_usec();
        wait_usec = deadline_usec > now_usec ? deadline_usec - now_usec : 0;
        wait.tv_sec = (time_t)(wait_usec / 1000000);
        wait.tv_usec = (suseconds_t)(wait_usec % 1000000);
        return event_add(source->event, &wait) < 0 ? -ENOMEM : 0;
}

struct loop_source *loop_source_free(struct loop_source *source) {
        if (source && source->event)
                event_free(source->event);
        free(source);
        return NULL;
}

void loop_defer_free(struct loop *loop, void (*free_fn)(void *object), void *object) {
        struct deferred *deferred = malloc(sizeof(*deferred));

        if (!deferred)
                return; /* better leaked than freed under somebody's feet */
        *deferred = (struct deferred){ .free_fn = free_fn, .object = object };
        SLIST_INSERT_HEAD(&loop->deferred, deferred, link);
        event_active(loop->end_of_turn, EV_TIMEOUT, 0);
}
