#pragma once

/* `poolctl status [--json]`: the pools, for a person or a program. @argv: "status", options, NULL. Exit status. */
int cmd_status(char **argv);
