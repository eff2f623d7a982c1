#pragma once

/* poold's units in the systemd user manager, as systemctl(1) sees them. */

#include <stdbool.h>

struct user_manager {
        bool has_service;      /* the manager can be reached, and has the unit */
        bool is_active;        /* poold.service is */
        bool is_socket_active; /* systemd holds poold's socket: a connection to it starts the service */
        bool has_failed;       /* the one or the other, and the manager may not want to try again */
        int pid;               /* poold's, if it is active */
};

/* What the manager says. Without systemctl or a manager: nothing is true. */
void user_manager_ask(struct user_manager *ret_manager);

/*
 * Starts poold.service and waits until it is ready. What is wrong systemctl tells the person. Returns 0, 1 if it could
 * not be started, or negative errno.
 */
int user_manager_start(const struct user_manager *manager);
