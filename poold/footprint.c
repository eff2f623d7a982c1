#include "footprint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "importable.h"
#include "lib/proto.h"
#include "trace.h"

struct module {
        char *folder, *name; /* one allocation; "": of sys.path */
};

struct footprint {
        struct list files, folders, gone; /* char * */
        struct list modules;              /* struct module */
        struct trace *trace;
};

static int list_add_text(struct list *list, const char *text) {
        char **item = list_extend(list, sizeof(*item));

        if (item)
                *item = strdup(text);
        if (item && !*item)
                list->n--;
        return item && *item ? 0 : -ENOMEM;
}

static void list_free_texts(struct list *list) {
        for (size_t i = 0; i < list->n; i++)
                free(((char **)list->items)[i]);
        free(list->items);
        *list = (struct list){ 0 };
}

/* --- Looking --- */

/* The files that site.py reads there are loaded files, too. */
static void look_for_pth(struct trace *trace, const struct trace_place *place) {
        DIR *dir = opendir(place->path);
        struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
                size_t length = strlen(entry->d_name);
                char path[PATH_MAX + NAME_MAX + 2];

                if (length > 4 && strcmp(entry->d_name + length - 4, ".pth") == 0) {
                        snprintf(path, sizeof(path), "%s/%s", place->path, entry->d_name);
                        trace_follow(trace, path);
                }
        }
        if (dir)
                closedir(dir);
}

/* --- What has been seen --- */

