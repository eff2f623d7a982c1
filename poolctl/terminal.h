#pragma once

/* A terminal: which one it is, who has it, its settings, and what was typed ahead. Every fd is borrowed. */

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

/* Tells one terminal from the next, whatever name it was opened by; 0 for what is no terminal. */
unsigned terminal_device(int fd);

/* The controlling terminal, which is not to be waited for, or -1 if there is none. The caller owns it. */
int terminal_open_own(void);

/* Is it ours to read and to set? */
bool terminal_is_foreground(int fd);

/* The other end of the pseudo-terminal @master, which the caller owns; by that and not by name, which another mount may
 * hide. -1 if it cannot be had. */
int terminal_open_slave(int master);

/* Makes the size of @to that of @from: the kernel tells those who have it, if it is another one. */
void terminal_copy_size(int from, int to);

/*
 * What is typed is passed on as it is, all of it and at once; and if @is_output_raw what is written, else that is as
 * with @settings. Returns whether it is so now.
 */
bool terminal_set_raw(int fd, const struct termios *settings, bool is_output_raw);

/* The signal that the terminal @master would make of @byte for the group @group, or 0. */
int terminal_signal_of(int master, int group, char byte);

/* Does the terminal @master write "\r\n" for "\n"? */
bool terminal_adds_returns(int master);

/* Removes each '\r' before a '\n' from the @n bytes of @data, but for the first @n_clean. Returns how many are left. */
size_t terminal_drop_returns(char *data, size_t n, size_t n_clean);

/*
 * What was typed on the raw terminal @fd before it was raw becomes what was typed on @slave, of which @master is the
 * master: unseen, since it was seen when it was typed.
 */
void terminal_take_over(int fd, int master, int slave);

/* What was typed ahead on the terminal @slave and read by nobody becomes what was typed on @fd. */
void terminal_give_back(int slave, int fd);
