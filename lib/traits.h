#pragma once

/*
 * Where a process stands and what it may do, as it can tell of itself in a few cheap system calls: what it inherits
 * and cannot change, or not back. Of two processes of one user with the same numbers here, each is to the system what
 * the other one is.
 */

#include <stdint.h>

/* Tables follow, which the formatter would tear apart. */
/* clang-format off */

/*
 * T(NAME, reason, text): the miss where it is not the same. The order counts: a container differs in many, and the
 * first is what is said. What the kernel does not tell is 0.
 *
 * No two mount namespaces share a mount's number. A user namespace that was made without privileges has nobody in it
 * who is the system's root, so "/" has another owner there. To make one that has, or any other namespace alone, takes
 * privileges: those are looked at only by root, since each costs two microseconds, and are 0 for others. But for that
 * of control groups: their names are compared (poold/cgroup.h), and mean something else in another one.
 *
 * For root the permitted capabilities are the bounding set, too (capabilities(7)). For others that set, which only
 * limits the setuid programs that a script starts, is not looked at. CAP_WAKE_ALARM is left out of all of them:
 * pam_systemd gives it to whoever logs in, but not to services.
 */
#define TRAITS(T)                                                                                                 \
        T(ROOT_OWNER, "namespace", "the user namespace")                                                          \
        T(MOUNT, "namespace", "the mount namespace or what \"/\" is")                                             \
        T(ROOT_DEVICE, "root", "the root folder")                                                                 \
        T(ROOT_INODE, "root", "the root folder")                                                                  \
        T(USER, "namespace", "the user namespace")                                                                \
        T(UTS, "namespace", "the uts namespace")                                                                  \
        T(IPC, "namespace", "the ipc namespace")                                                                  \
        T(CGROUP, "namespace", "the cgroup namespace")                                                            \
        T(TIME, "namespace", "the time namespace")                                                                \
        T(EFFECTIVE, "identity", "the set of effective capabilities")                                             \
        T(PERMITTED, "identity", "the set of permitted capabilities")                                             \
        T(INHERITABLE, "identity", "the set of inheritable capabilities")                                         \
        T(SECURE_BITS, "identity", "the set of securebits")                                                       \
        T(NO_NEW_PRIVS, "identity", "no_new_privs")                                                               \
        T(SECCOMP, "identity", "the seccomp mode")                                                                \
        T(PERSONALITY, "personality", "the personality (setarch)")                                                \
        T(MEMORY_POLICY, "affinity", "the memory policy (numactl)")                                               \
        T(MEMORY_NODES, "affinity", "the set of memory nodes (numactl)")
/* clang-format on */

#define TRAITS_ENUM(name, ...) TRAIT_##name,
enum { TRAITS(TRAITS_ENUM) N_TRAITS };
#undef TRAITS_ENUM

/* Of the calling process. @fd_folder is its /proc/self/fd (borrowed), or -1 where there is none. */
void traits_collect(int fd_folder, uint64_t ret_traits[N_TRAITS]);
