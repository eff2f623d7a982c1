#pragma once

/*
 * The listening socket: systemd's, or our own. There is one poold per socket: our own is held with a lock, and is
 * removed when we stop. Where our own is not at the place where clients look first, a symlink there leads to it.
 */

#include <stdbool.h>

struct listener;

/*
 * Takes systemd's socket over if it passes one, else makes one at @path (borrowed).
 * Logs what is wrong. Returns 0 or negative errno.
 */
int listener_new(const char *path, struct listener **ret_listener);

/* Stops listening, and removes what was made. Another poold may start from then on. @listener may be NULL. NULL. */
struct listener *listener_free(struct listener *listener);

/* Borrowed, non-blocking. */
int listener_fd(const struct listener *listener);
const char *listener_path(const struct listener *listener);
