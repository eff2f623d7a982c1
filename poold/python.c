#include "pyref.h"

#include "python.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "captured.h"
#include "environment.h"
#include "execute.h"
#include "finish.h"
#include "lib/stages.h"
#include "linecache.h"
#include "loaded.h"
#include "options.h"
#include "shadow.h"

void python_failure_fini(struct python_failure *failure) {
        free(failure->module);
        free(failure->traceback);
}

/*
 * The exception that is set, as python prints it, malloc()ed; it is cleared, and the files that it has to do with are in
 * @footprint. NULL if even that fails.
 */
static char *print_to_string(struct footprint *footprint) {
        _cleanup_pyref_ PyObject *io = NULL, *capture = NULL, *text = NULL, *bytes = NULL;
        PyObject *type, *value, *traceback, *saved = PySys_GetObject("stderr");

        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        PyException_SetTraceback(value, traceback ? traceback : Py_None); /* without the frames of importlib */
        loaded_add_failure(footprint, value);
        io = pyref_import("io");
        capture = io ? PyObject_CallMethod(io, "StringIO", NULL) : NULL;
        if (capture) {
                Py_XINCREF(saved);
                PySys_SetObject("stderr", capture);
                PyErr_Display(type, value, traceback);
                PySys_SetObject("stderr", saved);
                Py_XDECREF(saved);
                text = PyObject_CallMethod(capture, "getvalue", NULL);
        }
        bytes = text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
        PyErr_Clear();
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return bytes ? strdup(PyBytes_AsString(bytes)) : NULL;
}

const char *python_executable(void) {
        PyObject *path = PySys_GetObject("executable"); /* borrowed */
        _cleanup_pyref_ PyObject *bytes = path && path != Py_None ? PyUnicode_EncodeFSDefault(path) : NULL;
        char *copy = bytes ? strdup(PyBytes_AsString(bytes)) : NULL;

        PyErr_Clear();
        return copy ? copy : "python3";
}

static int extend_path(const struct wire_strv *path) {
        PyObject *list = PySys_GetObject("path"); /* borrowed */
        const char *at = path->data;

        for (uint32_t i = 0; i < path->count; i++, at = wire_strv_next(at)) {
                _cleanup_pyref_ PyObject *entry = PyUnicode_DecodeFSDefault(at);

                if (!entry || PyList_Insert(list, (Py_ssize_t)i, entry) < 0)
                        return -1;
        }
        return 0;
}

/* Is it a part of a package that is not there? Then that has failed, after this had been imported. */
static bool is_orphan(PyObject *modules, PyObject *name) {
        _cleanup_pyref_ PyObject *parent = NULL;
        Py_ssize_t dot =
                PyUnicode_Check(name) ? PyUnicode_FindChar(name, '.', 0, PyUnicode_GetLength(name), -1) : -1;

        if (dot <= 0)
                return false;
        parent = PyUnicode_Substring(name, 0, dot);
        return parent && PyDict_Contains(modules, parent) == 0;
}

/* A script that imports what has failed begins anew. */
static void forget_orphans(PyObject *before) {
        PyObject *modules = PyImport_GetModuleDict(); /* borrowed */
        bool is_over = false;

        while (!is_over) {
                _cleanup_pyref_ PyObject *names = PyDict_Keys(modules);

                is_over = true;
                for (Py_ssize_t i = 0; names && i < PyList_Size(names); i++) {
                        PyObject *name = PyList_GetItem(names, i); /* borrowed */

                        if (PyDict_Contains(before, name) == 0 && is_orphan(modules, name) &&
                            PyDict_DelItem(modules, name) == 0)
                                is_over = false;
                }
        }
        PyErr_Clear();
}

/* Returns 0, also if it goes on without the module, or -1 with an exception set. */
static int import_one(const struct python_preload *preload, const char *name) {
        _cleanup_pyref_ PyObject *before = preload->setup->tolerant ? PyDict_Copy(PyImport_GetModuleDict()) : NULL;
        _cleanup_pyref_ PyObject *module = pyref_import(name);
        struct python_failure failure;

        if (module || !before)
                return module ? 0 : -1;
        failure.module = strdup(name);
        failure.traceback = print_to_string(preload->footprint);
        preload->skipped(&failure);
        python_failure_fini(&failure);
        forget_orphans(before);
        return 0;
}

static int import_all(const struct python_preload *preload, const char **ret_failed) {
        const struct wire_strv *modules = &preload->setup->modules;
        const char *at = modules->data;

        for (uint32_t i = 0; i < modules->count; i++, at = wire_strv_next(at)) {
                *ret_failed = at;
                if (import_one(preload, at) < 0)
                        return -1;
        }
        *ret_failed = "";
        return 0;
}

