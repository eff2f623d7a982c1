#pragma once

/*
 * `poolctl suggest [--python FILE] PYTHON-ARGS...`: runs them by python3, and prints which of their imports a pool should
 * have done. @argv: "suggest", options, python's arguments, NULL. Exit status.
 */
int cmd_suggest(char **argv);
