#pragma once

/*
 * `poolctl run`: runs python3 with arguments, by a warm worker if there is one. Both may not return: they become
 * python3, or die by the signal that the script died by. Otherwise they return the exit status.
 */

/* @argv: "run", our own options, python's arguments, NULL. Its strings are where execve(2) put them. */
int cmd_run(char **argv);

/* The same as poolpython: everything behind argv[0] is python's. */
int cmd_run_python(char **argv);
