#include "pyargs.h"

#include <string.h>

enum act {
        NEVER, /* prints something instead of running, or while it starts; or does not exist */
        LATE,
        START,
};

/* Those with an argument are W, X, c and m; the last two end the options. What is not here is no option. */
static const struct {
        char letter;
        enum act act;
} options[] = {
        { 'B', LATE },  { 'E', START }, { 'I', START }, { 'O', START }, { 'P', LATE },
        { 'R', START }, { 'S', START }, { 'W', LATE },  { 'X', LATE },  { 'b', START },
        { 'c', LATE },  { 'd', START }, { 'i', LATE },  { 'm', LATE },  { 'q', LATE },
        { 's', START }, { 't', LATE },  { 'u', LATE },  { 'v', NEVER }, { 'x', LATE },
};

/* Those of -X that do something when the interpreter starts. All others only show in sys._xoptions, faulthandler apart. */
static const struct {
        const char *name;
        enum act act;
} x_options[] = {
        { "context_aware_warnings", START },
        { "cpu_count", START },
        { "dev", START },
        { "disable_remote_debug", START },
        { "frozen_modules", START },
        { "gil", START },
        { "importtime", NEVER },
        { "int_max_str_digits", START },
        { "no_debug_ranges", START },
        { "perf", START },
        { "perf_jit", START },
        { "presite", NEVER },
        { "pycache_prefix", START },
        { "thread_inherit_context", START },
        { "tlbc", START },
        { "tracemalloc", START },
        { "utf8", START },
        { "warn_default_encoding", START },
};

static size_t x_name_length(const char *argument) {
        return strcspn(argument, "=");
}

static bool x_same_name(const char *a, const char *b) {
        size_t length = x_name_length(a);

        return length == x_name_length(b) && memcmp(a, b, length) == 0;
}

static enum act act_of(char letter, const char *argument) {
        for (size_t i = 0; letter == 'X' && i < sizeof(x_options) / sizeof(x_options[0]); i++)
                if (x_same_name(argument, x_options[i].name))
                        return x_options[i].act;
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                if (options[i].letter == letter)
                        return options[i].act;
        return NEVER;
}

bool pyargs_is_start(const struct pyargs_option *option) {
        return act_of(option->letter, option->argument) == START;
}

static bool begin_word(char *const *argv, int argc, struct pyargs_cursor *cursor) {
        const char *word = cursor->index < argc ? argv[cursor->index] : "";

        if (cursor->ended || word[0] != '-' || !word[1])
                return false;
        cursor->index++;
        if (strcmp(word, "--") == 0)
                cursor->ended = true;
        else
                cursor->letters = word + 1;
        return !cursor->ended;
}

int pyargs_next(char *const *argv, int argc, struct pyargs_cursor *cursor, struct pyargs_option *ret_option) {
        char letter;

        if (!cursor->letters && !begin_word(argv, argc, cursor))
                return 0;
        *ret_option = (struct pyargs_option){ .argument = "", .word = argv[cursor->index - 1] };
        letter = *cursor->letters++;
        if (!*cursor->letters)
                cursor->letters = NULL;
        if (strchr("WXcm", letter)) {
                const char *rest = cursor->letters;

                cursor->letters = NULL;
                if (!rest && cursor->index == argc)
                        return -1;
                ret_option->argument = rest ? rest : argv[cursor->index++];
                cursor->ended = letter == 'c' || letter == 'm';
        }
        if (act_of(letter, ret_option->argument) == NEVER)
                return -1;
        ret_option->letter = letter;
        return 1;
}

static void apply(const struct pyargs_option *option, struct pyargs *args) {
        struct pyargs_start *start = &args->start;

        switch (option->letter) {
        case 'B':
                args->dont_write_bytecode = true;
                break;
        case 'E':
                start->ignore_environment = true;
                break;
        case 'I':
                start->isolated = start->ignore_environment = start->no_user_site = args->safe_path = true;
                break;
        case 'O':
                start->optimize++;
                break;
        case 'P':
                args->safe_path = true;
                break;
        case 'R':
                start->random_hash = true;
                break;
        case 'S':
                start->no_site = true;
                break;
        case 'b':
                start->bytes_warning++;
                break;
        case 'c':
        case 'm':
                args->kind = option->letter == 'c' ? PYARGS_COMMAND : PYARGS_MODULE;
                args->target = option->argument;
                break;
        case 'd':
                start->debug++;
                break;
        case 'i':
                args->interactive++;
                break;
        case 'q':
                args->quiet++;
                break;
        case 's':
                start->no_user_site = true;
                break;
        case 'u':
                args->unbuffered = true;
                break;
        case 'x':
                args->skip_first_line = true;
                break;
        }
}

int pyargs_parse(char *const *argv, int argc, struct pyargs *ret_args) {
        struct pyargs args = { .kind = PYARGS_STDIN, .target = "" };
        struct pyargs_cursor cursor = { 0 };
        struct pyargs_option option;
        int r;

        while ((r = pyargs_next(argv, argc, &cursor, &option)) > 0)
                apply(&option, &args);
        if (r < 0) {
                *ret_args = (struct pyargs){ .unsupported = option.word };
                return PYARGS_UNSUPPORTED;
        }
        if (args.kind == PYARGS_STDIN && cursor.index < argc) {
                args.target = argv[cursor.index++];
                args.kind = strcmp(args.target, "-") == 0 ? PYARGS_STDIN : PYARGS_SCRIPT;
        }
        args.first_arg = cursor.index;
        *ret_args = args;
        return 0;
}

/* The first -X that sets what @argument sets, which is the one that counts; NULL if there is none. */
static const char *find_x(char *const *argv, int argc, const char *argument) {
        struct pyargs_cursor cursor = { 0 };
        struct pyargs_option option;

        while (pyargs_next(argv, argc, &cursor, &option) > 0)
                if (option.letter == 'X' && x_same_name(option.argument, argument))
                        return option.argument;
        return NULL;
}

/* Is every -X of @a that acts at the start the same in @b? */
static bool has_same_x(char *const *a, int n_a, char *const *b, int n_b) {
        struct pyargs_cursor cursor = { 0 };
        struct pyargs_option option;

        while (pyargs_next(a, n_a, &cursor, &option) > 0) {
                const char *ours, *theirs;

                if (option.letter != 'X' || !pyargs_is_start(&option))
                        continue;
                ours = find_x(a, n_a, option.argument);
                theirs = find_x(b, n_b, option.argument);
                if (!theirs || strcmp(ours, theirs) != 0)
                        return false;
        }
        return true;
}

static bool same_counts(const struct pyargs_start *a, const struct pyargs_start *b) {
        return a->bytes_warning == b->bytes_warning && a->debug == b->debug && a->optimize == b->optimize &&
               a->isolated == b->isolated && a->ignore_environment == b->ignore_environment &&
               a->no_user_site == b->no_user_site && a->no_site == b->no_site && a->random_hash == b->random_hash;
}

bool pyargs_same_start(char *const *a, int n_a, char *const *b, int n_b) {
        struct pyargs args_a, args_b;

        return pyargs_parse(a, n_a, &args_a) == 0 && pyargs_parse(b, n_b, &args_b) == 0 &&
               same_counts(&args_a.start, &args_b.start) && has_same_x(a, n_a, b, n_b) &&
               has_same_x(b, n_b, a, n_a);
}
