#pragma once

/*
 * `poolctl explain`: how a run would be served. @argv: "explain", our own options, python's arguments, NULL. Returns 0
 * if a worker would have it, 1 if python3 itself would run it.
 */
int cmd_explain(char **argv);
