#include "config_keys.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "config.h"

#define POOLD(field) CONFIG_SECTION_POOLD, .offset = offsetof(struct config, field)
#define POOL(field) CONFIG_SECTION_POOL, .offset = offsetof(struct config_pool, field)

const struct config_key config_keys[CONFIG_N_KEYS] = {
        { POOLD(socket), .name = "socket", .type = CONFIG_TYPE_PATH, .fallback = "", .min = 1,
          .max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, .reloadable = false,
          .help = "Where poold listens. Its folder must be nobody else's to enter (mode 0700). If empty:\n"
                  "%t/poold/poold.sock, or /tmp/poold-UID/poold.sock where there is no $XDG_RUNTIME_DIR." },
        { POOLD(log_level), .name = "log_level", .type = CONFIG_TYPE_LOG_LEVEL, .fallback = "info",
          .reloadable = true, .help = "The least important messages that are logged." },
        { POOLD(max_starting), .name = "max_starting", .type = CONFIG_TYPE_NUMBER, .fallback = "2", .min = 1,
          .max = 64, .reloadable = true,
          .help = "How many workers, of all pools together, may be warming up at once." },
        { POOLD(drain_timeout_sec), .name = "drain_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "10",
          .min = 0, .max = 86400, .reloadable = true,
          .help = "How long a stopping poold waits for running scripts before it leaves them to finish alone." },
        { POOLD(request_timeout_sec), .name = "request_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "5",
          .min = 1, .max = 3600, .reloadable = true,
          .help = "A client that has not sent a whole request by then is dropped." },

        { POOL(python), .name = "python", .type = CONFIG_TYPE_PYTHON, .fallback = "", .min = 1,
          .max = PATH_MAX - 1, .reloadable = true,
          .help = "The interpreter that the workers are: any CPython from 3.9 on, such as a virtual "
                  "environment's\n"
                  "bin/python. If empty: the python3 that poold was built for." },
        { POOL(size), .name = "size", .type = CONFIG_TYPE_NUMBER, .fallback = "2", .min = 0, .max = 1024,
          .reloadable = true, .help = "How many idle workers to keep, each ready to run a script." },
        { POOL(max_workers), .name = "max_workers", .type = CONFIG_TYPE_NUMBER, .fallback = "64", .min = 0,
          .max = 4096, .reloadable = true,
          .help = "The most workers the pool may have, counting those that warm up, are idle or run a script.\n"
                  "At least size." },
        { POOL(modules), .name = "modules", .type = CONFIG_TYPE_MODULES, .fallback = "", .reloadable = true,
          .help = "What a worker imports, in this order, before it counts as idle." },
        { POOL(path), .name = "path", .type = CONFIG_TYPE_PATHS, .fallback = "", .min = 1, .max = PATH_MAX - 1,
          .reloadable = true, .help = "Folders that come first in the sys.path of the pool's workers." },
        { POOL(options), .name = "options", .type = CONFIG_TYPE_OPTIONS, .fallback = "", .reloadable = true,
          .help = "Python's options that workers are started with, such as -O, -I or -X dev. They serve the runs\n"
                  "that have the same ones. Options that can be applied later, such as -u, -B, -W and\n"
                  "-X faulthandler, need not be here: every pool serves them." },
        { POOL(start_timeout_sec), .name = "start_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "60",
          .min = 1, .max = 3600, .reloadable = true,
          .help = "A worker that is not idle by then has failed to start." },
        { POOL(env), .name = CONFIG_ENV_PREFIX "NAME", .type = CONFIG_TYPE_ENV, .fallback = "", .reloadable = true,
          .help = "Sets the environment variable NAME for the pool's workers. One line for each variable." },
};

const struct config_key *config_key_find(enum config_section section, const char *name) {
        for (const struct config_key *key = config_keys; key < config_keys + CONFIG_N_KEYS; key++) {
                if (key->section != section)
                        continue;
                if (key->type == CONFIG_TYPE_ENV ? strncmp(name, CONFIG_ENV_PREFIX, strlen(CONFIG_ENV_PREFIX)) == 0
                                                 : strcmp(name, key->name) == 0)
                        return key;
        }
        return NULL;
}

