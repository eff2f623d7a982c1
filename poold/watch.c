#include "watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <unistd.h>

#include "importable.h"
#include "lib/fd.h"
#include "lib/log.h"

#define PAUSE_USEC UINT64_C(200000)

/* What one worker adds to what others have loaded is little, unless each has some names of its own. */
#define MOST_KEYS(n) (4 * (n) + 4096)

#define MOVES (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define CONTENT (IN_MODIFY | IN_CLOSE_WRITE)
#define SELF (IN_MOVE_SELF | IN_DELETE_SELF)

/* What a set holds is a sorted array of numbers, hashes of what it depends on. A collision makes it change for nothing. */
struct numbers {
        uint64_t *items;
        size_t n, n_allocated;
};

/* One of inotify's watches. */
struct node {
        int number; /* ascending in the array of all nodes, as inotify gives them out */
        uint32_t n_sets;
        char *path; /* one of those that lead there */
};

struct watch {
        struct loop *loop;
        int fd; /* -1: none could be had */
        struct loop_source *source;
        struct loop_source *pause, *told; /* until it is listened to again; for those that are to hear of it */
        void (*changed)(void *data);
        void *data;
        LIST_HEAD(, watch_set) sets;
        struct node *nodes;
        size_t n_nodes, n_allocated;
        bool is_failing; /* the log has been told */
};

struct watch_set {
        LIST_ENTRY(watch_set) link;
        struct watch *watch;
        watch_fn fn;
        void *data;
        struct numbers keys;  /* what counts */
        struct numbers nodes; /* the numbers of the nodes that it holds */
        uint64_t last;        /* a number for what was added last, and has not changed since; 0: none */
};

/* --- Numbers --- */

static int numbers_add(struct numbers *numbers, uint64_t number) {
        if (numbers->n == numbers->n_allocated) {
                size_t n_allocated = numbers->n_allocated ? 2 * numbers->n_allocated : 64;
                uint64_t *items = reallocarray(numbers->items, n_allocated, sizeof(*items));

                if (!items)
                        return -ENOMEM;
                numbers->items = items;
                numbers->n_allocated = n_allocated;
        }
        numbers->items[numbers->n++] = number;
        return 0;
}

static int compare_numbers(const void *a, const void *b) {
        const uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

        return one < other ? -1 : one > other;
}

static bool numbers_have(const struct numbers *numbers, uint64_t number) {
        return numbers->n && bsearch(&number, numbers->items, numbers->n, sizeof(number), compare_numbers);
}

/* Sorts them, each once, and gives back what is not needed. */
static void numbers_sort(struct numbers *numbers) {
        size_t n = 0;
        uint64_t *items;

        if (!numbers->n)
                return;
        qsort(numbers->items, numbers->n, sizeof(*numbers->items), compare_numbers);
        for (size_t i = 0; i < numbers->n; i++)
                if (!n || numbers->items[i] != numbers->items[n - 1])
                        numbers->items[n++] = numbers->items[i];
        numbers->n = n;
        items = realloc(numbers->items, n * sizeof(*items));
        if (items) {
                numbers->items = items;
                numbers->n_allocated = n;
        }
}

static void numbers_fini(struct numbers *numbers) {
        free(numbers->items);
        *numbers = (struct numbers){ 0 };
}

/* What has to do with a watch (0: any folder of sys.path), a PROTO_PLACE_*, and a name of @length. */
static uint64_t key(int number, char kind, const char *name, size_t length) {
        uint64_t value = UINT64_C(14695981039346656037) ^ (uint64_t)(unsigned)number;

        value = (value * UINT64_C(1099511628211) ^ (unsigned char)kind) * UINT64_C(1099511628211);
        for (size_t i = 0; i < length; i++)
                value = (value ^ (unsigned char)name[i]) * UINT64_C(1099511628211);
        return value ^ value >> 32;
}

/* --- Nodes --- */

static struct node *find_node(const struct watch *watch, int number) {
        size_t low = 0, high = watch->n_nodes;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (watch->nodes[middle].number < number)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < watch->n_nodes && watch->nodes[low].number == number ? &watch->nodes[low] : NULL;
}

