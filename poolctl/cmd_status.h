#pragma once

/*
 * `poolctl status [--pool NAME] [--json] [--watch [SECONDS]]`: the pools, for a person or a program.
 * @argv: "status", options, NULL. Exit status.
 */
int cmd_status(char **argv);
