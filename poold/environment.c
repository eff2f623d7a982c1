#include "pyref.h"

#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/fd.h"

/* As the kernel handed it to this process, NAME=value strings one behind the other. */
static struct wire_strv at_start;

static int read_all(const char *path, char **ret_data, size_t *ret_n_bytes) {
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t n_bytes = 0, n_allocated = 0;
        char *data = NULL;
        ssize_t n_read;

        if (fd < 0)
                return -errno;
        do {
                if (n_allocated - n_bytes < 2) {
                        char *larger = realloc(data, n_allocated = 2 * n_allocated + 16384);

                        if (!larger) {
                                free(data);
                                return -ENOMEM;
                        }
                        data = larger;
                }
                n_read = read(fd, data + n_bytes, n_allocated - n_bytes - 1);
                n_bytes += n_read > 0 ? (size_t)n_read : 0;
        } while (n_read > 0);
        data[n_bytes] = 0;
        *ret_data = data;
        *ret_n_bytes = n_bytes;
        return 0;
}

int environment_remember(void) {
        size_t n_bytes = 0;
        char *data = NULL;
        int r;

        r = read_all("/proc/self/environ", &data, &n_bytes);
        if (r < 0)
                return r;
        at_start = (struct wire_strv){ .data = data, .n_bytes = n_bytes };
        for (const char *at = data; at < data + n_bytes; at = wire_strv_next(at))
                at_start.count++;
        return 0;
}

static bool ends_name(char letter) {
        return !letter || letter == '=';
}

static bool same_name(const char *a, const char *b) {
        while (*a == *b && !ends_name(*a)) {
                a++;
                b++;
        }
        return ends_name(*a) && ends_name(*b);
}

/* Where the variable that @entry names is in the NULL-terminated @array, or NULL. */
static char **find_in_array(char **array, const char *entry) {
        for (; *array; array++)
                if (same_name(*array, entry))
                        return array;
        return NULL;
}

static const char *find_in_strv(const struct wire_strv *strv, const char *entry) {
        const char *at = strv->data;

        for (uint32_t i = 0; i < strv->count; i++, at = wire_strv_next(at))
                if (same_name(at, entry))
                        return at;
        return NULL;
}

const char *environment_value(const struct wire_strv *env, const char *name) {
        const char *entry = find_in_strv(env, name), *equals = entry ? strchr(entry, '=') : NULL;

        return equals ? equals + 1 : NULL;
}

const char *environment_at_start(const char *name) {
        return environment_value(&at_start, name);
}

static size_t array_length(char **array) {
        size_t n = 0;

        while (array && array[n])
                n++;
        return n;
}

/* The same in at_start, where it is to be expected at @*at, behind the one that was found last. */
static const char *find_at_start(const char **at, const char *entry) {
        const char *end = at_start.data + at_start.n_bytes;
        const char *found = *at < end && same_name(*at, entry) ? *at : find_in_strv(&at_start, entry);

        if (found)
                *at = wire_strv_next(found);
        return found;
}

/* Sets in @array what was added or changed here since the start, unless the client has a value of its own. */
static void carry_over_set(char **array) {
        const char *at = at_start.data;

        for (char **ours = environ; ours && *ours; ours++) {
                const char *before = find_at_start(&at, *ours);
                char **theirs;

                if (before && strcmp(before, *ours) == 0)
                        continue;
                theirs = find_in_array(array, *ours);
                if (!theirs)
                        array[array_length(array)] = *ours;
                else if (before && strcmp(*theirs, before) == 0)
                        *theirs = *ours;
        }
}

/* Likewise what was removed. */
static void carry_over_unset(char **array) {
        const char *before = at_start.data;
        char **ours = environ;

        for (uint32_t i = 0; i < at_start.count; i++, before = wire_strv_next(before)) {
                char **theirs;

                /* where it is to be expected, or anywhere */
                if (ours && *ours && same_name(*ours, before)) {
                        ours++;
                        continue;
                }
                if (environ && find_in_array(environ, before))
                        continue;
                theirs = find_in_array(array, before);
                if (theirs && strcmp(*theirs, before) == 0)
                        memmove(theirs, theirs + 1, (array_length(theirs + 1) + 1) * sizeof(*theirs));
        }
}

/* What os.py makes of an environment: the first of a name counts, what has no '=' does not. */
static int fill_dict(PyObject *dict, char **array) {
        PyDict_Clear(dict);
        for (; *array; array++) {
                const char *equals = strchr(*array, '=');
                _cleanup_pyref_ PyObject *name = NULL, *value = NULL;

                if (!equals)
                        continue;
                name = PyBytes_FromStringAndSize(*array, equals - *array);
                value = PyBytes_FromString(equals + 1);
                if (!name || !value)
                        return -1;
                if (!PyDict_GetItemWithError(dict, name) && PyDict_SetItem(dict, name, value) < 0)
                        return -1;
        }
        return 0;
}

/* The dict of os.environ, which os.environb shares: a new reference, or NULL with an exception set. */
static PyObject *get_os_dict(void) {
        _cleanup_pyref_ PyObject *os = pyref_import("os"), *os_environ = NULL;

        os_environ = os ? PyObject_GetAttrString(os, "environ") : NULL;
        return os_environ ? PyObject_GetAttrString(os_environ, "_data") : NULL;
}

int environment_check(void) {
        _cleanup_pyref_ PyObject *dict = get_os_dict();

        if (dict && PyDict_Check(dict))
                return 0;
        PyErr_Clear();
        PyErr_SetString(PyExc_RuntimeError,
                        "a module has replaced os.environ: a run's own environment has no place");
        return -1;
}

/* posix.environ is that dict, too. It stays the same object. */
static int fill_python(char **array) {
        _cleanup_pyref_ PyObject *posix = pyref_import("posix"), *posix_dict = NULL;
        _cleanup_pyref_ PyObject *os_dict = get_os_dict();

        posix_dict = posix && os_dict ? PyObject_GetAttrString(posix, "environ") : NULL;
        if (!posix_dict || fill_dict(posix_dict, array) < 0)
                return -1;
        return os_dict == posix_dict ? 0 : fill_dict(os_dict, array);
}

static int set_timezone(void) {
        _cleanup_pyref_ PyObject *module = pyref_import("time"), *done = NULL;

        if (module)
                done = PyObject_CallMethod(module, "tzset", NULL);
        return done ? 0 : -1;
}

int environment_adopt(const struct wire_strv *env) {
        const char *ours = getenv("TZ"), *theirs;
        char **array;

        array = wire_strv_to_array(env, array_length(environ));
        if (!array)
                return -ENOMEM;
        carry_over_set(array);
        carry_over_unset(array);
        environ = array;
        theirs = getenv("TZ");
        if (fill_python(array) < 0)
                return -ENOTRECOVERABLE;
        if (!ours != !theirs || (ours && strcmp(ours, theirs) != 0))
                return set_timezone() < 0 ? -ENOTRECOVERABLE : 0;
        return 0;
}