/* Makes room at the place of @number. inotify counts up, so that is the end, until it has counted to INT_MAX. */
static struct node *insert_node(struct watch *watch, int number, const char *path) {
        size_t at = watch->n_nodes;
        char *copy;

        if (watch->n_nodes == watch->n_allocated) {
                size_t n_allocated = watch->n_allocated ? 2 * watch->n_allocated : 64;
                struct node *nodes = reallocarray(watch->nodes, n_allocated, sizeof(*nodes));

                if (!nodes)
                        return NULL;
                watch->nodes = nodes;
                watch->n_allocated = n_allocated;
        }
        copy = strdup(path);
        if (!copy)
                return NULL;
        while (at && watch->nodes[at - 1].number > number)
                at--;
        memmove(&watch->nodes[at + 1], &watch->nodes[at], (watch->n_nodes - at) * sizeof(*watch->nodes));
        watch->n_nodes++;
        watch->nodes[at] = (struct node){ .number = number, .path = copy };
        return &watch->nodes[at];
}

/* Those that no set holds any more go. */
static void sweep(struct watch *watch) {
        size_t n = 0;

        for (size_t i = 0; i < watch->n_nodes; i++) {
                struct node *node = &watch->nodes[i];

                if (node->n_sets) {
                        watch->nodes[n++] = *node;
                        continue;
                }
                inotify_rm_watch(watch->fd, node->number); /* fails if the folder is gone */
                free(node->path);
        }
        watch->n_nodes = n;
}

static void release(struct watch *watch, struct numbers *numbers) {
        for (size_t i = 0; i < numbers->n; i++) {
                struct node *node = find_node(watch, (int)numbers->items[i]);

                if (node)
                        node->n_sets--;
        }
        numbers_fini(numbers);
        sweep(watch);
}

/* --- What happens --- */

/* Has this anything to do with the set? */
static bool concerns(const struct watch_set *set, const struct inotify_event *event) {
        const char *name = event->len ? event->name : "";
        const struct numbers *keys = &set->keys;
        const int number = event->wd;
        size_t length = 0;

        if (!numbers_have(&set->nodes, (uint64_t)number))
                return false;
        if (!event->len)
                return event->mask & (SELF | IN_UNMOUNT) ||
                       (event->mask & IN_ATTRIB && numbers_have(keys, key(number, PROTO_PLACE_LINK, "", 0))) ||
                       (event->mask & CONTENT && numbers_have(keys, key(number, PROTO_PLACE_CONTENT, "", 0)));
        if (numbers_have(keys, key(number, PROTO_PLACE_FILE, name, strlen(name))))
                return true;
        if (!(event->mask & MOVES))
                return false;
        if (numbers_have(keys, key(number, PROTO_PLACE_MISSING, name, strlen(name))))
                return true;
        switch (importable_kind(name, &length)) {
        case IMPORTABLE_METADATA:
                return numbers_have(keys, key(number, PROTO_PLACE_PATH, "", 0));
        case IMPORTABLE_MODULE:
                return numbers_have(keys, key(number, PROTO_PLACE_MODULE, name, length)) ||
                       (numbers_have(keys, key(number, PROTO_PLACE_PATH, "", 0)) &&
                        numbers_have(keys, key(0, PROTO_PLACE_MODULE, name, length)));
        default:
                return false;
        }
}

static void handle(struct watch *watch, const struct inotify_event *event) {
        const struct node *node = event->mask & IN_Q_OVERFLOW ? NULL : find_node(watch, event->wd);
        char path[PATH_MAX + NAME_MAX + 2] = "";
        struct watch_set *set;
        bool concerns_any = false;

        if (node)
                snprintf(path, sizeof(path), "%s%s%s", node->path,
                         event->len && strcmp(node->path, "/") != 0 ? "/" : "", event->len ? event->name : "");
        LIST_FOREACH(set, &watch->sets, link)
        if (event->mask & IN_Q_OVERFLOW || (node && concerns(set, event))) {
                concerns_any = true;
                set->last = 0;
                set->fn(node ? path : NULL, set->data);
        }
        if (concerns_any)
                loop_set_deadline(watch->told, 0);
}

