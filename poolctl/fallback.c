#include "fallback.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

/* Where to look once poold has named none: below the folder that a variable names. The order counts. */
static const struct {
        const char *variable;
        const char *path;
} candidates[] = {
        { "VIRTUAL_ENV", "/bin/python3" },
        { "VIRTUAL_ENV", "/bin/python" },
        { "CONDA_PREFIX", "/bin/python3" },
        { NULL, POOLD_PYTHON },
};
#define N_CANDIDATES (sizeof(candidates) / sizeof(candidates[0]))

/* Is it this very program, under whatever name, which would only come back here? */
static bool is_self(const char *path, const struct stat *self) {
        struct stat st;

        return stat(path, &st) == 0 && st.st_dev == self->st_dev && st.st_ino == self->st_ino;
}

static int stat_self(struct stat *ret_self) {
        const char *name = (const char *)getauxval(AT_EXECFN); /* NOLINT(performance-no-int-to-ptr) */

        if (stat("/proc/self/exe", ret_self) == 0)
                return 0;
        return name ? stat(name, ret_self) : -1;
}

/* Fills in the path of a candidate. Returns whether it is to be tried. */
static bool find_candidate(size_t index, const struct stat *self, char path[PATH_MAX]) {
        const char *folder = candidates[index].variable ? getenv(candidates[index].variable) : "";
        int n;

        if (!folder || (candidates[index].variable && !folder[0]))
                return false;
        n = snprintf(path, PATH_MAX, "%s%s", folder, candidates[index].path);
        return n < PATH_MAX && access(path, X_OK) == 0 && !is_self(path, self);
}

/* Returns only if that fails. */
static int become(const char *python, const struct miss *miss, char **args, bool verbose) {
        if (verbose)
                say("run by %s: %s", python, miss_text(miss));
        args[-1] = (char *)python;
        execv(python, args - 1);
        say("no warm worker (%s: %s), and %s cannot be run: %s. Install it, or name a Python that is there in the "
            "pool's `python` key or by activating its environment",
            miss->reason ? miss->reason : "", miss_text(miss), python, strerror(errno));
        return 125;
}

const char *fallback_find(const struct miss *miss, char *path) {
        struct stat self;

        if (stat_self(&self) < 0)
                self = (struct stat){ 0 }; /* no file is number 0 */
        if (miss->python && miss->python[0] && !is_self(miss->python, &self))
                return miss->python;
        for (size_t i = 0; i < N_CANDIDATES; i++)
                if (find_candidate(i, &self, path))
                        return path;
        return NULL;
}

int fallback_exec(const struct miss *miss, char **args, bool verbose) {
        char path[PATH_MAX];
        const char *python = fallback_find(miss, path);

        if (python)
                return become(python, miss, args, verbose);
        say("no warm worker (%s: %s), and there is no python3: neither %s nor that of an activated environment",
            miss->reason ? miss->reason : "", miss_text(miss), POOLD_PYTHON);
        return 125;
}
