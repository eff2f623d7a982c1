#include "pyargs.h"

#include <string.h>

enum effect {
        UNSUPPORTED, /* acts at interpreter start, prints something instead of running, or does not exist */
        UNBUFFERED,
        DONT_WRITE_BYTECODE,
        QUIET,
        COMMAND,
        MODULE,
};

/* The options that a running interpreter can still apply; COMMAND and MODULE take an argument and end the options.
 */
static const struct {
        char letter;
        enum effect effect;
} options[] = {
        { 'u', UNBUFFERED }, { 'B', DONT_WRITE_BYTECODE }, { 'q', QUIET }, { 'c', COMMAND }, { 'm', MODULE },
};

static enum effect option_effect(char letter) {
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                if (options[i].letter == letter)
                        return options[i].effect;
        return UNSUPPORTED;
}

/* The argument of -c or -m: the rest of its word, or the next one. NULL if there is none. */
static const char *option_argument(const char *rest, char *const *argv, int argc, int *index) {
        if (*rest)
                return rest;
        return *index < argc ? argv[(*index)++] : NULL;
}

static int unsupported(struct pyargs *args, const char *word) {
        *args = (struct pyargs){ .unsupported = word };
        return -1;
}

/*
 * Applies the options of the word argv[*index] and goes behind it.
 * Returns 0, 1 if it held -c or -m and nothing of python's own can follow, or negative: unsupported.
 */
static int parse_word(char *const *argv, int argc, int *index, struct pyargs *args) {
        const char *word = argv[(*index)++];

        for (const char *letter = word + 1; *letter; letter++) {
                enum effect effect = option_effect(*letter);

                switch (effect) {
                case UNBUFFERED:
                        args->unbuffered = true;
                        break;
                case DONT_WRITE_BYTECODE:
                        args->dont_write_bytecode = true;
                        break;
                case QUIET:
                        args->quiet = true;
                        break;
                case COMMAND:
                case MODULE:
                        args->kind = effect == COMMAND ? PYARGS_COMMAND : PYARGS_MODULE;
                        args->target = option_argument(letter + 1, argv, argc, index);
                        return args->target ? 1 : unsupported(args, word);
                case UNSUPPORTED:
                        return unsupported(args, word);
                }
        }
        return 0;
}

int pyargs_parse(char *const *argv, int argc, struct pyargs *ret_args) {
        struct pyargs args = { .kind = PYARGS_STDIN, .target = "" };
        int index = 0, r = 0;

        while (r == 0 && index < argc && argv[index][0] == '-' && argv[index][1]) {
                if (strcmp(argv[index], "--") == 0) {
                        index++;
                        break;
                }
                r = parse_word(argv, argc, &index, &args);
        }
        if (r == 0 && index < argc) {
                args.target = argv[index++];
                args.kind = strcmp(args.target, "-") == 0 ? PYARGS_STDIN : PYARGS_SCRIPT;
        }
        args.first_arg = index;
        *ret_args = args;
        return r < 0 ? PYARGS_UNSUPPORTED : 0;
}
