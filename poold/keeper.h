#pragma once

/* What poold-keeper is started with: argv[1] is the worker's process, and these are its fds. */
enum {
        KEEPER_SOCKET,   /* to the client, as lib/proto.h has it */
        KEEPER_READY,    /* closed as soon as the script may begin */
        KEEPER_LOG,      /* poold's log */
        KEEPER_TERMINAL, /* the script's */
        KEEPER_N_FDS,
};