/* How many letters must be put in, left out or changed to make @b of @a (Levenshtein), or UINT_MAX for long names.
 */
static unsigned edit_distance(const char *a, const char *b) {
        unsigned row[32], n = (unsigned)strlen(b);

        if (n >= sizeof(row) / sizeof(row[0]) || strlen(a) >= sizeof(row) / sizeof(row[0]))
                return UINT_MAX;
        for (unsigned i = 0; i <= n; i++)
                row[i] = i;
        for (; *a; a++) {
                unsigned diagonal = row[0]++;

                for (unsigned i = 1; i <= n; i++) {
                        unsigned changed = diagonal + (*a != b[i - 1]), other;

                        diagonal = row[i];
                        other = (row[i] < row[i - 1] ? row[i] : row[i - 1]) + 1;
                        row[i] = changed < other ? changed : other;
                }
        }
        return row[n];
}

const struct config_key *config_key_nearest(enum config_section section, const char *name) {
        const struct config_key *nearest = NULL;
        unsigned distance, least = 3;

        for (const struct config_key *key = config_keys; key < config_keys + CONFIG_N_KEYS; key++) {
                distance = key->section == section ? edit_distance(name, key->name) : UINT_MAX;
                if (distance < least) {
                        least = distance;
                        nearest = key;
                }
        }
        return nearest;
}

void config_key_describe(FILE *file, const struct config_key *key) {
        static const char *const descriptions[] = {
                [CONFIG_TYPE_NUMBER] = "a whole number",
                [CONFIG_TYPE_SECONDS] = "a whole number of seconds",
                [CONFIG_TYPE_LOG_LEVEL] = "err, warn, info or debug",
                [CONFIG_TYPE_PATH] =
                        "an absolute path, where ~ and %h are the home folder, %t is $XDG_RUNTIME_DIR and %% is %",
                [CONFIG_TYPE_PYTHON] = "an absolute path as above",
                [CONFIG_TYPE_PATHS] =
                        "absolute paths as above, separated by colons or on lines of their own, indented",
                [CONFIG_TYPE_MODULES] = "dotted names, separated by commas or on lines of their own, indented",
                [CONFIG_TYPE_OPTIONS] = "options as on python's command line, separated by spaces",
                [CONFIG_TYPE_ENV] = "any text, taken as it is",
        };

        fputs(descriptions[key->type], file);
        if (key->type == CONFIG_TYPE_NUMBER || key->type == CONFIG_TYPE_SECONDS)
                fprintf(file, " between %u and %u", key->min, key->max);
}

static void dump_key(FILE *file, const struct config_key *key) {
        fputs("\n# ", file);
        for (const char *at = key->help; *at; at++) {
                fputc(*at, file);
                if (*at == '\n')
                        fputs("# ", file);
        }
        fputs("\n# Value: ", file);
        config_key_describe(file, key);
        fputs(key->reloadable ? ".\n" : ".\n# A change needs a new start of poold.\n", file);
        fprintf(file, "#%s =%s%s\n", key->name, key->fallback[0] ? " " : "", key->fallback);
}

int config_dump_defaults(FILE *file) {
        enum config_section section = CONFIG_SECTION_NONE;

        fputs("# poold.ini: the configuration of poold, with every key at its default.\n"
              "#\n"
              "# To change one, remove the # before it. Behind a value, \" ;\" begins a comment.\n"
              "# poold --check tells what is wrong with this file.\n",
              file);
        for (const struct config_key *key = config_keys; key < config_keys + CONFIG_N_KEYS; key++) {
                if (key->section == CONFIG_SECTION_POOLD && section != CONFIG_SECTION_POOLD)
                        fputs("\n[poold]\n", file);
                else if (key->section == CONFIG_SECTION_POOL && section != CONFIG_SECTION_POOL)
                        fputs("\n# A pool of equal workers. There may be several, each with a name of its own; a "
                              "run gets\n"
                              "# the first in this order that suits it.\n"
                              "[pool:default]\n",
                              file);
                section = key->section;
                dump_key(file, key);
        }
        return ferror(file) ? -EIO : 0;
}
