#pragma once

/*
 * From poold: its value (sigqueue(3)) is the signal that the worker's process group gets. One that is queued; which
 * SIGRTMIN is depends on the C library, and the keeper may have another one.
 */
#define KEEPER_SIGNAL 40

/* The fds that poold-keeper starts a worker with, beside the standard ones. */
enum {
        KEEPER_FD_CONTROL = 3, /* the socket to poold, which the keeper was started with itself */
        KEEPER_FD_CLIENT,      /* the client's end of the socket to the keeper, see ASSIGNED in lib/proto.h */
        KEEPER_FD_MASTER,      /* of the worker's controlling terminal; these two are closed if it has none */
        KEEPER_FD_SLAVE,
        KEEPER_FDS_END,
        KEEPER_FD_GROUP = KEEPER_FDS_END, /* the keeper's alone: the worker's control group, if it has one */
};