/* Runs a little of everything once, so that a run does not wait for the pages of the compiler and of the loop. */
static int warm_up(void) {
        static const char source[] = "import sys, io, os\nclass A:\n  def f(self, *a, **k):\n"
                                     "    return [f'{x!r}' for x in a if x]\n"
                                     "try:\n  A().f(1, 'x', k=sys.path[0:1])\n  raise OSError\n"
                                     "except OSError as e:\n  str(e)\n";
        _cleanup_pyref_ PyObject *builtins = pyref_import("builtins"), *code = NULL;
        _cleanup_pyref_ PyObject *globals = PyDict_New(), *result = NULL;

        /* Its first call makes the types of the syntax tree, 0.7 ms. */
        code = builtins ? PyObject_CallMethod(builtins, "compile", "sss", source, "<poold>", "exec") : NULL;
        if (!code || !globals || PyDict_SetItemString(globals, "__name__", Py_None) < 0 ||
            PyDict_SetItemString(globals, "__builtins__", builtins) < 0) /* 3.9 does not put it there */
                return -1;
        result = PyEval_EvalCode(code, globals, globals);
        return result ? 0 : -1;
}

/* What a module has left in __main__ is not the script's. */
static int restore_dict(PyObject *dict, PyObject *before) {
        PyDict_Clear(dict);
        return PyDict_Update(dict, before);
}

int python_preload(const struct python_preload *preload, struct python_failure *ret_failure) {
        PyObject *main_names = PyModule_GetDict(PyImport_AddModule("__main__")); /* borrowed */
        _cleanup_pyref_ PyObject *before = PyDict_Copy(PyImport_GetModuleDict());
        _cleanup_pyref_ PyObject *main_before = PyDict_Copy(main_names);
        const char *failed = "";
        int r;

        r = environment_remember();
        if (r < 0) {
                errno = -r;
                PyErr_SetFromErrno(PyExc_OSError);
        }
        if (r < 0 || !before || !main_before || finish_watch() < 0 || extend_path(&preload->setup->path) < 0 ||
            options_watch() < 0 || loaded_begin(preload->footprint) < 0 || import_all(preload, &failed) < 0 ||
            environment_check() < 0 || options_unwatch() < 0 || warm_up() < 0 ||
            restore_dict(main_names, main_before) < 0 || shadow_remember(before) < 0 || finish_remember() < 0) {
                ret_failure->module = strdup(failed);
                ret_failure->traceback = print_to_string(preload->footprint);
                r = -1;
        }
        loaded_end();
        if (loaded_add_all(preload->footprint) < 0 && r == 0) {
                ret_failure->traceback = strdup("out of memory");
                r = -1;
        }
        if (r == 0)
                loaded_forget_recent(preload->setup->spawned_nsec);
        streams_flush();
        fflush(NULL);
        return r;
}

/* sys.flags.NAME; 0 if there is none. */
static long flag_of(const char *name) {
        PyObject *flags = PySys_GetObject("flags"); /* borrowed */
        _cleanup_pyref_ PyObject *flag = PyObject_GetAttrString(flags, name);
        long value = flag ? PyLong_AsLong(flag) : 0;

        PyErr_Clear();
        return value;
}

static char *current_folder(void) {
        char path[PATH_MAX];

        return getcwd(path, sizeof(path)) ? strdup(path) : NULL;
}

/* For sys.path; NULL for none. @input is the fd that the script's name stands for now, or -1. malloc()ed. */
static char *first_folder(const struct pyargs *args, int input) {
        char path[32];

        if (flag_of("safe_path") || flag_of("isolated"))
                return NULL;
        if (args->kind == PYARGS_MODULE)
                return current_folder();
        if (args->kind == PYARGS_COMMAND)
                return strdup("");
        snprintf(path, sizeof(path), "/proc/self/fd/%d", input);
        return script_folder(input < 0 ? args->target : path);
}

/* runpy warns of a submodule that its package has imported, which here the pool may have done. */
static int check_module(const char *name, struct decline *why) {
        _cleanup_pyref_ PyObject *key = strchr(name, '.') ? PyUnicode_DecodeFSDefault(name) : NULL;

        if (key && PyDict_Contains(PyImport_GetModuleDict(), key) == 1)
                return decline(why, "module", "%s is loaded already", name);
        return 0;
}

static int compile_command(struct python_run *run, struct decline *why) {
        int r = script_compile_command(run->args.target, &run->code, why);

        return r == 0 ? linecache_register(run->code, run->args.target) : r;
}

