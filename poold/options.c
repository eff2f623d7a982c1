#include "pyref.h"

#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "environment.h"
#include "pyversion.h"
#include "shadow.h"

/* Where they are in sys.flags, of 3.9 and later: new ones have only been added behind. */
enum {
        FLAG_INSPECT = 1,
        FLAG_INTERACTIVE = 2,
        FLAG_DONT_WRITE_BYTECODE = 4,
        FLAG_QUIET = 10,
        FLAG_SAFE_PATH = 16, /* 3.11; before it, there may be another one */
};

/*
 * The filters of -W lie above those that every interpreter starts with and below those that modules add, because they
 * are there first. To find that place, a filter that matches nothing marks it while the modules are imported. It also
 * notices whether any warning gets down to it: then -W could have changed how that import went.
 */
static PyObject *first_filters; /* a list: those of the start */
static PyObject *marker;        /* a tuple, as they are */
static Py_ssize_t filters_at;   /* where the marker was in the end; -1 if the modules have moved what is below */
static bool has_warned;

/* --- Warnings --- */

static PyObject *on_warning(PyObject *self, PyObject *text) {
        (void)self;
        (void)text;
        has_warned = true;
        Py_INCREF(Py_False);
        return Py_False;
}

static PyMethodDef match_method = { "match", on_warning, METH_O, NULL };

/* The list in use: the module's, once it is there. New reference. */
static PyObject *get_filters(void) {
        _cleanup_pyref_ PyObject *name = PyUnicode_FromString("warnings"), *module = NULL;

        module = name ? PyImport_GetModule(name) : NULL;
        if (!module && !PyErr_Occurred())
                module = pyref_import("_warnings");
        return module ? PyObject_GetAttrString(module, "filters") : NULL;
}

static int filters_mutated(void) {
        _cleanup_pyref_ PyObject *module = pyref_import("_warnings"), *done = NULL;

        if (module && !PyObject_HasAttrString(module, "_filters_mutated"))
                return 0; /* newer ones have a lock there, and see changes by themselves */
        done = module ? PyObject_CallMethod(module, "_filters_mutated", NULL) : NULL;
        return done ? 0 : -1;
}

/* An object whose `match`, called as a pattern's would be, never matches. */
static PyObject *new_pattern(void) {
        PyObject *implementation = PySys_GetObject("implementation"); /* borrowed; a SimpleNamespace */
        _cleanup_pyref_ PyObject *match = PyCFunction_New(&match_method, NULL), *names = NULL,
                                 *none = PyTuple_New(0);

        names = match ? Py_BuildValue("{sO}", "match", match) : NULL;
        return names && none ? PyObject_Call((PyObject *)Py_TYPE(implementation), none, names) : NULL;
}

int options_watch(void) {
        _cleanup_pyref_ PyObject *filters = get_filters(), *pattern = new_pattern();

        if (!filters || !pattern)
                return -1;
        first_filters = PyList_GetSlice(filters, 0, PyList_Size(filters));
        marker = Py_BuildValue("(sOOOi)", "ignore", pattern, PyExc_Warning, Py_None, 0);
        if (!first_filters || !marker || PyList_Insert(filters, 0, marker) < 0)
                return -1;
        return filters_mutated();
}

static Py_ssize_t find_marker(PyObject *filters) {
        for (Py_ssize_t i = 0; i < PyList_Size(filters); i++)
                if (PyList_GetItem(filters, i) == marker)
                        return i;
        return -1;
}

int options_unwatch(void) {
        _cleanup_pyref_ PyObject *filters = get_filters(), *below = NULL;
        int is_same;

        if (!filters)
                return -1;
        filters_at = PyList_Check(filters) ? find_marker(filters) : -1;
        if (filters_at < 0)
                return 0;
        if (PySequence_DelItem(filters, filters_at) < 0)
                return -1;
        below = PyList_GetSlice(filters, filters_at, filters_at + PyList_Size(first_filters));
        is_same = below ? PyObject_RichCompareBool(below, first_filters, Py_EQ) : -1;
        if (is_same == 0)
                filters_at = -1;
        return is_same < 0 ? -1 : filters_mutated();
}

