#include "traits.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_NODES 1024 /* the most that Linux can be built for */

static void collect_root(uint64_t *traits) {
        struct statx st;

        if (syscall(SYS_statx, AT_FDCWD, "/", AT_STATX_DONT_SYNC, STATX_INO | STATX_UID | STATX_MNT_ID, &st) < 0)
                return;
        traits[TRAIT_ROOT_DEVICE] = makedev(st.stx_dev_major, st.stx_dev_minor);
        traits[TRAIT_ROOT_INODE] = st.stx_ino;
        traits[TRAIT_ROOT_OWNER] = st.stx_uid;
        traits[TRAIT_MOUNT] = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
}

/* The number in "uts:[4026531838]"; reading the link is half the price of stat(2). */
static uint64_t namespace_number(int fd_folder, const char *path) {
        char text[64];
        ssize_t n_bytes = readlinkat(fd_folder, path, text, sizeof(text) - 1);
        const char *bracket;

        text[n_bytes > 0 ? n_bytes : 0] = '\0';
        bracket = strchr(text, '[');
        return bracket ? strtoull(bracket + 1, NULL, 10) : 0;
}

static void collect_namespaces(int fd_folder, uint64_t *traits) {
        if (fd_folder < 0)
                return;
        traits[TRAIT_CGROUP] = namespace_number(fd_folder, "../ns/cgroup");
        if (geteuid() != 0)
                return;
        traits[TRAIT_USER] = namespace_number(fd_folder, "../ns/user");
        traits[TRAIT_UTS] = namespace_number(fd_folder, "../ns/uts");
        traits[TRAIT_IPC] = namespace_number(fd_folder, "../ns/ipc");
        traits[TRAIT_TIME] = namespace_number(fd_folder, "../ns/time");
}

static uint64_t capability_set(uint32_t low, uint32_t high) {
        return (low | (uint64_t)high << 32) & ~(UINT64_C(1) << CAP_WAKE_ALARM);
}

static void collect_capabilities(uint64_t *traits) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

        syscall(SYS_capget, &header, data);
        traits[TRAIT_EFFECTIVE] = capability_set(data[0].effective, data[1].effective);
        traits[TRAIT_PERMITTED] = capability_set(data[0].permitted, data[1].permitted);
        traits[TRAIT_INHERITABLE] = capability_set(data[0].inheritable, data[1].inheritable);
}

/* 0 also where the kernel knows no such thing. */
static uint64_t ask(int option) {
        int value = prctl(option, 0, 0, 0, 0);

        return value < 0 ? 0 : (uint64_t)value;
}

/* Kernels without NUMA have none. More nodes than 64 are folded, for comparing. */
static void collect_memory_policy(uint64_t *traits) {
        unsigned long nodes[MAX_NODES / 8 / sizeof(unsigned long)] = { 0 };
        int mode = 0;

        if (syscall(SYS_get_mempolicy, &mode, nodes, MAX_NODES, NULL, 0) < 0)
                return;
        traits[TRAIT_MEMORY_POLICY] = (uint64_t)mode;
        for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
                traits[TRAIT_MEMORY_NODES] = traits[TRAIT_MEMORY_NODES] * 31 + nodes[i];
}

void traits_collect(int fd_folder, uint64_t ret_traits[N_TRAITS]) {
        memset(ret_traits, 0, N_TRAITS * sizeof(ret_traits[0]));
        collect_root(ret_traits);
        collect_namespaces(fd_folder, ret_traits);
        collect_capabilities(ret_traits);
        ret_traits[TRAIT_SECURE_BITS] = ask(PR_GET_SECUREBITS);
        ret_traits[TRAIT_NO_NEW_PRIVS] = ask(PR_GET_NO_NEW_PRIVS);
        ret_traits[TRAIT_SECCOMP] = ask(PR_GET_SECCOMP);
        ret_traits[TRAIT_PERSONALITY] = (uint32_t)personality(0xffffffff);
        collect_memory_policy(ret_traits);
}
