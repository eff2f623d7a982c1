#include "import_times.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "import time:"
#define HEADING PREFIX " self [us] | cumulative | imported package"
#define MAX_LINE_BYTES 4096 /* what is longer is the script's */

void import_times_fini(struct import_times *times) {
        for (size_t i = 0; i < times->n_entries; i++)
                free(times->entries[i].name);
        free(times->entries);
        free(times->rest);
        *times = (struct import_times){ 0 };
}

static void drop_last(struct import_times *times) {
        free(times->entries[--times->n_entries].name);
}

/*
 * `site` ends what an interpreter imports when it starts: the script's own, and later those of Pythons that it starts
 * with its options, as multiprocessing does.
 */
static void drop_start(struct import_times *times) {
        drop_last(times);
        while (times->n_entries > 0 && (!times->has_started || times->entries[times->n_entries - 1].level > 0))
                drop_last(times);
        times->has_started = true;
}

/* Takes @name, also if it fails. Returns 0 or -ENOMEM. */
static int add(struct import_times *times, char *name, uint64_t usec, unsigned level) {
        if (!name)
                return -ENOMEM;
        if (times->n_entries == times->n_room) {
                size_t n = times->n_room ? times->n_room * 2 : 64;
                struct import_entry *entries = reallocarray(times->entries, n, sizeof(*entries));

                if (!entries) {
                        free(name);
                        return -ENOMEM;
                }
                times->entries = entries;
                times->n_room = n;
        }
        times->entries[times->n_entries++] = (struct import_entry){ name, usec, level };
        if (level == 0 && strcmp(name, "site") == 0)
                drop_start(times);
        return 0;
}

/* Reads " 123 |". Returns what follows, or NULL. */
static const char *read_field(const char *at, const char *end, uint64_t *ret_usec) {
        const char *bar = memchr(at, '|', (size_t)(end - at));

        *ret_usec = 0;
        if (!bar)
                return NULL;
        while (at < bar && *at == ' ')
                at++;
        while (at < bar && isdigit((unsigned char)*at) && *ret_usec < UINT64_MAX / 100)
                *ret_usec = *ret_usec * 10 + (uint64_t)(*at++ - '0');
        while (at < bar && *at == ' ')
                at++;
        return at == bar ? bar + 1 : NULL;
}

/* The line from @at to @end begins with PREFIX. Returns 1 if it is one of python's, 0 if not, or -ENOMEM. */
static int take_line(struct import_times *times, const char *at, const char *end) {
        uint64_t self_usec, usec;
        const char *name;

        if ((size_t)(end - at) == strlen(HEADING) && memcmp(at, HEADING, strlen(HEADING)) == 0)
                return 1;
        at = read_field(at + strlen(PREFIX), end, &self_usec);
        if (at)
                at = read_field(at, end, &usec);
        if (!at || at == end || *at++ != ' ')
                return 0;
        for (name = at; name < end && *name == ' '; name++)
                ;
        if (name == end || memchr(name, ' ', (size_t)(end - name)))
                return 0;
        return add(times, strndup(name, (size_t)(end - name)), usec, (unsigned)(name - at) / 2) < 0 ? -ENOMEM : 1;
}

/* Where PREFIX, or a beginning of it that ends at @end, stands first; else @end. */
static const char *find_prefix(const char *at, const char *end) {
        for (; at < end; at++) {
                size_t n_left = (size_t)(end - at);

                if (memcmp(at, PREFIX, n_left < strlen(PREFIX) ? n_left : strlen(PREFIX)) == 0)
                        return at;
        }
        return end;
}

/* Takes the line from @at to @end, which is that of its newline. Returns 0 or -ENOMEM. */
static int take_whole(struct import_times *times, const char *at, const char *end, import_times_pass *pass,
                      void *user) {
        const char *begin = memmem(at, (size_t)(end - at), PREFIX, strlen(PREFIX));
        int r = begin ? take_line(times, begin, end) : 0;

        if (r < 0)
                return r;
        if (r > 0)
                end = begin;
        else
                end++;
        if (end > at)
                pass(at, (size_t)(end - at), user);
        return 0;
}

/* Passes what stands in @rest and is the script's for certain. */
static void pass_rest(struct import_times *times, bool at_end, import_times_pass *pass, void *user) {
        const char *end = times->rest + times->n_rest;
        const char *keep = at_end || times->n_rest > MAX_LINE_BYTES ? end : find_prefix(times->rest, end);
        size_t n_pass = (size_t)(keep - times->rest);

        if (n_pass > 0)
                pass(times->rest, n_pass, user);
        memmove(times->rest, keep, times->n_rest - n_pass);
        times->n_rest -= n_pass;
}