/* Appends @text to @late unless sys.warnoptions or @late has it. */
static int add_option(PyObject *late, const char *text, size_t length) {
        PyObject *options = PySys_GetObject("warnoptions"); /* borrowed */
        _cleanup_pyref_ PyObject *option = PyUnicode_DecodeFSDefaultAndSize(text, (Py_ssize_t)length);
        int is_there;

        if (!option)
                return -1;
        is_there = PySequence_Contains(options, option);
        if (is_there == 0)
                is_there = PySequence_Contains(late, option);
        return is_there == 0 ? PyList_Append(late, option) : is_there < 0 ? -1 : 0;
}

/* The category of a filter, its third field, has a module's name: which folders it is looked for in cannot be told. */
static bool names_module(const char *option, size_t length) {
        const char *end = option + length, *category = memchr(option, ':', length);

        category = category ? memchr(category + 1, ':', (size_t)(end - category - 1)) : NULL;
        if (!category)
                return false;
        category++;
        for (; category < end && *category != ':'; category++)
                if (*category == '.')
                        return true;
        return false;
}

static int take_option(PyObject *late, const char *text, size_t length, struct decline *why) {
        if (names_module(text, length))
                return decline(why, "options", "-W %.*s: its category is in a module", (int)length, text);
        return add_option(late, text, length);
}

/* What PYTHONWARNINGS, if it is @variable, and -W ask for. */
static int list_options(PyObject *late, const char *variable, char *const *argv, int argc, struct decline *why) {
        struct pyargs_cursor cursor = { 0 };
        struct pyargs_option option;
        int r = 0;

        while (r == 0 && variable && *variable) {
                size_t length = strcspn(variable, ",");

                if (length)
                        r = take_option(late, variable, length, why);
                variable += length + (variable[length] == ',');
        }
        while (r == 0 && pyargs_next(argv, argc, &cursor, &option) > 0)
                if (option.letter == 'W')
                        r = take_option(late, option.argument, strlen(option.argument), why);
        return r;
}

/* Do all of @options only silence? A part of the action's name is enough of it. */
static bool only_ignores(PyObject *options, Py_ssize_t n_options) {
        for (Py_ssize_t i = 0; i < n_options; i++) {
                _cleanup_pyref_ PyObject *bytes = PyUnicode_EncodeFSDefault(PyList_GetItem(options, i));
                const char *text = bytes ? PyBytes_AsString(bytes) : "";
                size_t length = strcspn(text, ":");

                PyErr_Clear();
                if (length == 0 || length > strlen("ignore") || strncmp(text, "ignore", length) != 0)
                        return false;
        }
        return true;
}

/* Takes out of @filters what is in @above, as if that were inserted later. */
static int remove_doubles(PyObject *filters, PyObject *above) {
        for (Py_ssize_t i = 0; i < PyList_Size(above); i++) {
                Py_ssize_t at = PySequence_Index(filters, PyList_GetItem(above, i));

                PyErr_Clear();
                if (at >= 0 && PySequence_DelItem(filters, at) < 0)
                        return -1;
        }
        return 0;
}

/* Lets the module `warnings` put the filters of @late at @at of its list. */
static int insert_filters(PyObject *late, Py_ssize_t at) {
        _cleanup_pyref_ PyObject *module = pyref_import("warnings"), *filters = NULL, *above = NULL;
        _cleanup_pyref_ PyObject *done = NULL;

        filters = module ? PyObject_GetAttrString(module, "filters") : NULL;
        above = filters ? PyList_GetSlice(filters, 0, at) : NULL;
        if (!above || PyList_SetSlice(filters, 0, at, NULL) < 0)
                return -1;
        done = PyObject_CallMethod(module, "_processoptions", "O", late);
        if (!done || remove_doubles(filters, above) < 0 || PyList_SetSlice(filters, 0, 0, above) < 0)
                return -1;
        return filters_mutated();
}

