#pragma once

/*
 * The script's controlling terminal: the slave of a pseudo-terminal that the client made for it. The worker leads a
 * session of its own, so the terminal is its for the asking. What it lacks for job control is a process of the same
 * session beside its group, without which the kernel stops nobody there: poold-keeper is that. No Python in it.
 */

#include "decline.h"

/*
 * Makes the terminal @slave ours and starts the keeper, which speaks to the client over @socket. Both are borrowed.
 * Declines ("terminal") if that fails. Returns 0 or DECLINED.
 */
int terminal_take(int slave, int socket, struct decline *why);

/* Waits until the keeper is ready. @slave is taken, and kept for terminal_leave(). */
void terminal_await(int slave);

/* To be called last: whoever stays behind in our process group is not hung up by our end. */
void terminal_leave(void);
