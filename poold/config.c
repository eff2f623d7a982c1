/*
 * Loading poold.ini. It never stops at an error: each is written to the parser's list, the value keeps its
 * default, and a file with errors yields no configuration at all.
 */

#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "config_keys.h"
#include "expand.h"
#include "inifile.h"
#include "lib/pyargs.h"
#include "lib/sock.h"

#define MAX_POOL_NAME 64

static void freep(void *pointer) {
        free(*(void **)pointer);
}

#define _cleanup_free_ __attribute__((cleanup(freep)))

/* A section or a key that the file has. */
struct entry {
        char *name;
        unsigned line;
        const struct config_key *key; /* NULL: a section, or not known */
        bool valid;
};

struct entry_list {
        struct entry *entries;
        size_t n_entries;
};

struct parser {
        struct config *config;
        FILE *errors;
        unsigned n_errors;
        struct entry_list sections; /* so far; the last one is being read */
        struct entry_list keys;     /* of this section, so far; the last one is being read */
        enum config_section section;
        const char *section_name; /* NULL: none */
        const char *key_name;     /* NULL: none */
        unsigned line;            /* 0: none */
};

/* Writes what goes before the text of an error. */
static void begin_error(struct parser *parser, unsigned line, const char *key_name) {
        FILE *errors = parser->errors;

        if (parser->n_errors++)
                fputc('\n', errors);
        fputs(parser->config->file ? parser->config->file : "built-in defaults", errors);
        if (line)
                fprintf(errors, ":%u", line);
        fputs(": ", errors);
        if (parser->section_name)
                fprintf(errors, "section [%s]%s", parser->section_name, key_name ? ", " : ": ");
        if (key_name)
                fprintf(errors, "key %s: ", key_name);
}

/* Adds an error about @key_name (may be NULL) of the current section. */
static void __attribute__((format(printf, 4, 5)))
report_at(struct parser *parser, unsigned line, const char *key_name, const char *format, ...) {
        va_list arguments;

        begin_error(parser, line, key_name);
        va_start(arguments, format);
        vfprintf(parser->errors, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized): it is not */
        va_end(arguments);
}

#define report(parser, ...) report_at(parser, (parser)->line, (parser)->key_name, __VA_ARGS__)

/* Appends @item, which is taken, also on failure; NULL counts as one. Returns 0 or -ENOMEM. */
static int strv_push(char ***strv, char *item) {
        size_t n = 0;
        char **grown;

        while ((*strv)[n])
                n++;
        grown = item ? realloc(*strv, (n + 2) * sizeof(*grown)) : NULL;
        if (!grown) {
                free(item);
                return -ENOMEM;
        }
        grown[n] = item;
        grown[n + 1] = NULL;
        *strv = grown;
        return 0;
}

static void strv_free(char **strv) {
        for (char **item = strv; item && *item; item++)
                free(*item);
        free(strv);
}

static struct entry *entry_find(const struct entry_list *list, const char *name) {
        for (size_t i = 0; i < list->n_entries; i++)
                if (strcmp(list->entries[i].name, name) == 0)
                        return &list->entries[i];
        return NULL;
}

/* Returns the new entry, or NULL for lack of memory. */
static struct entry *entry_add(struct entry_list *list, const char *name, unsigned line) {
        struct entry *grown = realloc(list->entries, (list->n_entries + 1) * sizeof(*grown));
        char *copy = strdup(name);

        if (grown)
                list->entries = grown;
        if (!grown || !copy) {
                free(copy);
                return NULL;
        }
        grown[list->n_entries] = (struct entry){ .name = copy, .line = line, .valid = true };
        return &grown[list->n_entries++];
}

static void entry_list_clear(struct entry_list *list) {
        for (size_t i = 0; i < list->n_entries; i++)
                free(list->entries[i].name);
        free(list->entries);
        *list = (struct entry_list){ 0 };
}

/*
 * Values. Each parse function puts @value into the field at @slot. It returns 0, CONFIG_INVALID if it has reported
 * an error, or -ENOMEM.
 */

static int parse_number(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        uint64_t number = 0;
        const char *at;

        for (at = value; isdigit((unsigned char)*at) && number <= key->max; at++)
                number = number * 10 + (uint64_t)(*at - '0');
        if (at == value || *at || number < key->min || number > key->max) {
                report(parser, "'%s' is not ", value);
                config_key_describe(parser->errors, key);
                return CONFIG_INVALID;
        }
        *(uint32_t *)slot = (uint32_t)number;
        return 0;
}

