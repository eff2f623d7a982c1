#pragma once

/* `poolctl ps [--json]`: the scripts that workers run. @argv: "ps", options, NULL. Exit status. */
int cmd_ps(char **argv);
