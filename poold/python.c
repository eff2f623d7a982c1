#include "pyref.h"

#include "python.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "captured.h"
#include "environment.h"
#include "finish.h"
#include "linecache.h"
#include "options.h"
#include "script.h"
#include "shadow.h"
#include "streams.h"

void python_failure_fini(struct python_failure *failure) {
        free(failure->module);
        free(failure->traceback);
}

/* The exception that is set, as python prints it, malloc()ed; it is cleared. NULL if even that fails. */
static char *print_to_string(void) {
        _cleanup_pyref_ PyObject *io = NULL, *capture = NULL, *text = NULL, *bytes = NULL;
        PyObject *type, *value, *traceback, *saved = PySys_GetObject("stderr");

        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        PyException_SetTraceback(value, traceback ? traceback : Py_None); /* without the frames of importlib */
        io = PyImport_ImportModule("io");
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

static int import_all(const struct wire_strv *modules, const char **ret_failed) {
        const char *at = modules->data;

        for (uint32_t i = 0; i < modules->count; i++, at = wire_strv_next(at)) {
                _cleanup_pyref_ PyObject *module = NULL;

                *ret_failed = at;
                module = PyImport_ImportModule(at);
                if (!module)
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
        _cleanup_pyref_ PyObject *builtins = PyImport_ImportModule("builtins"), *code = NULL;
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

int python_preload(const struct proto_setup *setup, struct python_failure *ret_failure) {
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
        if (r < 0 || !before || !main_before || finish_watch() < 0 || extend_path(&setup->path) < 0 ||
            options_watch() < 0 || import_all(&setup->modules, &failed) < 0 || options_unwatch() < 0 ||
            warm_up() < 0 || restore_dict(main_names, main_before) < 0 || shadow_remember(before) < 0 ||
            finish_remember() < 0) {
                ret_failure->module = strdup(failed);
                ret_failure->traceback = print_to_string();
                r = -1;
        }
        streams_flush();
        fflush(NULL);
        return r;
}

/* Do the interpreter's options forbid sys.path[0]? */
static bool has_safe_path(void) {
        PyObject *flags = PySys_GetObject("flags"); /* borrowed */
        _cleanup_pyref_ PyObject *safe = PyObject_GetAttrString(flags, "safe_path");
        int is_safe;

        if (!safe) {
                PyErr_Clear();
                safe = PyObject_GetAttrString(flags, "isolated");
        }
        is_safe = safe ? PyObject_IsTrue(safe) : 0;
        PyErr_Clear();
        return is_safe > 0;
}

static char *current_folder(void) {
        char path[PATH_MAX];

        return getcwd(path, sizeof(path)) ? strdup(path) : NULL;
}

static char *first_folder(const struct pyargs *args) {
        if (has_safe_path())
                return NULL;
        if (args->kind == PYARGS_MODULE)
                return current_folder();
        return args->kind == PYARGS_COMMAND ? strdup("") : script_folder(args->target);
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

int python_prepare(struct python_run *run, const struct wire_strv *env, struct decline *why) {
        int r;

        run->code = run->filename = NULL;
        run->folder = NULL;
        r = options_adopt(&run->args, run->argv, run->argc, env, &run->streams, why);
        if (r == 0)
                run->folder = first_folder(&run->args);
        if (run->folder)
                r = shadow_check(run->folder, why);
        if (r == 0 && run->args.kind == PYARGS_SCRIPT)
                r = script_compile_file(run->args.target, run->args.skip_first_line, &run->code, &run->filename,
                                        why);
        else if (r == 0 && run->args.kind == PYARGS_COMMAND)
                r = compile_command(run, why);
        else if (r == 0 && run->args.kind == PYARGS_MODULE)
                r = check_module(run->args.target, why);
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

static int set_arguments(const struct python_run *run) {
        static const char *const firsts[] = { [PYARGS_MODULE] = "-m", [PYARGS_COMMAND] = "-c" };
        bool is_own = run->args.kind == PYARGS_SCRIPT || run->args.kind == PYARGS_STDIN;
        _cleanup_pyref_ PyObject *first = NULL, *list = NULL, *original = NULL;

        first = PyUnicode_DecodeFSDefault(is_own ? run->args.target : firsts[run->args.kind]);
        list = list_arguments(run, first, run->args.first_arg);
        if (!list || PySys_SetObject("argv", list) < 0)
                return -1;
        if (!PySys_GetObject("orig_argv")) /* 3.10 */
                return 0;
        original = list_arguments(run, PySys_GetObject("executable"), 0);
        return original ? PySys_SetObject("orig_argv", original) : -1;
}

static int set_path(const struct python_run *run) {
        PyObject *cache = PySys_GetObject("path_importer_cache"); /* borrowed */
        _cleanup_pyref_ PyObject *entry = NULL;

        /* python3 asks whether its script is an archive or a folder, and remembers that it is none. */
        if (run->filename && cache && PyDict_Check(cache) && PyDict_SetItem(cache, run->filename, Py_None) < 0)
                return -1;
        if (!run->folder)
                return 0;
        entry = PyUnicode_DecodeFSDefault(run->folder);
        return entry ? PyList_Insert(PySys_GetObject("path"), 0, entry) : -1;
}

/* A signal that the client ignores is one that Python knows to be ignored. */
static int ignore_signals(uint64_t ignored) {
        _cleanup_pyref_ PyObject *module = ignored ? PyImport_ImportModule("_signal") : NULL, *ignore = NULL;

        ignore = module ? PyObject_GetAttrString(module, "SIG_IGN") : NULL;
        for (int number = 1; ignore && number <= 64; number++) {
                if (ignored >> (number - 1) & 1)
                        Py_XDECREF(PyObject_CallMethod(module, "signal", "iO", number, ignore));
                PyErr_Clear(); /* a number that only libc knows of */
        }
        return PyErr_Occurred() ? -1 : 0;
}

static int become(const struct python_run *run, const struct proto_run *context) {
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
        return set_path(run);
}

/* __main__'s names as pymain_run_file() sets them. */
static int set_main(PyObject *globals, PyObject *filename, bool has_loader) {
        _cleanup_pyref_ PyObject *external = NULL, *loader = NULL;

        if (PyDict_SetItemString(globals, "__file__", filename) < 0 ||
            PyDict_SetItemString(globals, "__cached__", Py_None) < 0)
                return -1;
        if (!has_loader)
                return 0;
        external = PyImport_ImportModule("_frozen_importlib_external");
        loader = external ? PyObject_CallMethod(external, "SourceFileLoader", "sO", "__main__", filename) : NULL;
        return loader ? PyDict_SetItemString(globals, "__loader__", loader) : -1;
}

static void unset_main(PyObject *globals) {
        PyObject *type, *value, *traceback;

        PyErr_Fetch(&type, &value, &traceback);
        PyDict_DelItemString(globals, "__file__");
        PyDict_DelItemString(globals, "__cached__");
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
}

static int exit_status(int code) {
        return (code & 0xff) << 8;
}

/* What sys.exit() has been given for a message goes to sys.stderr, or to C's where there is none. */
static void print_exit_code(PyObject *code) {
        PyObject *err = PySys_GetObject("stderr"); /* borrowed */
        _cleanup_pyref_ PyObject *text = NULL, *bytes = NULL;

        if (err && err != Py_None) {
                PyFile_WriteObject(code, err, Py_PRINT_RAW);
        } else {
                text = PyObject_Str(code);
                bytes = text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
                if (bytes)
                        fwrite(PyBytes_AsString(bytes), 1, (size_t)PyBytes_Size(bytes), stderr);
                fflush(stderr);
        }
        PyErr_Clear();
        PySys_WriteStderr("\n");
}

/* _Py_HandleSystemExit(): the code of the SystemExit that is set, which is cleared. */
static int handle_exit(void) {
        PyObject *type, *value, *traceback;
        _cleanup_pyref_ PyObject *code = NULL;
        int status = 0;

        fflush(stdout);
        PyErr_Fetch(&type, &value, &traceback);
        if (value && PyExceptionInstance_Check(value))
                code = PyObject_GetAttrString(value, "code");
        if (!code) {
                PyErr_Clear();
                code = value;
                Py_XINCREF(code);
        }
        if (code && PyLong_Check(code)) {
                status = (int)PyLong_AsLong(code);
        } else if (code && code != Py_None) {
                print_exit_code(code);
                status = 1;
        }
        PyErr_Clear();
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return exit_status(status);
}

/* exit_sigint(): python3 sends itself SIGINT, and exits if that is blocked. */
static int interrupted_status(void) {
        sigset_t blocked;

        pthread_sigmask(SIG_SETMASK, NULL, &blocked);
        return sigismember(&blocked, SIGINT) ? exit_status(128 + SIGINT) : SIGINT;
}

/* The wait status that the exception that is set ends the process with. It is printed, if it is to be, and
 * cleared. */
static int handle_exception(void) {
        int status = exit_status(1);

        if (PyErr_ExceptionMatches(PyExc_SystemExit))
                return handle_exit();
        if (PyErr_Occurred() == PyExc_KeyboardInterrupt)
                status = interrupted_status();
        PyErr_Print();
        return status;
}

static int run_code(PyObject *code, PyObject *globals) {
        PyObject *result;

        if (!code)
                return handle_exception();
        result = PyEval_EvalCode(code, globals, globals);
        Py_XDECREF(result);
        return result ? 0 : handle_exception();
}

static int run_file(const struct python_run *run, PyObject *globals) {
        _cleanup_pyref_ PyObject *code = run->code, *filename = run->filename, *result = NULL;
        bool is_stdin = run->args.kind == PYARGS_STDIN, is_exit;
        int status;

        if (is_stdin)
                filename = PyUnicode_FromString("<stdin>");
        if (!filename || set_main(globals, filename, !is_stdin) < 0)
                return handle_exception();
        if (is_stdin)
                code = script_compile_stdin();
        result = code ? PyEval_EvalCode(code, globals, globals) : NULL;
        if (code)
                streams_flush();
        is_exit = !result && PyErr_ExceptionMatches(PyExc_SystemExit);
        status = result ? 0 : handle_exception();
        if (!is_exit)
                unset_main(globals);
        return status;
}

static int run_module(const char *name) {
        _cleanup_pyref_ PyObject *runpy = PyImport_ImportModule("runpy"), *text = NULL, *result = NULL;

        text = runpy ? PyUnicode_DecodeFSDefault(name) : NULL;
        result = text ? PyObject_CallMethod(runpy, "_run_module_as_main", "Oi", text, 1) : NULL;
        return result ? 0 : handle_exception();
}

static int run_kind(const struct python_run *run) {
        PyObject *main = PyImport_AddModule("__main__"), *globals; /* borrowed */
        _cleanup_pyref_ PyObject *held = NULL;

        if (!main)
                return handle_exception();
        if (run->args.kind == PYARGS_MODULE)
                return run_module(run->args.target);
        held = globals = PyModule_GetDict(main);
        Py_INCREF(held);
        if (run->args.kind == PYARGS_COMMAND) {
                _cleanup_pyref_ PyObject *code = run->code;

                return run_code(code, globals);
        }
        return run_file(run, globals);
}

int python_run(struct python_run *run, const struct proto_run *context) {
        int status = become(run, context) < 0 ? handle_exception() : run_kind(run);

        if (finish_run() < 0 && status != SIGINT)
                status = exit_status(120);
        return status;
}
