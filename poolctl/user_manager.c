#include "user_manager.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "lib/fd.h"

#define SERVICE "poold.service"
#define SOCKET "poold.socket"

#define SYSTEMCTL(...) ((char *const[]){ (char *)"systemctl", (char *)"--user", __VA_ARGS__, NULL })

static void take_service(struct user_manager *manager, const char *line) {
        if (strcmp(line, "LoadState=loaded") == 0)
                manager->has_service = true;
        else if (strcmp(line, "ActiveState=active") == 0 || strcmp(line, "ActiveState=reloading") == 0)
                manager->is_active = true;
        else if (strcmp(line, "ActiveState=failed") == 0)
                manager->has_failed = true;
        else if (strncmp(line, "MainPID=", 8) == 0)
                manager->pid = (int)strtol(line + 8, NULL, 10);
}

static void take_socket(struct user_manager *manager, const char *line) {
        if (strcmp(line, "ActiveState=active") == 0)
                manager->is_socket_active = true;
        else if (strcmp(line, "ActiveState=failed") == 0)
                manager->has_failed = true;
}

void user_manager_ask(struct user_manager *ret_manager) {
        _cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct child_how how = {
                .file = "systemctl",
                .argv = SYSTEMCTL((char *)"show", (char *)"--property=LoadState,ActiveState,MainPID",
                                  (char *)SERVICE, (char *)SOCKET),
                .fds = { null, -1, null },
        };
        void (*take)(struct user_manager * manager, const char *line) = take_service;
        char *output = NULL, *rest;
        int r;

        *ret_manager = (struct user_manager){ 0 };
        r = child_output(&how, &output);
        rest = output;
        /* One unit after the other, an empty line between them. */
        while (r == 0 && rest) {
                const char *line = strsep(&rest, "\n");

                if (line[0])
                        take(ret_manager, line);
                else
                        take = take_socket;
        }
        free(output);
}

/* Returns the wait status or negative errno. */
static int run(char *const *argv) {
        struct child_how how = { .file = argv[0], .argv = argv, .fds = { -1, -1, -1 } };
        _cleanup_child_ struct child child = { .pidfd = -1 };
        int r;

        r = child_start(&how, &child);
        if (r == 0)
                r = child_wait(&child);
        return r;
}

int user_manager_start(const struct user_manager *manager) {
        int r = 0;

        if (manager->has_failed)
                r = run(SYSTEMCTL((char *)"reset-failed", (char *)SERVICE, (char *)SOCKET));
        if (r >= 0)
                r = run(SYSTEMCTL((char *)"start", (char *)SERVICE));
        return r > 0 ? 1 : r;
}
