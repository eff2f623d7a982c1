#pragma once

/*
 * `poolctl start [--config FILE]`: starts poold unless it runs, and returns when it serves. @argv: "start", options,
 * NULL. Exit status.
 */
int cmd_start(char **argv);