static int parse_size(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        if (strcmp(value, "auto") != 0)
                return parse_number(parser, key, value, slot);
        *(uint32_t *)slot = CONFIG_SIZE_AUTO;
        return 0;
}

static int parse_bytes(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        static const char units[] = "KMGT";
        const char *unit;
        uint64_t number;
        char *end;

        errno = 0;
        number = strtoull(value, &end, 10);
        unit = *end ? strchr(units, *end) : NULL;
        if (!isdigit((unsigned char)value[0]) || errno || (*end && (!unit || end[1])) ||
            (unit && number > UINT64_MAX >> (10 * (unit - units + 1)))) {
                report(parser, "'%s' is not ", value);
                config_key_describe(parser->errors, key);
                return CONFIG_INVALID;
        }
        *(uint64_t *)slot = unit ? number << (10 * (unit - units + 1)) : number;
        return 0;
}

static int parse_choice(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        for (uint32_t i = 0; key->choices[i]; i++)
                if (strcmp(value, key->choices[i]) == 0) {
                        *(uint32_t *)slot = i;
                        return 0;
                }
        report(parser, "'%s' is not ", value);
        config_key_describe(parser->errors, key);
        return CONFIG_INVALID;
}

static int parse_log_level(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        if (log_level_parse(value, slot) == 0)
                return 0;
        report(parser, "'%s' is not ", value);
        config_key_describe(parser->errors, key);
        return CONFIG_INVALID;
}

static int parse_path(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        _cleanup_free_ char *path = NULL;
        const char *problem;
        int r;

        if (!value[0])
                return 0;
        r = expand_path(value, &path, &problem);
        if (r < 0)
                return r;
        if (r == EXPAND_IMPOSSIBLE) {
                report(parser, "'%s' %s", value, problem);
                return CONFIG_INVALID;
        }
        if (strlen(path) > key->max) {
                report(parser, "'%s' is longer than %u bytes", value, key->max);
                return CONFIG_INVALID;
        }
        free(*(char **)slot); /* set already where a section is there twice */
        *(char **)slot = path;
        path = NULL;
        return 0;
}