void watch_read(struct watch *watch) {
        _Alignas(struct inotify_event) char buffer[16384];
        ssize_t n = sizeof(buffer);

        while (watch->fd >= 0 && n > (ssize_t)sizeof(buffer) / 2) {
                n = read(watch->fd, buffer, sizeof(buffer));
                for (ssize_t at = 0; at < n;) {
                        const struct inotify_event *event = (const void *)(buffer + at);

                        handle(watch, event);
                        at += (ssize_t)(sizeof(*event) + event->len);
                }
        }
}

static void on_events(void *data, unsigned events) {
        struct watch *watch = data;

        (void)events;
        watch_read(watch);
        loop_set_events(watch->source, 0);
        loop_set_deadline(watch->pause, loop_now_usec() + PAUSE_USEC);
}

static void on_pause_over(void *data, unsigned events) {
        struct watch *watch = data;

        (void)events;
        loop_set_events(watch->source, LOOP_READ);
}

static void on_told(void *data, unsigned events) {
        struct watch *watch = data;

        (void)events;
        watch->changed(watch->data);
}

/* --- Life --- */

/* Also if it could not be had before: others may have used up the user's. */
static void open_inotify(struct watch *watch) {
        if (watch->fd >= 0)
                return;
        watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (watch->fd < 0)
                return;
        watch->source = loop_add_fd(watch->loop, watch->fd, LOOP_READ, on_events, watch);
        if (!watch->source)
                watch->fd = fd_close(watch->fd);
}

struct watch *watch_new(struct loop *loop, void (*changed)(void *data), void *data) {
        struct watch *watch = calloc(1, sizeof(*watch));

        if (!watch)
                return NULL;
        watch->loop = loop;
        watch->changed = changed;
        watch->data = data;
        watch->fd = -1;
        LIST_INIT(&watch->sets);
        watch->pause = loop_add_timer(loop, on_pause_over, watch);
        watch->told = loop_add_timer(loop, on_told, watch);
        return watch->pause && watch->told ? watch : watch_free(watch);
}

struct watch *watch_free(struct watch *watch) {
        if (!watch)
                return NULL;
        sweep(watch);
        loop_source_free(watch->source);
        loop_source_free(watch->pause);
        loop_source_free(watch->told);
        fd_close(watch->fd);
        free(watch->nodes);
        free(watch);
        return NULL;
}

struct watch_set *watch_set_new(struct watch *watch, watch_fn fn, void *data) {
        struct watch_set *set = calloc(1, sizeof(*set));

        if (!set)
                return NULL;
        set->watch = watch;
        set->fn = fn;
        set->data = data;
        LIST_INSERT_HEAD(&watch->sets, set, link);
        return set;
}

struct watch_set *watch_set_free(struct watch_set *set) {
        if (!set)
                return NULL;
        LIST_REMOVE(set, link);
        numbers_fini(&set->keys);
        release(set->watch, &set->nodes);
        free(set);
        return NULL;
}

/* What inotify is asked for where the list has this. */
static uint32_t mask_of(char kind) {
        switch (kind) {
        case PROTO_PLACE_FILE:
                return SELF | MOVES | CONTENT | IN_ATTRIB;
        case PROTO_PLACE_MODULE:
        case PROTO_PLACE_PATH:
                return SELF | MOVES;
        case PROTO_PLACE_MISSING:
                return SELF | IN_CREATE | IN_MOVED_TO;
        case PROTO_PLACE_LINK:
                return SELF | IN_ATTRIB;
        case PROTO_PLACE_CONTENT:
                return CONTENT;
        default:
                return 0;
        }
}

/* What is being added to a set. */
struct addition {
        struct numbers keys, nodes;
        bool is_incomplete;
        bool is_partial; /* of some places there is nothing to watch, as long as we may not */
};

/* Watches the place @path, a folder, a link or a file. Returns its number, or -errno. */
static int add_node(struct watch *watch, const char *path, uint32_t mask) {
        int number = watch->fd < 0 ? -1 : inotify_add_watch(watch->fd, path, mask | IN_MASK_ADD | IN_DONT_FOLLOW);

        if (number < 0)
                return watch->fd < 0 ? -EMFILE : -errno;
        return find_node(watch, number) || insert_node(watch, number, path) ? number : -ENOMEM;
}