static int insert_quietly(PyObject *late, Py_ssize_t at, struct decline *why) {
        struct capture capture;
        int r;

        if (capture_begin(&capture) < 0)
                return -1;
        r = insert_filters(late, at);
        if (capture_end(&capture) && r == 0)
                return decline(why, "options", "an option of -W or PYTHONWARNINGS is invalid");
        return r;
}

static int adopt_warnings(const struct pyargs *args, char *const *argv, int argc, const char *variable,
                          struct decline *why) {
        PyObject *options = PySys_GetObject("warnoptions"); /* borrowed */
        /* -b adds an option of its own behind all others. */
        const Py_ssize_t n_bytes = args->start.bytes_warning ? 1 : 0, n_options = PyList_Size(options) - n_bytes;
        _cleanup_pyref_ PyObject *late = PyList_New(0);
        int r;

        if (!late)
                return -1;
        r = list_options(late, variable, argv, argc, why);
        if (r)
                return r;
        if (has_warned && !(only_ignores(options, n_options) && only_ignores(late, PyList_Size(late))))
                return decline(why, "warnings", "the pool's modules have warned when they were imported");
        if (PyList_Size(late) == 0)
                return 0;
        if (filters_at < 0)
                return decline(why, "warnings", "the pool's modules have changed the first filters");
        r = insert_quietly(late, filters_at + n_bytes, why);
        return r ? r : PyList_SetSlice(options, n_options, n_options, late);
}

/* --- sys --- */

static int adopt_x_options(char *const *argv, int argc) {
        PyObject *dict = PySys_GetObject("_xoptions"); /* borrowed */
        struct pyargs_cursor cursor = { 0 };
        struct pyargs_option option;

        PyDict_Clear(dict);
        while (pyargs_next(argv, argc, &cursor, &option) > 0) {
                _cleanup_pyref_ PyObject *name = NULL, *value = NULL;
                const char *equals;

                if (option.letter != 'X')
                        continue;
                equals = strchrnul(option.argument, '=');
                name = PyUnicode_DecodeFSDefaultAndSize(option.argument, equals - option.argument);
                value = *equals ? PyUnicode_DecodeFSDefault(equals + 1) : PyBool_FromLong(1);
                if (!name || !value || PyDict_SetItem(dict, name, value) < 0)
                        return -1;
        }
        return 0;
}

/* Sets one item of the flags that are being made. */
static int set_flag(PyObject *flags, Py_ssize_t index, PyObject *value) {
        if (!value)
                return -1;
        PyStructSequence_SetItem(flags, index, value); /* takes it */
        return 0;
}

static Py_ssize_t count_flags(PyObject *flags) {
        _cleanup_pyref_ PyObject *count = PyObject_GetAttrString((PyObject *)Py_TYPE(flags), "n_fields");

        return count ? PyLong_AsSsize_t(count) : -1;
}

/* sys.flags anew, since it cannot be changed. */
static int adopt_flags(const struct pyargs *args, long inspect, bool dont_write_bytecode, bool safe_path) {
        PyObject *before = PySys_GetObject("flags"); /* borrowed */
        _cleanup_pyref_ PyObject *flags = PyStructSequence_New(Py_TYPE(before));
        Py_ssize_t n_flags = count_flags(before);

        if (!flags || n_flags < 0)
                return -1;
        for (Py_ssize_t i = 0; i < n_flags; i++) {
                PyObject *value = PyStructSequence_GetItem(before, i); /* borrowed */

                Py_XINCREF(value);
                PyStructSequence_SetItem(flags, i, value);
        }
        if (set_flag(flags, FLAG_DONT_WRITE_BYTECODE, PyLong_FromLong(dont_write_bytecode)) < 0 ||
            set_flag(flags, FLAG_INSPECT, PyLong_FromLong(inspect)) < 0 ||
            set_flag(flags, FLAG_INTERACTIVE, PyLong_FromLong((long)args->interactive)) < 0 ||
            set_flag(flags, FLAG_QUIET, PyLong_FromLong((long)args->quiet)) < 0)
                return -1;
        if (pyversion() >= PYVERSION_3_11 && set_flag(flags, FLAG_SAFE_PATH, PyBool_FromLong(safe_path)) < 0)
                return -1;
        return PySys_SetObject("flags", flags);
}

