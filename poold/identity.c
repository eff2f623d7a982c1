#include "identity.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/traits.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

struct identity {
        gid_t gid;
        socklen_t n_groups;
        gid_t *groups; /* as the kernel has them, sorted; with room for one more */
        gid_t *theirs; /* room for as many, to compare with */
        uint64_t traits[N_TRAITS];
        uint64_t network;
};

/* 0 before Linux 5.14, of all sockets. */
static uint64_t network_of(int fd) {
        uint64_t cookie = 0;
        socklen_t size = sizeof(cookie);

        return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

struct identity *identity_new(void) {
        struct identity *identity = calloc(1, sizeof(*identity));
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        _cleanup_fd_ int folder_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int n_groups = getgroups(0, NULL);

        if (!identity || n_groups < 0)
                return identity_free(identity);
        identity->groups = calloc((size_t)n_groups + 1, sizeof(gid_t));
        identity->theirs = calloc((size_t)n_groups + 1, sizeof(gid_t));
        if (!identity->groups || !identity->theirs || getgroups(n_groups, identity->groups) != n_groups)
                return identity_free(identity);
        identity->n_groups = (socklen_t)n_groups;
        identity->gid = getegid();
        traits_collect(folder_fd, identity->traits);
        identity->network = network_of(fd);
        return identity;
}

struct identity *identity_free(struct identity *identity) {
        if (identity) {
                free(identity->groups);
                free(identity->theirs);
        }
        free(identity);
        return NULL;
}

static bool has_same_groups(const struct identity *identity, int fd) {
        socklen_t size = identity->n_groups * (socklen_t)sizeof(gid_t), n_bytes = size;

        /* More than there is room for is an error, ERANGE. */
        return getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, identity->theirs, &size) == 0 && size == n_bytes &&
               memcmp(identity->theirs, identity->groups, n_bytes) == 0;
}

#define REASON(name, reason, text) [TRAIT_##name] = { reason, text },
static const struct { const char *reason, *text; } trait_misses[N_TRAITS] = { TRAITS(REASON) };
#undef REASON

static int check_traits(const struct identity *identity, const struct wire_u64v *theirs, struct decline *why) {
        if (theirs->count != N_TRAITS)
                return decline(why, "identity", "%u traits are not %u", theirs->count, N_TRAITS);
        for (uint32_t i = 0; i < N_TRAITS; i++)
                if (wire_u64v_at(theirs, i) != identity->traits[i])
                        return decline(why, trait_misses[i].reason, "%s is not that of the workers",
                                       trait_misses[i].text);
        return 0;
}

int identity_check(const struct identity *identity, int fd, const struct sock_peer *peer,
                   const struct proto_run *run, struct decline *why) {
        if (peer->gid != identity->gid)
                return decline(why, "identity", "the group is not that of the workers");
        if (!has_same_groups(identity, fd))
                return decline(why, "identity", "the supplementary groups are not those of the workers");
        if (run->pid != (uint32_t)peer->pid)
                return decline(why, "namespace", "the pid namespace is not that of the workers");
        if (run->uid != peer->uid)
                return decline(why, "namespace", "the user namespace is not that of the workers");
        if (network_of(fd) != identity->network)
                return decline(why, "namespace", "the network namespace is not that of the workers");
        return check_traits(identity, &run->traits, why);
}
