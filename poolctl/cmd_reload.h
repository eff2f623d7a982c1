#pragma once

/* `poolctl reload`: poold reads its configuration again. Returns the exit status. */
int cmd_reload(char **argv);
