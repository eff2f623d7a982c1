#include "config_keys.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "config.h"

#define POOLD(field) CONFIG_SECTION_POOLD, .offset = offsetof(struct config, field)
#define POOL(field) CONFIG_SECTION_POOL, .offset = offsetof(struct config_pool, field)

static const char *const on_empty[] = {
        [CONFIG_ON_EMPTY_FALLBACK] = "fallback",
        [CONFIG_ON_EMPTY_WAIT] = "wait",
        [CONFIG_ON_EMPTY_FAIL] = "fail",
        NULL,
};

static const char *const on_module_error[] = {
        [CONFIG_ON_MODULE_ERROR_FAIL] = "fail",
        [CONFIG_ON_MODULE_ERROR_WARN] = "warn",
        NULL,
};

const struct config_key config_keys[CONFIG_N_KEYS] = {
        { POOLD(socket), .name = "socket", .type = CONFIG_TYPE_PATH, .fallback = "", .min = 1,
          .max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, .change = CONFIG_CHANGE_RESTARTS,
          .help = "Where poold listens. Its folder must be nobody else's to enter (mode 0700). If empty:\n"
                  "%t/poold/poold.sock, or /tmp/poold-UID/poold.sock where there is no $XDG_RUNTIME_DIR." },
        { POOLD(log_level), .name = "log_level", .type = CONFIG_TYPE_LOG_LEVEL, .fallback = "info",
          .change = CONFIG_CHANGE_APPLIES, .help = "The least important messages that are logged." },
        { POOLD(max_starting), .name = "max_starting", .type = CONFIG_TYPE_NUMBER, .fallback = "2", .min = 1,
          .max = 64, .change = CONFIG_CHANGE_APPLIES,
          .help = "How many workers, of all pools together, may be warming up at once." },
        { POOLD(drain_timeout_sec), .name = "drain_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "10",
          .min = 0, .max = 86400, .change = CONFIG_CHANGE_APPLIES,
          .help = "How long a stopping poold waits for running scripts before it leaves them to finish alone." },
        { POOLD(request_timeout_sec), .name = "request_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "5",
          .min = 1, .max = 3600, .change = CONFIG_CHANGE_APPLIES,
          .help = "A client that has not sent a whole request by then is dropped." },
        { POOLD(metrics), .name = "metrics", .type = CONFIG_TYPE_ADDRESS, .fallback = "",
          .change = CONFIG_CHANGE_RESTARTS,
          .help = "Where poold answers Prometheus over HTTP, at /metrics. If empty: nowhere." },

        { POOL(python), .name = "python", .type = CONFIG_TYPE_PYTHON, .fallback = "", .min = 1,
          .max = PATH_MAX - 1, .change = CONFIG_CHANGE_RENEWS,
          .help = "The interpreter that the workers are: any CPython from 3.9 on, such as a virtual "
                  "environment's\n"
                  "bin/python. If empty: the python3 that poold was built for." },
        { POOL(size), .name = "size", .type = CONFIG_TYPE_SIZE, .fallback = "2", .min = 0, .max = 1024,
          .change = CONFIG_CHANGE_APPLIES,
          .help = "How many idle workers to keep, each ready to run a script. With auto, as many as the runs of\n"
                  "late make useful, between min_idle and max_idle." },
        { POOL(min_idle), .name = "min_idle", .type = CONFIG_TYPE_NUMBER, .fallback = "1", .min = 0, .max = 1024,
          .change = CONFIG_CHANGE_APPLIES,
          .help = "With size = auto, the least idle workers to keep, also while nothing is run." },
        { POOL(max_idle), .name = "max_idle", .type = CONFIG_TYPE_NUMBER, .fallback = "8", .min = 1, .max = 1024,
          .change = CONFIG_CHANGE_APPLIES, .help = "With size = auto, the most idle workers to keep." },
        { POOL(max_workers), .name = "max_workers", .type = CONFIG_TYPE_NUMBER, .fallback = "64", .min = 0,
          .max = 4096, .change = CONFIG_CHANGE_APPLIES,
          .help = "The most workers the pool may have, counting those that warm up, are idle or run a script.\n"
                  "At least size, or max_idle." },
        { POOL(modules), .name = "modules", .type = CONFIG_TYPE_MODULES, .fallback = "",
          .change = CONFIG_CHANGE_RENEWS,
          .help = "What a worker imports, in this order, before it counts as idle." },
        { POOL(path), .name = "path", .type = CONFIG_TYPE_PATHS, .fallback = "", .min = 1, .max = PATH_MAX - 1,
          .change = CONFIG_CHANGE_RENEWS,
          .help = "Folders that come first in the sys.path of the pool's workers." },
        { POOL(options), .name = "options", .type = CONFIG_TYPE_OPTIONS, .fallback = "",
          .change = CONFIG_CHANGE_RENEWS,
          .help = "Python's options that workers are started with, such as -O, -I or -X dev. They serve the runs\n"
                  "that have the same ones. Options that can be applied later, such as -u, -B, -W and\n"
                  "-X faulthandler, need not be here: every pool serves them." },
        { POOL(start_timeout_sec), .name = "start_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "60",
          .min = 1, .max = 3600, .change = CONFIG_CHANGE_APPLIES,
          .help = "A worker that is not idle by then has failed to start." },
        { POOL(on_module_error), .name = "on_module_error", .type = CONFIG_TYPE_CHOICE, .fallback = "fail",
          .choices = on_module_error, .change = CONFIG_CHANGE_RENEWS,
          .help = "What a module that cannot be imported means: fail is no worker until it can be, warn a worker\n"
                  "without it and a warning in the log." },
        { POOL(max_age_sec), .name = "max_age", .type = CONFIG_TYPE_SECONDS, .fallback = "0", .min = 0,
          .max = 31536000, .change = CONFIG_CHANGE_APPLIES,
          .help = "An idle worker older than this is replaced. 0: none is for its age." },
        { POOL(on_empty), .name = "on_empty", .type = CONFIG_TYPE_CHOICE, .fallback = "fallback",
          .choices = on_empty, .change = CONFIG_CHANGE_APPLIES,
          .help = "What becomes of a run that finds no idle worker: with fallback python3 runs it, unless a "
                  "worker\n"
                  "will be ready sooner than python3 could start; with wait it waits for a worker, in its turn, "
                  "and\n"
                  "python3 runs it after wait_timeout; with fail it ends with an error." },
        { POOL(wait_timeout_sec), .name = "wait_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "60", .min = 1,
          .max = 86400, .change = CONFIG_CHANGE_APPLIES,
          .help = "With on_empty = wait, the longest that a run waits." },
        { POOL(run_timeout_sec), .name = "run_timeout", .type = CONFIG_TYPE_SECONDS, .fallback = "0", .min = 0,
          .max = 31536000, .change = CONFIG_CHANGE_RENEWS,
          .help = "A run that lasts longer gets SIGTERM, and SIGKILL 10 seconds later. 0: no limit." },
        { POOL(memory_max_bytes), .name = "memory_max", .type = CONFIG_TYPE_BYTES, .fallback = "0",
          .change = CONFIG_CHANGE_RENEWS,
          .help = "The most memory that a run may use: all of its processes where poold may make control groups,\n"
                  "else each of them (RLIMIT_DATA). 0: no limit." },
        { POOL(nice), .name = "nice", .type = CONFIG_TYPE_NUMBER, .fallback = "10", .min = 0, .max = 19,
          .change = CONFIG_CHANGE_RENEWS,
          .help = "The niceness of a worker that warms up, where it may be taken back for the run (see nice(7),\n"
                  "RLIMIT_NICE)." },
        { POOL(env), .name = CONFIG_ENV_PREFIX "NAME", .type = CONFIG_TYPE_ENV, .fallback = "",
          .change = CONFIG_CHANGE_RENEWS,
          .help = "Sets the environment variable NAME for the pool's workers. One line for each variable." },
        { POOL(env_sensitive), .name = "env_sensitive", .type = CONFIG_TYPE_NAMES, .fallback = "",
          .change = CONFIG_CHANGE_APPLIES,
          .help = "More environment variables that the modules read when they are imported: a run whose values "
                  "are\n"
                  "not the workers' does not fit. A * at the end of a name stands for any rest." },
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
                [CONFIG_TYPE_SIZE] = "auto, or a whole number",
                [CONFIG_TYPE_BYTES] = "a whole number of bytes, or of K, M, G or T, such as 512M",
                [CONFIG_TYPE_LOG_LEVEL] = "err, warn, info or debug",
                [CONFIG_TYPE_PATH] =
                        "an absolute path, where ~ and %h are the home folder, %t is $XDG_RUNTIME_DIR and %% is %",
                [CONFIG_TYPE_PYTHON] = "an absolute path as above",
                [CONFIG_TYPE_PATHS] =
                        "absolute paths as above, separated by colons or on lines of their own, indented",
                [CONFIG_TYPE_MODULES] = "dotted names, separated by commas or on lines of their own, indented",
                [CONFIG_TYPE_OPTIONS] = "options as on python's command line, separated by spaces",
                [CONFIG_TYPE_ENV] = "any text, taken as it is",
                [CONFIG_TYPE_NAMES] = "names, separated by commas or on lines of their own, indented",
                [CONFIG_TYPE_ADDRESS] = "unix:PATH, or a loopback address and a port, such as 127.0.0.1:9464",
        };

        for (const char *const *choice = key->choices; choice && *choice; choice++)
                fprintf(file, "%s%s", choice == key->choices ? "" : choice[1] ? ", " : " or ", *choice);
        if (!key->choices)
                fputs(descriptions[key->type], file);
        if (key->type == CONFIG_TYPE_NUMBER || key->type == CONFIG_TYPE_SECONDS || key->type == CONFIG_TYPE_SIZE)
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
        fputs(key->change == CONFIG_CHANGE_RESTARTS ? ".\n# A change needs a new start of poold.\n" : ".\n", file);
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
