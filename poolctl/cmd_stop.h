#pragma once

/* `poolctl stop [--now]`: ends poold and returns when it has ended. @argv: "stop", options, NULL. Exit status. */
int cmd_stop(char **argv);