/* A package is in sys.path[0] itself, whatever the options say. */
static int prepare_path(struct python_run *run, struct decline *why) {
        _cleanup_pyref_ PyObject *path = NULL;

        if (!run->script.importer) {
                run->folder = first_folder(&run->args, run->script_input);
                return run->folder ? shadow_check(run->folder, why) : 0;
        }
        path = PyUnicode_EncodeFSDefault(run->script.filename);
        if (!path)
                return -1;
        run->folder = strdup(PyBytes_AsString(path));
        return run->script.is_archive ? shadow_check_archive(run->script.importer, why)
                                      : shadow_check(run->folder, why);
}

static int prepare_program(struct python_run *run, struct decline *why) {
        switch (run->args.kind) {
        case PYARGS_SCRIPT:
                return script_prepare(run->args.target, run->script_input, run->args.skip_first_line, &run->script,
                                      why);
        case PYARGS_COMMAND:
                return compile_command(run, why);
        case PYARGS_MODULE:
                return check_module(run->args.target, why);
        default:
                return 0;
        }
}

static int prepare_prompt(struct python_run *run, struct decline *why) {
        run->prompt = (struct prompt){
                .has_program = run->args.kind != PYARGS_STDIN,
                .is_forced = run->args.interactive,
                .is_quiet = run->args.quiet,
                .inspects = flag_of("inspect"),
                .has_site = !flag_of("no_site"),
                .is_isolated = flag_of("isolated"),
                .ignores_environment = flag_of("ignore_environment"),
        };
        return prompt_check(&run->prompt, run->input, why);
}

int python_prepare(struct python_run *run, const struct wire_strv *env, struct decline *why) {
        int r;

        run->folder = NULL;
        run->script = (struct script){ 0 };
        run->code = NULL;
        r = options_adopt(&run->args, run->argv, run->argc, env, &run->streams, why);
        if (r == 0)
                r = prepare_prompt(run, why);
        if (r == 0)
                r = prepare_program(run, why);
        if (r == 0)
                r = prepare_path(run, why);
        if (r == 0)
                r = captured_check(why);
        if (r < 0)
                PyErr_Print();
        return r;
}

/* A list of @first, if there is one, and the arguments from @index on. */
static PyObject *list_arguments(const struct python_run *run, PyObject *first, int index) {
        _cleanup_pyref_ PyObject *list = PyList_New(0);

        if (!list || !first || PyList_Append(list, first) < 0)
                return NULL;
        for (; index < run->argc; index++) {
                _cleanup_pyref_ PyObject *argument = PyUnicode_DecodeFSDefault(run->argv[index]);

                if (!argument || PyList_Append(list, argument) < 0)
                        return NULL;
        }
        return pyref_steal(&list);
}

/* Changes the list that is there, which modules of the pool may have imported by its name. */
static int set_list(const char *name, PyObject *list) {
        PyObject *before = PySys_GetObject(name); /* borrowed */

        if (!before || !PyList_CheckExact(before))
                return PySys_SetObject(name, list);
        return PyList_SetSlice(before, 0, PyList_Size(before), list);
}

static int set_arguments(const struct python_run *run) {
        static const char *const firsts[] = { [PYARGS_MODULE] = "-m", [PYARGS_COMMAND] = "-c" };
        bool is_own = run->args.kind == PYARGS_SCRIPT || run->args.kind == PYARGS_STDIN;
        _cleanup_pyref_ PyObject *first = NULL, *list = NULL, *original = NULL;

        first = PyUnicode_DecodeFSDefault(is_own ? run->args.target : firsts[run->args.kind]);
        list = list_arguments(run, first, run->args.first_arg);
        if (!list || set_list("argv", list) < 0)
                return -1;
        if (!PySys_GetObject("orig_argv")) /* 3.10 */
                return 0;
        original = list_arguments(run, PySys_GetObject("executable"), 0);
        return original ? set_list("orig_argv", original) : -1;
}

static int set_path(struct python_run *run) {
        PyObject *cache = PySys_GetObject("path_importer_cache"), *name = run->script.filename; /* borrowed */
        _cleanup_pyref_ PyObject *entry = NULL;

        /* python3 asks whether its script is an archive or a folder, and remembers that it is none. */
        if (name && !run->script.importer && cache && PyDict_Check(cache) &&
            PyDict_SetItem(cache, name, Py_None) < 0)
                return -1;
        if (run->folder && run->script_input >= 0) {
                free(run->folder);
                run->folder = first_folder(&run->args, -1);
        }
        if (!run->folder)
                return 0;
        entry = PyUnicode_DecodeFSDefault(run->folder);
        return entry ? PyList_Insert(PySys_GetObject("path"), 0, entry) : -1;
}