/* One place, and the *n lines behind it, of which there are at most @n_most. Returns 0 or negative errno. */
static int add_place(struct watch *watch, struct addition *addition, const char *path, uint32_t n_most,
                     uint32_t *ret_n) {
        const char *line = wire_strv_next(path);
        uint32_t mask = SELF, n = 0;
        int number, r = 0;

        if (path[0] != '/')
                return -EPROTO;
        for (; n < n_most && line[0] != '/'; n++, line = wire_strv_next(line)) {
                uint32_t more = mask_of(line[0]);

                if (!more)
                        return -EPROTO;
                mask = more == CONTENT ? more : mask | more;
        }
        *ret_n = n;
        number = add_node(watch, path, mask);
        if (number < 0) {
                /* What we may not list, such as a /home that is closed to all, only others can move. */
                if (number == -EACCES && n == 0) {
                        addition->is_partial = true;
                        return 0;
                }
                /* What is gone by now has changed, as the worker is about to find out. */
                if (number == -ENOENT || number == -ENOTDIR) {
                        addition->is_incomplete = true;
                        return 0;
                }
                if (!watch->is_failing)
                        log_warn("cannot watch %s: %s; workers look at their files before each run", path,
                                 strerror(-number));
                watch->is_failing = addition->is_incomplete = true;
                return number == -ENOMEM ? number : 0;
        }
        r = numbers_add(&addition->nodes, (uint64_t)number);
        line = wire_strv_next(path);
        for (; r == 0 && n; n--, line = wire_strv_next(line))
                r = numbers_add(&addition->keys, key(number, line[0], line + 1, strlen(line + 1)));
        return r;
}

static int add_all(struct watch *watch, struct addition *addition, const struct proto_files *files) {
        const char *line = files->places.data;
        int r = 0;

        for (uint32_t i = 0, n = 0; r == 0 && i < files->places.count; i += n + 1) {
                r = add_place(watch, addition, line, files->places.count - i - 1, &n);
                for (uint32_t j = 0; r == 0 && j <= n; j++)
                        line = wire_strv_next(line);
        }
        line = files->modules.data;
        for (uint32_t i = 0; r == 0 && i < files->modules.count; i++, line = wire_strv_next(line))
                r = numbers_add(&addition->keys, key(0, PROTO_PLACE_MODULE, line, strlen(line)));
        return r;
}

static int append(struct numbers *to, const struct numbers *from) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < from->n; i++)
                r = numbers_add(to, from->items[i]);
        return r;
}

static uint64_t number_of(const struct proto_files *files) {
        return key(1, 0, files->modules.data, files->modules.n_bytes) +
               key(2, 0, files->places.data, files->places.n_bytes) + files->inodes;
}

int watch_set_add(struct watch_set *set, const struct proto_files *files, bool is_anew) {
        const uint64_t number = number_of(files);
        struct addition addition = { 0 };
        int r;

        /* Most workers of a pool load the same, and what leads to other inodes than then has another number. */
        if (!is_anew && number && number == set->last)
                return 0;
        set->last = 0;
        open_inotify(set->watch);
        r = add_all(set->watch, &addition, files);
        if (r == 0 && !is_anew && set->keys.n > MOST_KEYS(addition.keys.n))
                r = WATCH_OVERGROWN;
        if (r == 0 && !is_anew)
                r = append(&addition.keys, &set->keys);
        if (r == 0 && !is_anew)
                r = append(&addition.nodes, &set->nodes);
        if (r) {
                numbers_fini(&addition.keys);
                numbers_fini(&addition.nodes);
                sweep(set->watch);
                return r;
        }
        numbers_sort(&addition.keys);
        numbers_sort(&addition.nodes);
        for (size_t i = 0; i < addition.nodes.n; i++) {
                struct node *node = find_node(set->watch, (int)addition.nodes.items[i]);

                if (node)
                        node->n_sets++;
        }
        numbers_fini(&set->keys);
        set->keys = addition.keys;
        release(set->watch, &set->nodes);
        set->nodes = addition.nodes;
        if (addition.is_incomplete)
                return WATCH_INCOMPLETE;
        set->watch->is_failing = false;
        set->last = addition.is_partial ? 0 : number;
        return 0;
}

size_t watch_count(const struct watch *watch) {
        return watch->n_nodes;
}