static int check_safe_path(const struct pyargs *args, struct decline *why) {
        if (args->safe_path && !args->start.isolated && pyversion() < PYVERSION_3_11)
                return decline(why, "options", "-P is not an option of this interpreter");
        return 0;
}

static int enable_faulthandler(void) {
        _cleanup_pyref_ PyObject *module = pyref_import("faulthandler"), *done = NULL;

        done = module ? PyObject_CallMethod(module, "enable", "i", STDERR_FILENO) : NULL;
        return done ? 0 : -1;
}

static bool has_x_option(const char *name) {
        return PyDict_GetItemString(PySys_GetObject("_xoptions"), name);
}

/* --- PYTHONPATH --- */

/* site imports these when it starts, from wherever they are. */
static bool has_customization(const char *folder) {
        static const char *const names[] = { "sitecustomize.py", "usercustomize.py", "sitecustomize",
                                             "usercustomize" };
        char path[PATH_MAX];

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                int n = snprintf(path, sizeof(path), "%s/%s", folder, names[i]);

                if (n >= PATH_MAX || access(path, F_OK) == 0)
                        return true;
        }
        return false;
}

static int check_folder(PyObject *entry, struct decline *why) {
        _cleanup_pyref_ PyObject *bytes = PyUnicode_EncodeFSDefault(entry);
        const char *folder = bytes ? PyBytes_AsString(bytes) : NULL;
        struct stat st;

        if (!folder)
                return -1;
        if (stat(folder, &st) < 0)
                return 0; /* nobody finds anything there */
        if (!S_ISDIR(st.st_mode))
                return decline(why, "shadow", "PYTHONPATH has a file: %s", folder);
        if (has_customization(folder))
                return decline(why, "shadow", "PYTHONPATH has a sitecustomize or usercustomize: %s", folder);
        return shadow_check_all(folder, why);
}

/* Puts the folder @text in front of sys.path's item @at, as site leaves it there; from behind it is taken away. */
static int insert_folder(const char *text, size_t length, Py_ssize_t *at, struct decline *why) {
        PyObject *path = PySys_GetObject("path"); /* borrowed */
        _cleanup_pyref_ PyObject *given = PyUnicode_DecodeFSDefaultAndSize(text, (Py_ssize_t)length);
        _cleanup_pyref_ PyObject *module = pyref_import("os.path"), *entry = NULL;
        Py_ssize_t found;
        int r;

        entry = given && module ? PyObject_CallMethod(module, "abspath", "O", given) : NULL;
        if (!entry)
                return -1;
        r = check_folder(entry, why);
        if (r)
                return r;
        found = PySequence_Index(path, entry);
        PyErr_Clear();
        if (found >= 0 && found < *at)
                return 0;
        if (found >= 0 && PySequence_DelItem(path, found) < 0)
                return -1;
        return PyList_Insert(path, (*at)++, entry);
}

static int adopt_path(const char *variable, const struct pyargs *args, struct decline *why) {
        Py_ssize_t at = 0;
        int r = 0;

        if (!variable)
                return 0;
        if (args->start.no_site)
                return decline(why, "options", "PYTHONPATH without site");
        while (r == 0) {
                size_t length = strcspn(variable, ":");

                r = insert_folder(variable, length, &at, why);
                if (!variable[length])
                        break;
                variable += length + 1;
        }
        return r;
}

/* --- All of it --- */

struct variables {
        const struct wire_strv *env;
        bool ignored; /* as -E has it */
};

