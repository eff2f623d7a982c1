#pragma once

/*
 * The controlling terminal that the worker was born with (see poold/keeper_main.c): the script's, or dropped.
 * No Python in it.
 */

#include "decline.h"
#include "lib/proto.h"

/* @slave is taken; -1 if there is no terminal. */
void terminal_init(int slave);

/*
 * Gives our terminal the settings and the size of @model, which is the client's (borrowed); if @is_foreground our
 * process group gets it. Declines ("terminal") if there is none. Returns 0 or DECLINED.
 */
int terminal_take(int model, bool is_foreground, struct decline *why);

/* Gives the terminal the numbers of @numbers and closes our own. Returns 0 or negative errno. */
int terminal_place(const struct wire_u64v *numbers);

/* We have none from now on. */
void terminal_drop(void);
