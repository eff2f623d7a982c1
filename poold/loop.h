#pragma once

/*
 * The event loop, a thin layer over libevent: fds, deadlines, and a place to free what is still in use further up the
 * stack. Nothing here is global. It wakes up for nothing but what was asked for.
 */

#include <stdint.h>

struct event_base;
struct loop;
struct loop_source;

enum {
        LOOP_READ = 1 << 0,
        LOOP_WRITE = 1 << 1,
};

#define LOOP_NEVER UINT64_MAX

/* Called with the LOOP_READ and LOOP_WRITE that are possible now; 0 for a deadline. */
typedef void (*loop_fn)(void *data, unsigned events);

/* Returns NULL for lack of memory or of an epoll(7). */
struct loop *loop_new(void);
/* Everything that was made with the loop must have been freed. Returns NULL. */
struct loop *loop_free(struct loop *loop);

/* For what libevent brings along. Its events come after all of ours. Borrowed. */
struct event_base *loop_base(const struct loop *loop);

/* Runs until loop_stop(). Returns 0 or negative errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* CLOCK_MONOTONIC, now. */
uint64_t loop_now_usec(void);

/* Calls @fn whenever one of @events is possible on @fd (borrowed until the source is freed). NULL: no memory. */
struct loop_source *loop_add_fd(struct loop *loop, int fd, unsigned events, loop_fn fn, void *data);

/* Calls @fn once each time that a deadline has passed; none is set at first. NULL: no memory. */
struct loop_source *loop_add_timer(struct loop *loop, loop_fn fn, void *data);

/* What an fd is watched for from now on. Returns 0 or -ENOMEM. */
int loop_set_events(struct loop_source *source, unsigned events);

/* When a timer fires, on the clock of loop_now_usec(); LOOP_NEVER disarms it. Returns 0 or -ENOMEM. */
int loop_set_deadline(struct loop_source *source, uint64_t deadline_usec);

/* No callback after this, also from within it. @source may be NULL. Returns NULL. */
struct loop_source *loop_source_free(struct loop_source *source);

/* Calls free_fn(@object) when the current turn of the loop is over and nothing up the stack uses it any more. */
void loop_defer_free(struct loop *loop, void (*free_fn)(void *object), void *object);