static int compare_texts(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_modules(const void *a, const void *b) {
        const struct module *one = a, *other = b;

        int r = strcmp(one->folder, other->folder);

        return r ? r : strcmp(one->name, other->name);
}

static bool has_module(const struct footprint *footprint, const char *name) {
        const struct module key = { .folder = (char *)"", .name = (char *)name };

        return bsearch(&key, footprint->modules.items, footprint->modules.n, sizeof(key), compare_modules);
}

/* Might the entry @name of a folder with modules be imported in place of one that was loaded, or was not found? */
static bool counts(const struct footprint *footprint, const struct trace *trace, const char *folder,
                   const char *name) {
        const char path_mark[] = { PROTO_PLACE_PATH, '\0' };
        const bool is_path = trace_has(trace, folder, path_mark);
        char what[NAME_MAX + 2] = { PROTO_PLACE_MODULE };
        size_t length = 0;

        switch (importable_kind(name, &length)) {
        case IMPORTABLE_METADATA:
                return is_path;
        case IMPORTABLE_MODULE:
                memcpy(what + 1, name, length);
                return trace_has(trace, folder, what) || (is_path && has_module(footprint, what + 1));
        default:
                return false;
        }
}

/*
 * A module that is too new. Of a package it is the file that makes one of a folder, whose own time changes with all that
 * is made in it, such as __pycache__.
 */
static void note_module(struct trace *changing, const char *path) {
        char file[PATH_MAX + NAME_MAX + 16];
        struct stat st;

        if (lstat(path, &st) < 0)
                return;
        if (S_ISDIR(st.st_mode)) {
                snprintf(file, sizeof(file), "%s/__init__.py", path);
                if (lstat(file, &st) < 0)
                        return;
        }
        trace_note_change(changing, path, trace_to_nsec(&st.st_ctim));
}

/* A number for the modules that are in a folder; with @trace's time, also looks for those that are too new. */
static uint64_t list_modules(const struct footprint *footprint, const struct trace *trace, const char *folder,
                             struct trace *changing) {
        DIR *dir = opendir(folder);
        struct dirent *entry;
        uint64_t listing = 0;

        while (dir && (entry = readdir(dir))) {
                char path[PATH_MAX + NAME_MAX + 2];

                if (!counts(footprint, trace, folder, entry->d_name))
                        continue;
                listing += trace_hash(entry->d_name);
                snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
                if (changing)
                        note_module(changing, path);
        }
        if (dir)
                closedir(dir);
        return listing;
}

/* A folder with modules: what has come meanwhile, and what may come. */
static void look_into(const struct footprint *footprint, struct trace *trace, const char *path, bool is_watched) {
        struct trace_record *record;
        struct stat st;
        bool is_new;

        if (lstat(path, &st) < 0)
                return;
        is_new = trace->since_nsec && trace_to_nsec(&st.st_mtim) >= trace->since_nsec;
        record = is_watched ? NULL : trace_add_record(trace, path, &st);
        if (record)
                record->is_folder = true;
        if (record)
                record->listing = list_modules(footprint, trace, path, trace);
        else if (is_new)
                list_modules(footprint, trace, path, trace);
}

static void look_into_all(const struct footprint *footprint, struct trace *trace) {
        const struct trace_entry *entries = trace->entries.items;
        const char *last = "";

        for (size_t i = 0; i < trace->entries.n; i++) {
                const struct trace_entry *entry = &entries[i];

                if ((entry->what[0] != PROTO_PLACE_MODULE && entry->what[0] != PROTO_PLACE_PATH) ||
                    strcmp(entry->path, last) == 0)
                        continue;
                last = entry->path;
                look_into(footprint, trace, last, !entry->is_remote && !trace->is_unwatched);
        }
}

static void look_at_all(const struct footprint *footprint, struct trace *trace) {
        char **const files = footprint->files.items, **const folders = footprint->folders.items;
        const struct module *modules = footprint->modules.items;

        for (size_t i = 0; i < footprint->files.n; i++)
                if (i == 0 || strcmp(files[i], files[i - 1]) != 0)
                        trace_follow(trace, files[i]);
        for (size_t i = 0; i < footprint->folders.n; i++) {
                const struct trace_place *place = trace_follow(trace, folders[i]);

                if (place)
                        trace_add(trace, place->path, place->is_remote, PROTO_PLACE_PATH, "");
                if (place)
                        look_for_pth(trace, place);
        }
        for (size_t i = 0; i < footprint->modules.n; i++) {
                const struct trace_place *place = trace_follow(trace, modules[i].folder);

                if (place)
                        trace_add(trace, place->path, place->is_remote, PROTO_PLACE_MODULE, modules[i].name);
        }
}

/* NULL: no memory. */
static struct trace *look(const struct footprint *footprint, uint64_t since_nsec, bool is_unwatched) {
        struct trace *trace = trace_new(since_nsec, is_unwatched);

        if (!trace)
                return NULL;
        if (footprint->files.n)
                qsort(footprint->files.items, footprint->files.n, sizeof(char *), compare_texts);
        if (footprint->modules.n)
                qsort(footprint->modules.items, footprint->modules.n, sizeof(struct module), compare_modules);
        look_at_all(footprint, trace);
        trace_sort(trace);
        look_into_all(footprint, trace);
        return trace->error ? trace_free(trace) : trace;
}

/* --- The whole --- */

struct footprint *footprint_new(void) {
        return calloc(1, sizeof(struct footprint));
}

static void forget_inputs(struct footprint *footprint) {
        list_free_texts(&footprint->files);
        list_free_texts(&footprint->folders);
        list_free_texts(&footprint->gone);
        for (size_t i = 0; i < footprint->modules.n; i++)
                free(((struct module *)footprint->modules.items)[i].folder);
        free(footprint->modules.items);
        footprint->modules = (struct list){ 0 };
}

struct footprint *footprint_free(struct footprint *footprint) {
        if (!footprint)
                return NULL;
        forget_inputs(footprint);
        trace_free(footprint->trace);
        free(footprint);
        return NULL;
}

int footprint_add(struct footprint *footprint, const char *path) {
        return list_add_text(&footprint->files, path);
}

int footprint_add_folder(struct footprint *footprint, const char *path) {
        return list_add_text(&footprint->folders, path);
}

int footprint_add_gone(struct footprint *footprint, const char *path) {
        return list_add_text(&footprint->gone, path);
}

int footprint_add_module(struct footprint *footprint, const char *folder, const char *name) {
        struct module *module = list_extend(&footprint->modules, sizeof(*module));

        if (module)
                module->folder = list_join(folder ? folder : "", name, &module->name);
        if (module && !module->folder)
                footprint->modules.n--;
        return module && module->folder ? 0 : -ENOMEM;
}

/* Appends the @texts to @payload, as a list. */
static void put_texts(struct wire_writer *payload, struct list *texts) {
        char **end = list_extend(texts, sizeof(*end));
        struct wire_strv strv;
        char *owned = NULL;
        int r = end ? wire_strv_from_array(texts->items, &strv, &owned) : -ENOMEM;

        if (r == 0)
                wire_put_strv(payload, &strv);
        else
                payload->error = r;
        free(owned);
        free(texts->items);
}

static void add_text(struct wire_writer *payload, struct list *texts, char *text) {
        char **item = list_extend(texts, sizeof(*item));

        if (item)
                *item = text;
        else
                payload->error = -ENOMEM;
}

/* Those for all folders of sys.path, each once. */
static void put_modules(const struct footprint *footprint, struct wire_writer *payload) {
        const struct module *modules = footprint->modules.items;
        struct list texts = { 0 };

        for (size_t i = 0; i < footprint->modules.n && !modules[i].folder[0]; i++)
                if (i == 0 || strcmp(modules[i].name, modules[i - 1].name) != 0)
                        add_text(payload, &texts, modules[i].name);
        put_texts(payload, &texts);
}

static void put_places(const struct trace *trace, struct wire_writer *payload) {
        const struct trace_entry *entries = trace->entries.items;
        struct list texts = { 0 };

        for (size_t i = 0; i < trace->entries.n; i++) {
                const struct trace_entry *entry = &entries[i];

                if (!entry->is_remote && (i == 0 || trace_compare_entries(entry, entry - 1) != 0))
                        add_text(payload, &texts, entry->what[0] ? entry->what : entry->path);
        }
        put_texts(payload, &texts);
}

int footprint_put(struct footprint *footprint, struct wire_writer *payload) {
        trace_free(footprint->trace);
        footprint->trace = look(footprint, 0, false);
        if (!footprint->trace)
                return -ENOMEM;
        put_modules(footprint, payload);
        put_places(footprint->trace, payload);
        wire_put_u64(payload, footprint->trace->inodes);
        return payload->error;
}

/* Where two looks differ. NULL: nowhere. */
static const char *find_difference(const struct trace *before, const struct trace *now) {
        const struct trace_entry *entries_before = before->entries.items, *entries_now = now->entries.items;
        size_t i = 0;

        for (; i < before->entries.n && i < now->entries.n; i++)
                if (trace_compare_entries(&entries_before[i], &entries_now[i]) != 0)
                        return entries_now[i].path;
        if (i < before->entries.n)
                return entries_before[i].path;
        return i < now->entries.n ? entries_now[i].path : NULL;
}

/* Has anything come or gone in the folder of @path since then, or in the nearest one that is still there? */
static bool is_new_above(const char *path, uint64_t since_nsec) {
        char folder[PATH_MAX];
        struct stat st;
        char *slash;

        if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
                return false;
        do {
                slash = strrchr(folder, '/');
                if (!slash || slash == folder)
                        return false;
                *slash = '\0';
        } while (stat(folder, &st) < 0);
        return trace_to_nsec(&st.st_mtim) >= since_nsec;
}

/* Of what is gone, that which has gone since then: some files were never there, such as those of frozen modules. */
static const char *find_gone(const struct footprint *footprint, uint64_t since_nsec) {
        char **const paths = footprint->gone.items;

        for (size_t i = 0; i < footprint->gone.n; i++)
                if (is_new_above(paths[i], since_nsec))
                        return paths[i];
        return NULL;
}

int footprint_settle(struct footprint *footprint, uint64_t since_nsec, bool is_unwatched, const char **ret_path) {
        struct trace *before = footprint->trace;
        const char *difference;

        footprint->trace = look(footprint, since_nsec, is_unwatched);
        if (!footprint->trace) {
                trace_free(before);
                return -ENOMEM;
        }
        difference = before ? find_difference(before, footprint->trace) : NULL;
        if (!difference)
                difference = find_gone(footprint, since_nsec);
        if (difference && !footprint->trace->changed)
                footprint->trace->changed = strdup(difference);
        trace_free(before);
        *ret_path = footprint->trace->changed;
        if (difference || *ret_path)
                return *ret_path ? FOOTPRINT_CHANGED : -ENOMEM;
        if (!footprint->trace->records.n) {
                footprint->trace = trace_free(footprint->trace);
                forget_inputs(footprint);
        }
        return 0;
}

static bool is_same(const struct footprint *footprint, const struct trace_record *record) {
        struct trace_record now = { 0 };
        struct stat st;

        if (lstat(record->path, &st) < 0)
                return errno == ENOENT && !record->inode;
        trace_record_set(&now, &st);
        if (now.device == record->device && now.inode == record->inode &&
            now.modified_nsec == record->modified_nsec &&
            (record->is_folder || (now.size == record->size && now.changed_nsec == record->changed_nsec)))
                return true;
        return record->is_folder &&
               list_modules(footprint, footprint->trace, record->path, NULL) == record->listing;
}

const char *footprint_find_change(const struct footprint *footprint) {
        const struct trace *trace = footprint->trace;
        const struct trace_record *records = trace ? trace->records.items : NULL;

        for (size_t i = 0; trace && i < trace->records.n; i++)
                if (!is_same(footprint, &records[i]))
                        return records[i].path;
        return NULL;
}