/* The client's value; NULL if it has none or python3 would not look at it. */
static const char *variable_of(const struct variables *variables, const char *name) {
        const char *value = variables->ignored ? NULL : environment_value(variables->env, name);

        return value && *value ? value : NULL;
}

/* Likewise, but NULL if this process was started with it, so that it has its effect already. */
static const char *late_variable_of(const struct variables *variables, const char *name) {
        const char *ours = environment_at_start(name);

        return ours && *ours ? NULL : variable_of(variables, name);
}

/* _Py_get_env_flag() of CPython: how often the option that does the same would have to be given. */
static long count_of(const char *value) {
        long number;
        char *end;

        if (!value)
                return 0;
        errno = 0;
        number = strtol(value, &end, 10);
        return *end || errno || number < 0 || number > INT_MAX ? 1 : number;
}

/* "ENCODING:ERRORS", both of which may be left out. */
static int parse_encoding(const char *variable, struct stream_settings *settings, struct decline *why) {
        _cleanup_pyref_ PyObject *codecs = pyref_import("codecs"), *codec = NULL, *is_text = NULL;
        _cleanup_pyref_ PyObject *name = NULL;
        const char *colon = variable ? strchrnul(variable, ':') : NULL;

        if (!variable)
                return 0;
        if (*colon && colon[1])
                settings->errors = colon + 1;
        if (colon == variable)
                return 0;
        if (!settings->errors)
                settings->errors = "strict";
        name = PyUnicode_FromStringAndSize(variable, colon - variable);
        codec = codecs && name ? PyObject_CallMethod(codecs, "lookup", "O", name) : NULL;
        settings->encoding = codec ? PyObject_GetAttrString(codec, "name") : NULL;
        is_text = codec ? PyObject_GetAttrString(codec, "_is_text_encoding") : NULL;
        PyErr_Clear();
        if (!settings->encoding || (is_text && PyObject_IsTrue(is_text) != 1))
                return decline(why, "options", "PYTHONIOENCODING: %s", variable);
        return 0;
}

static int adopt_sys(const struct pyargs *args, char *const *argv, int argc, const struct variables *variables) {
        bool dont_write_bytecode =
                args->dont_write_bytecode || count_of(variable_of(variables, "PYTHONDONTWRITEBYTECODE"));
        bool safe_path = args->safe_path || variable_of(variables, "PYTHONSAFEPATH");
        long inspect = count_of(variable_of(variables, "PYTHONINSPECT"));

        if (inspect < (long)args->interactive)
                inspect = (long)args->interactive;
        if (adopt_x_options(argv, argc) < 0 || adopt_flags(args, inspect, dont_write_bytecode, safe_path) < 0 ||
            PySys_SetObject("dont_write_bytecode", dont_write_bytecode ? Py_True : Py_False) < 0)
                return -1;
        if (has_x_option("faulthandler") || late_variable_of(variables, "PYTHONFAULTHANDLER"))
                return enable_faulthandler();
        return 0;
}

int options_adopt(const struct pyargs *args, char *const *argv, int argc, const struct wire_strv *env,
                  struct stream_settings *ret_streams, struct decline *why) {
        const struct variables variables = { .env = env, .ignored = args->start.ignore_environment };
        int r;

        *ret_streams = (struct stream_settings){
                .interactive = args->interactive,
                .unbuffered = args->unbuffered || count_of(variable_of(&variables, "PYTHONUNBUFFERED")),
        };
        r = parse_encoding(late_variable_of(&variables, "PYTHONIOENCODING"), ret_streams, why);
        if (r == 0)
                r = adopt_path(late_variable_of(&variables, "PYTHONPATH"), args, why);
        if (r == 0)
                r = adopt_warnings(args, argv, argc, late_variable_of(&variables, "PYTHONWARNINGS"), why);
        if (r == 0)
                r = check_safe_path(args, why);
        return r ? r : adopt_sys(args, argv, argc, &variables);
}