/* None but loopback's: whoever reads the metrics is not asked who he is. */
static bool is_loopback(const char *address) {
        struct in6_addr six;
        struct in_addr four;

        if (inet_pton(AF_INET, address, &four) == 1)
                return ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
        return inet_pton(AF_INET6, address, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

/* Returns whether @value is ADDRESS:PORT, or [ADDRESS]:PORT for IPv6. */
static bool is_address(const char *value) {
        char address[INET6_ADDRSTRLEN + 1];
        const char *colon = strrchr(value, ':');
        size_t n = colon ? (size_t)(colon - value) : 0;
        unsigned long port;
        char *end;

        if (n > 2 && value[0] == '[' && value[n - 1] == ']') {
                value++;
                n -= 2;
        }
        if (!n || n >= sizeof(address) || !isdigit((unsigned char)colon[1]))
                return false;
        memcpy(address, value, n);
        address[n] = '\0';
        port = strtoul(colon + 1, &end, 10);
        return !*end && port > 0 && port <= UINT16_MAX && is_loopback(address);
}

static int parse_address(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        static const struct config_key path_key = { .min = 1,
                                                    .max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1 };
        _cleanup_free_ char *path = NULL;
        char *address;
        int r;

        if (!value[0])
                return 0;
        if (strncmp(value, "unix:", 5) == 0 && value[5]) {
                r = parse_path(parser, &path_key, value + 5, &path);
                if (r)
                        return r;
                if (asprintf(&address, "unix:%s", path) < 0)
                        return -ENOMEM;
        } else if (is_address(value)) {
                address = strdup(value);
                if (!address)
                        return -ENOMEM;
        } else {
                report(parser, "'%s' is not ", value);
                config_key_describe(parser->errors, key);
                return CONFIG_INVALID;
        }
        free(*(char **)slot);
        *(char **)slot = address;
        return 0;
}

/* The interpreter is run, since a name tells nothing of it. */
static int parse_python(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        char problem[INTERPRETER_PROBLEM_BYTES];
        struct interpreter interpreter;
        _cleanup_free_ char *path = NULL;
        int r;

        r = parse_path(parser, key, value, &path);
        if (r || !path)
                return r;
        r = interpreter_probe(path, &interpreter, problem);
        if (r == INTERPRETER_UNFIT) {
                report(parser, "'%s' %s", value, problem);
                return CONFIG_INVALID;
        }
        if (r < 0)
                return r;
        interpreter_fini(slot);
        *(struct interpreter *)slot = interpreter;
        return 0;
}

static int parse_path_item(struct parser *parser, const struct config_key *key, const char *item, void *slot) {
        char *path = NULL;
        int r;

        r = parse_path(parser, key, item, &path);
        return r == 0 ? strv_push(slot, path) : r;
}

/* Letters beyond ASCII are left to Python to judge. */
static bool is_module_name(const char *name) {
        bool starts = true;

        for (; *name; name++) {
                unsigned char c = (unsigned char)*name;

                if (starts ? !isalpha(c) && c != '_' && c < 0x80 : !isalnum(c) && c != '_' && c < 0x80 && c != '.')
                        return false;
                starts = c == '.';
        }
        return !starts;
}

static int parse_module(struct parser *parser, const struct config_key *key, const char *item, void *slot) {
        (void)key;
        if (!is_module_name(item)) {
                report(parser, "'%s' is not the name of a module", item);
                return CONFIG_INVALID;
        }
        return strv_push(slot, strdup(item));
}

/* They are looked at together, in end_pool(). */
static int parse_option(struct parser *parser, const struct config_key *key, const char *item, void *slot) {
        (void)parser;
        (void)key;
        return strv_push(slot, strdup(item));
}

static int parse_name(struct parser *parser, const struct config_key *key, const char *item, void *slot) {
        const char *at = item;

        (void)key;
        while (isalnum((unsigned char)*at) || *at == '_')
                at++;
        if (at == item || isdigit((unsigned char)*item) || (*at && strcmp(at, "*") != 0)) {
                report(parser, "'%s' is not the name of an environment variable", item);
                return CONFIG_INVALID;
        }
        return strv_push(slot, strdup(item));
}

static int parse_env(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        const char *name = parser->key_name + strlen(CONFIG_ENV_PREFIX), *at = name;
        char *variable;

        (void)key;
        while (isalnum((unsigned char)*at) || *at == '_')
                at++;
        if (at == name || *at || isdigit((unsigned char)*name)) {
                report(parser, "'%s' is not the name of an environment variable", name);
                return CONFIG_INVALID;
        }
        return strv_push(slot, asprintf(&variable, "%s=%s", name, value) < 0 ? NULL : variable);
}

/* Each of these types is one line of one value, or a list with @separators, whose items @parse adds to. */
static const struct {
        int (*parse)(struct parser *parser, const struct config_key *key, const char *value, void *slot);
        const char *separators;
} types[] = {
        [CONFIG_TYPE_NUMBER] = { parse_number, NULL },   [CONFIG_TYPE_SECONDS] = { parse_number, NULL },
        [CONFIG_TYPE_SIZE] = { parse_size, NULL },       [CONFIG_TYPE_BYTES] = { parse_bytes, NULL },
        [CONFIG_TYPE_CHOICE] = { parse_choice, NULL },   [CONFIG_TYPE_LOG_LEVEL] = { parse_log_level, NULL },
        [CONFIG_TYPE_PATH] = { parse_path, NULL },       [CONFIG_TYPE_PYTHON] = { parse_python, NULL },
        [CONFIG_TYPE_PATHS] = { parse_path_item, ":" },  [CONFIG_TYPE_MODULES] = { parse_module, "," },
        [CONFIG_TYPE_OPTIONS] = { parse_option, " \t" }, [CONFIG_TYPE_ENV] = { parse_env, NULL },
        [CONFIG_TYPE_NAMES] = { parse_name, "," },       [CONFIG_TYPE_ADDRESS] = { parse_address, NULL },
};

/* As the parse functions, for each item of @value that is not empty. */
static int parse_list(struct parser *parser, const struct config_key *key, const char *value, void *slot) {
        _cleanup_free_ char *copy = strdup(value);
        int r, result = 0;

        if (!copy)
                return -ENOMEM;
        for (char *rest = copy, *item; (item = strsep(&rest, types[key->type].separators));) {
                item += strspn(item, " \t");
                for (char *end = item + strlen(item); end > item && (end[-1] == ' ' || end[-1] == '\t');)
                        *--end = 0;
                if (!item[0])
                        continue;
                r = types[key->type].parse(parser, key, item, slot);
                if (r < 0)
                        return r;
                if (r > 0)
                        result = r;
        }
        return result; /* NOLINT(clang-analyzer-unix.Malloc): strv_push() has put all items into the list */
}

/* Puts @value into the field of @key of the current section, the last pool where it is one. */
static int parse_value(struct parser *parser, const struct config_key *key, const char *value) {
        struct config *config = parser->config;
        void *base =
                key->section == CONFIG_SECTION_POOL ? (void *)&config->pools[config->n_pools - 1] : (void *)config;
        void *slot = (char *)base + key->offset;

        return types[key->type].separators ? parse_list(parser, key, value, slot)
                                           : types[key->type].parse(parser, key, value, slot);
}

static int set_defaults(struct parser *parser, enum config_section section) {
        int r;

        for (const struct config_key *key = config_keys; key < config_keys + CONFIG_N_KEYS; key++) {
                if (key->section != section || !key->fallback[0])
                        continue;
                r = parse_value(parser, key, key->fallback);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Appends a pool with the defaults. */
static int add_pool(struct parser *parser, const char *name) {
        struct config *config = parser->config;
        struct config_pool *grown, *pool;

        grown = realloc(config->pools, (config->n_pools + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        config->pools = grown;
        pool = &grown[config->n_pools++];
        *pool = (struct config_pool){
                .name = strdup(name),
                .modules = calloc(1, sizeof(char *)),
                .path = calloc(1, sizeof(char *)),
                .options = calloc(1, sizeof(char *)),
                .env = calloc(1, sizeof(char *)),
                .env_sensitive = calloc(1, sizeof(char *)),
        };
        if (!pool->name || !pool->modules || !pool->path || !pool->options || !pool->env || !pool->env_sensitive)
                return -ENOMEM;
        return set_defaults(parser, CONFIG_SECTION_POOL);
}

static bool is_pool_name(const char *name) {
        size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

        return length > 0 && length <= MAX_POOL_NAME && !name[length];
}

static void check_options(struct parser *parser, const struct config_pool *pool) {
        const struct entry *entry = entry_find(&parser->keys, "options");
        struct pyargs args;
        int n = 0;

        if (!entry)
                return;
        while (pool->options[n])
                n++;
        if (pyargs_parse(pool->options, n, &args) == PYARGS_UNSUPPORTED)
                report_at(parser, entry->line, "options", "no warm worker can have '%s'", args.unsupported);
        else if (args.kind != PYARGS_STDIN || args.target[0] || args.first_arg != n)
                report_at(parser, entry->line, "options", "'%s' is something to run, and not an option",
                          args.target);
}

/* The last pool has the interpreter that poold was built for, if it names none. */
static int set_default_python(struct parser *parser) {
        struct config_pool *pool = &parser->config->pools[parser->config->n_pools - 1];
        const struct entry *named = entry_find(&parser->keys, "python"), *section = NULL;
        char problem[INTERPRETER_PROBLEM_BYTES];
        int r;

        if (pool->python.path || (named && !named->valid))
                return 0;
        r = interpreter_probe(POOLD_PYTHON, &pool->python, problem);
        if (r != INTERPRETER_UNFIT)
                return r;
        if (parser->section_name)
                section = entry_find(&parser->sections, parser->section_name);
        report_at(parser,
                  named     ? named->line
                  : section ? section->line
                            : 0,
                  "python", "its default, '%s', %s", POOLD_PYTHON, problem);
        return 0;
}

/* Two keys of a pool of which the first may not be more than the second. */
static void check_order(struct parser *parser, const char *less, uint32_t less_value, const char *more,
                        uint32_t more_value) {
        const struct entry *less_entry = entry_find(&parser->keys, less);
        const struct entry *more_entry = entry_find(&parser->keys, more);

        if (less_value <= more_value || (less_entry && !less_entry->valid) || (more_entry && !more_entry->valid))
                return;
        if (less_entry)
                report_at(parser, less_entry->line, less, "%u is more than %s, which is %u", less_value, more,
                          more_value);
        else
                report_at(parser, more_entry ? more_entry->line : 0, more, "%u is less than %s, which is %u",
                          more_value, less, less_value);
}

/* Checks what concerns more than one item or key of a pool, unless one of them has been reported already. */
static void check_pool(struct parser *parser) {
        const struct config_pool *pool = &parser->config->pools[parser->config->n_pools - 1];

        check_options(parser, pool);
        if (pool->size != CONFIG_SIZE_AUTO) {
                check_order(parser, "size", pool->size, "max_workers", pool->max_workers);
                return;
        }
        check_order(parser, "min_idle", pool->min_idle, "max_idle", pool->max_idle);
        check_order(parser, "max_idle", pool->max_idle, "max_workers", pool->max_workers);
}

static int end_section(struct parser *parser) {
        int r = 0;

        if (parser->section == CONFIG_SECTION_POOL) {
                check_pool(parser);
                r = set_default_python(parser);
        }
        entry_list_clear(&parser->keys);
        parser->section = CONFIG_SECTION_IGNORED;
        parser->section_name = NULL;
        parser->key_name = NULL;
        return r;
}

static int begin_pool(struct parser *parser, const char *name) {
        if (!is_pool_name(name))
                report(parser, "the name of a pool is 1 to %u letters, digits, '_' and '-'", MAX_POOL_NAME);
        parser->section = CONFIG_SECTION_POOL;
        return add_pool(parser, name);
}

static int on_section(void *user, unsigned line, const char *name) {
        struct parser *parser = user;
        const struct entry *first;
        struct entry *entry;
        int r;

        r = end_section(parser);
        parser->line = line;
        if (r < 0 || !name)
                return r;
        first = entry_find(&parser->sections, name);
        if (first) {
                parser->section_name = name;
                report(parser, "there is one already on line %u", first->line);
        }
        entry = entry_add(&parser->sections, name, line);
        if (!entry)
                return -ENOMEM;
        parser->section_name = entry->name;
        if (strncmp(name, "pool:", 5) == 0)
                return begin_pool(parser, name + 5);
        if (strcmp(name, "poold") == 0)
                parser->section = CONFIG_SECTION_POOLD;
        else
                report(parser, "not a section of this file; those are [poold] and [pool:NAME]");
        return 0;
}

static void report_unknown(struct parser *parser) {
        const struct config_key *nearest = config_key_nearest(parser->section, parser->key_name);

        if (nearest)
                report(parser, "there is no such key; did you mean '%s'?", nearest->name);
        else
                report(parser, "there is no such key");
}

static int parse_entry(struct parser *parser, struct entry *entry, const char *value) {
        int r;

        r = parse_value(parser, entry->key, value);
        if (r > 0)
                entry->valid = false;
        return r < 0 ? r : 0;
}

static int begin_key(struct parser *parser, const char *name, const char *value) {
        const struct entry *first = entry_find(&parser->keys, name);
        unsigned first_line = first ? first->line : 0;
        struct entry *entry;

        entry = entry_add(&parser->keys, name, parser->line);
        if (!entry)
                return -ENOMEM;
        parser->key_name = entry->name;
        entry->key = config_key_find(parser->section, name);
        if (!entry->key)
                report_unknown(parser);
        else if (first_line && !types[entry->key->type].separators)
                report(parser, "it is set already on line %u", first_line);
        else
                return parse_entry(parser, entry, value);
        entry->valid = false;
        return 0;
}

/* One more line of the value of the last key. */
static int continue_key(struct parser *parser, const char *value) {
        struct entry *entry = &parser->keys.entries[parser->keys.n_entries - 1];

        if (!entry->key)
                return 0;
        if (types[entry->key->type].separators)
                return parse_entry(parser, entry, value);
        report(parser, "it has one line only; '%s' must not be indented if it is another key", value);
        entry->valid = false;
        return 0;
}

static int on_value(void *user, unsigned line, const char *name, const char *value) {
        struct parser *parser = user;

        parser->line = line;
        if (parser->section == CONFIG_SECTION_IGNORED)
                return 0;
        if (parser->section == CONFIG_SECTION_NONE) {
                if (name)
                        report_at(parser, line, name, "it stands before the first section");
                return 0;
        }
        return name ? begin_key(parser, name, value) : continue_key(parser, value);
}

static int on_problem(void *user, unsigned line, const char *key, const char *message) {
        report_at(user, line, key, "%s", message);
        return 0;
}

/* What the file leaves open. */
static int finish(struct parser *parser) {
        struct config *config = parser->config;
        int r;

        r = end_section(parser);
        if (r == 0 && config->n_pools == 0) {
                r = add_pool(parser, "default");
                if (r == 0)
                        r = set_default_python(parser);
        }
        if (r == 0 && !config->socket)
                r = sock_default_path(&config->socket);
        return r;
}

static int parse(struct parser *parser) {
        static const struct inifile_handler handler = { on_section, on_value, on_problem };
        int r;

        r = set_defaults(parser, CONFIG_SECTION_POOLD);
        if (r == 0 && parser->config->file)
                r = inifile_read(parser->config->file, &handler, parser);
        return r == 0 ? finish(parser) : r;
}

/* An error is about a text of the user's: no control character of it is passed on to a terminal. */
static void clean_errors(char *errors) {
        for (; *errors; errors++)
                if (iscntrl((unsigned char)*errors) && *errors != '\n')
                        *errors = '?';
}

/* Turns "@folder/poold/poold.ini" into *@path if that is there. Returns 0 or -ENOMEM. */
static int find_in(const char *folder, const char *below, char **path) {
        _cleanup_free_ char *candidate = NULL;

        if (*path || !folder || folder[0] != '/')
                return 0;
        if (asprintf(&candidate, "%s%s/poold/poold.ini", folder, below) < 0) {
                candidate = NULL;
                return -ENOMEM;
        }
        if (access(candidate, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
                return 0;
        *path = candidate;
        candidate = NULL;
        return 0;
}

/* Returns 0 and the path of the file to load, a new string, or NULL if there is none; or -ENOMEM. */
static int find_file(const char *path, char **ret_path) {
        const char *config_home = getenv("XDG_CONFIG_HOME");
        const char *from_env = getenv("POOLD_CONFIG");
        int r;

        *ret_path = NULL;
        if (!path && from_env && from_env[0])
                path = from_env;
        if (path) {
                *ret_path = strdup(path);
                return *ret_path ? 0 : -ENOMEM;
        }
        if (config_home && config_home[0] == '/')
                r = find_in(config_home, "", ret_path);
        else
                r = find_in(expand_home(), "/.config", ret_path);
        return r == 0 ? find_in(POOLD_SYSCONFDIR, "", ret_path) : r;
}

int config_load(const char *path, struct config **ret_config, char **ret_errors) {
        _cleanup_free_ char *errors = NULL;
        struct parser parser = { .section = CONFIG_SECTION_NONE };
        size_t n_bytes;
        int r;

        parser.config = calloc(1, sizeof(*parser.config));
        if (parser.config)
                parser.config->n_refs = 1;
        parser.errors = open_memstream(&errors, &n_bytes);
        r = parser.config && parser.errors ? find_file(path, &parser.config->file) : -ENOMEM;
        if (r == 0)
                r = parse(&parser);
        entry_list_clear(&parser.keys);
        entry_list_clear(&parser.sections);
        if (parser.errors && fclose(parser.errors) != 0)
                r = -ENOMEM;

        if (r < 0 || parser.n_errors) {
                config_unref(parser.config);
                if (r < 0)
                        return r;
                clean_errors(errors);
                *ret_errors = errors;
                errors = NULL;
                return CONFIG_INVALID;
        }
        *ret_config = parser.config;
        return 0;
}

struct config *config_ref(struct config *config) {
        config->n_refs++;
        return config;
}

void config_unref(struct config *config) {
        if (!config || --config->n_refs)
                return;
        for (size_t i = 0; i < config->n_pools; i++) {
                free(config->pools[i].name);
                interpreter_fini(&config->pools[i].python);
                strv_free(config->pools[i].modules);
                strv_free(config->pools[i].path);
                strv_free(config->pools[i].options);
                strv_free(config->pools[i].env);
                strv_free(config->pools[i].env_sensitive);
        }
        free(config->pools);
        free(config->socket);
        free(config->metrics);
        free(config->file);
        free(config);
}