/* A signal that the client ignores is one that Python knows to be ignored. */
static int ignore_signals(uint64_t ignored) {
        _cleanup_pyref_ PyObject *module = ignored ? pyref_import("_signal") : NULL, *ignore = NULL;

        ignore = module ? PyObject_GetAttrString(module, "SIG_IGN") : NULL;
        for (int number = 1; ignore && number <= 64; number++) {
                if (ignored >> (number - 1) & 1)
                        Py_XDECREF(PyObject_CallMethod(module, "signal", "iO", number, ignore));
                PyErr_Clear(); /* a number that only libc knows of */
        }
        return PyErr_Occurred() ? -1 : 0;
}

static int become(struct python_run *run, const struct proto_run *context) {
        int r;

        r = environment_adopt(&context->env);
        if (r < 0) {
                if (!PyErr_Occurred()) {
                        errno = -r;
                        PyErr_SetFromErrno(PyExc_OSError);
                }
                return -1;
        }
        if (captured_renew() < 0 || streams_adopt(&run->streams) < 0)
                return -1;
        if (ignore_signals(context->ignored_signals) < 0 || set_arguments(run) < 0)
                return -1;
        prompt_import_readline(&run->prompt);
        if (set_path(run) < 0)
                return -1;
        prompt_greet(&run->prompt);
        return 0;
}

/* pymain_run_file(), for what is to be opened only now. */
static void run_stream(const struct python_run *run, struct execution *execution, struct execution_file *file,
                       PyObject *globals) {
        file->stream = script_open(&run->script, run->args.skip_first_line);
        if (file->stream)
                execute_file(execution, file, globals);
        else
                execution->code = 2;
}

static void run_script(const struct python_run *run, struct execution *execution, PyObject *globals) {
        const struct script *script = &run->script;
        _cleanup_pyref_ PyObject *path = PyUnicode_EncodeFSDefault(script->filename);
        struct execution_file file = {
                .name = script->filename,
                .path = path ? PyBytes_AsString(path) : "",
                .loader = script->form == SCRIPT_BYTECODE ? "SourcelessFileLoader" : "SourceFileLoader",
                .code = script->code,
        };

        if (!path)
                execution_fail(execution);
        else if (script->form == SCRIPT_PACKAGE)
                execute_module(execution, "__main__", false);
        else if (script->form == SCRIPT_STREAM)
                run_stream(run, execution, &file, globals);
        else
                execute_file(execution, &file, globals);
}

static void run_stdin(struct execution *execution, PyObject *globals) {
        _cleanup_pyref_ PyObject *name = PyUnicode_FromString("<stdin>");
        const struct execution_file file = { .name = name, .path = "<stdin>", .stream = stdin };

        if (name)
                execute_file(execution, &file, globals);
        else
                execution_fail(execution);
}

static void run_kind(const struct python_run *run, struct execution *execution) {
        PyObject *main = PyImport_AddModule("__main__"); /* borrowed */
        _cleanup_pyref_ PyObject *globals = NULL;

        /* Nobody may hold __main__'s names there: exit() takes it apart, and does not return here. */
        if (run->args.kind == PYARGS_STDIN && prompt_is_interactive(&run->prompt)) {
                prompt_run(&run->prompt, execution);
                return;
        }
        globals = main ? PyModule_GetDict(main) : NULL;
        Py_XINCREF(globals);
        if (!globals)
                execution_fail(execution);
        else if (run->args.kind == PYARGS_MODULE)
                execute_module(execution, run->args.target, true);
        else if (run->args.kind == PYARGS_COMMAND)
                execute_code(execution, run->code, globals);
        else if (run->args.kind == PYARGS_SCRIPT)
                run_script(run, execution, globals);
        else
                run_stdin(execution, globals);
}

static void run_program(const struct python_run *run, struct execution *execution) {
        stages_note("starts");
        run_kind(run, execution);
        stages_note("ended");
}

/* Nothing but ourselves may hold on to them when the script's objects end. */
static void drop_program(struct python_run *run) {
        script_fini(&run->script);
        Py_CLEAR(run->code);
}

int python_run(struct python_run *run, const struct proto_run *context) {
        struct execution execution = { .inspects = run->prompt.inspects };

        if (become(run, context) < 0)
                execution_fail(&execution);
        else
                run_program(run, &execution);
        if (!execution.exits)
                prompt_inspect(&run->prompt, &execution);
        drop_program(run);
        if (finish_run() < 0)
                execution.code = 120;
        stages_note("finished");
        return execution_wait_status(&execution);
}
