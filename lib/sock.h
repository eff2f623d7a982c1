#pragma once

/*
 * poold's socket: where it is, that nobody else's is taken for it, and who is at the other end.
 *
 * Only the owner's processes may talk to poold. The folder of the socket must belong to us and be nobody else's to
 * enter (0700), and each end asks the kernel for the other's uid.
 */

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#define SOCK_PATH_BYTES PATH_MAX

struct sock_peer {
        pid_t pid;
        uid_t uid;
        gid_t gid;
};

/*
 * The socket's path if nothing else is configured: $XDG_RUNTIME_DIR/poold/poold.sock, else /tmp/poold-UID/poold.sock.
 * Returns 0 and a new string, or -ENOMEM.
 */
int sock_default_path(char **ret_path);

/*
 * Fills @ret_path, of SOCK_PATH_BYTES, with what a client uses: $POOLD_SOCKET, else that of sock_default_path().
 * Returns 0 or -ENAMETOOLONG.
 */
int sock_client_path(char *ret_path);

/* The folder of the socket @path: made 0700 if it is missing, -EPERM if it is not ours alone. Returns 0 or -errno. */
int sock_make_folder(const char *path);

/*
 * Makes a listening socket, 0600, at @path, in a folder that is made 0700 if it is missing. A stale socket is replaced.
 * Returns an fd that the caller owns, or
 *   -ENAMETOOLONG  the path does not fit sockaddr_un
 *   -EPERM         the folder or what is at @path belongs to somebody else, or the folder is open to others
 *   -EADDRINUSE    somebody is listening there
 *   -ENOTSOCK      there is something that is no socket
 * or another negative errno.
 */
int sock_listen(const char *path, int backlog);

/*
 * Connects to @path. Returns a non-blocking fd that the caller owns, -EPERM if the folder, the socket or the process
 * that listens is somebody else's, -EAGAIN if its queue is full, or another negative errno (-ENOENT, -ECONNREFUSED: no
 * poold).
 */
int sock_connect(const char *path);

/* Who is at the other end of @fd (SO_PEERCRED, unix(7)): for a client, who called listen(2). Returns 0 or -errno. */
int sock_peer(int fd, struct sock_peer *ret_peer);

/* The path that the listening socket @fd is bound to. Returns 0 and a new string, or negative errno. */
int sock_path_of(int fd, char **ret_path);
