#pragma once

/* `poolctl kill [-s SIGNAL] PID...`: a signal for runs. @argv: "kill", options and pids, NULL. Exit status. */
int cmd_kill(char **argv);