static int append(struct import_times *times, const char *data, size_t n) {
        char *rest = realloc(times->rest, times->n_rest + n + 1);

        if (!rest)
                return -ENOMEM;
        memcpy(rest + times->n_rest, data, n);
        times->rest = rest;
        times->n_rest += n;
        return 0;
}

int import_times_take(struct import_times *times, const char *data, size_t n, import_times_pass *pass,
                      void *user) {
        const char *at, *end, *newline;
        int r;

        r = append(times, data, n);
        if (r < 0)
                return r;
        end = times->rest + times->n_rest;
        for (at = times->rest; (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
                r = take_whole(times, at, newline, pass, user);
                if (r < 0)
                        return r;
        }
        times->n_rest = (size_t)(end - at);
        memmove(times->rest, at, times->n_rest);
        pass_rest(times, n == 0, pass, user);
        return 0;
}

static bool is_repeated(const struct import_times *times, size_t index) {
        for (size_t i = 0; i < index; i++)
                if (times->entries[i].level == 0 &&
                    strcmp(times->entries[i].name, times->entries[index].name) == 0)
                        return true;
        return false;
}

uint64_t import_times_total(const struct import_times *times) {
        uint64_t total = 0;

        for (size_t i = 0; i < times->n_entries; i++)
                if (times->entries[i].level == 0 && !is_repeated(times, i))
                        total += times->entries[i].usec;
        return total;
}

struct chooser {
        const struct import_times *times;
        uint64_t least_usec;
        import_times_is_local *is_local;
        void *user;
        struct import_choice *choices; /* room for all entries */
        size_t n_choices;
};

/* The first of the entries before @parent that it imported, if through others; @parent if there is none. */
static size_t first_import(const struct import_times *times, size_t parent) {
        size_t first = parent;

        while (first > 0 && times->entries[first - 1].level > times->entries[parent].level)
                first--;
        return first;
}

/* Does importing the module @index take hardly longer than the package does that it is in? */
static size_t find_package(const struct import_times *times, size_t index) {
        const struct import_entry *module = &times->entries[index];

        for (size_t i = first_import(times, index); i < index; i++) {
                const struct import_entry *entry = &times->entries[i];
                size_t length = strlen(entry->name);

                if (entry->level == module->level + 1 && strncmp(entry->name, module->name, length) == 0 &&
                    module->name[length] == '.' && entry->usec >= module->usec / 10 * 9)
                        return find_package(times, i);
        }
        return index;
}

static bool is_chosen(const struct chooser *chooser, const char *name) {
        for (size_t i = 0; i < chooser->n_choices; i++)
                if (strcmp(chooser->choices[i].name, name) == 0)
                        return true;
        return false;
}

/* Returns what is proposed of the import @index, in microseconds. */
static uint64_t choose(struct chooser *chooser, size_t index) {
        const struct import_entry *entry = &chooser->times->entries[index];
        uint64_t usec = 0;

        if (entry->usec < chooser->least_usec || is_chosen(chooser, entry->name))
                return 0;
        if (!chooser->is_local(entry->name, chooser->user)) {
                const char *name = chooser->times->entries[find_package(chooser->times, index)].name;

                if (is_chosen(chooser, name))
                        return 0;
                chooser->choices[chooser->n_choices++] = (struct import_choice){ name, entry->usec, false };
                return entry->usec;
        }
        for (size_t i = first_import(chooser->times, index); i < index; i++)
                if (chooser->times->entries[i].level == entry->level + 1)
                        usec += choose(chooser, i);
        if (entry->usec >= usec + chooser->least_usec)
                chooser->choices[chooser->n_choices++] =
                        (struct import_choice){ entry->name, entry->usec - usec, true };
        return usec;
}

int import_times_choose(const struct import_times *times, uint64_t least_usec, import_times_is_local *is_local,
                        void *user, struct import_choice **ret_choices, size_t *ret_n_choices) {
        struct chooser chooser = { times, least_usec, is_local, user, NULL, 0 };

        chooser.choices = calloc(times->n_entries + 1, sizeof(*chooser.choices));
        if (!chooser.choices)
                return -ENOMEM;
        for (size_t i = 0; i < times->n_entries; i++)
                if (times->entries[i].level == 0)
                        choose(&chooser, i);
        *ret_choices = chooser.choices;
        *ret_n_choices = chooser.n_choices;
        return 0;
}
