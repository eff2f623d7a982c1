#include "fit.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/pyargs.h"

/*
 * Variables that are read when the interpreter starts or a module is imported; later is too late. A '*' at the end
 * stands for any rest. The locale's are looked at in another way, see locale_of().
 */
static const char *const import_time[] = {
        "ARROW_*",        "ATEN_*",         "BLIS_*",     "CUBLAS_*",        "CUDA_*",     "CUDNN_*",   "DASK_*",
        "GLIBC_TUNABLES", "GOMP_*",         "GOTO_*",     "GRPC_*",          "HF_*",       "HIP_*",     "HOME",
        "JAX_*",          "JOBLIB_*",       "KERAS_*",    "KMP_*",           "LD_*",       "LOKY_*",    "MALLOC_*",
        "MATPLOTLIBRC",   "MKL_*",          "MPLBACKEND", "MPLCONFIGDIR",    "NCCL_*",     "NPY_*",     "NUMBA_*",
        "NUMEXPR_*",      "NUMPY_*",        "NVIDIA_*",   "OMP_*",           "OPENBLAS_*", "OPENSSL_*", "PANDAS_*",
        "POLARS_*",       "PYTHON*",        "PYTORCH_*",  "ROCR_*",          "SCIPY_*",    "SKLEARN_*", "TF_*",
        "TORCH_*",        "TRANSFORMERS_*", "VECLIB_*",   "XDG_CONFIG_HOME", "XLA_*",
};

/*
 * Of them, those whose effect a worker that was started without them has all the same, see options.c: as long as they
 * are not set for the pool.
 */
static const char *const late[] = { "PYTHONFAULTHANDLER", "PYTHONINSPECT",  "PYTHONIOENCODING",
                                    "PYTHONPATH",         "PYTHONSAFEPATH", "PYTHONWARNINGS" };

/* And those for which the pool's value does not matter, since it is not used, undone, or read when it is needed. */
static const char *const never_early[] = { "PYTHONASYNCIODEBUG", "PYTHONBREAKPOINT", "PYTHONDONTWRITEBYTECODE",
                                           "PYTHONSTARTUP",      "PYTHONUNBUFFERED", "PYTHON_BASIC_REPL",
                                           "PYTHON_HISTORY" };

struct fit {
        struct fit_settings settings;
        int n_options;
        bool ignores_python;                  /* -E or -I: PYTHON* have no effect */
        bool begins_sensitive[UCHAR_MAX + 1]; /* whether a variable that begins with this byte can be sensitive */
        char **sensitive;                     /* of the pool's environment, borrowed strings, NULL-terminated */
        size_t n_sensitive;
        char *locale;
        rlim_t hard_limits[RLIM_NLIMITS]; /* above which a worker cannot go */
};

static bool matches(const char *variable, const char *pattern) {
        size_t length = strcspn(pattern, "*");

        return strncmp(variable, pattern, length) == 0 && (pattern[length] == '*' || variable[length] == '=');
}

static bool is_one_of(const char *variable, const char *const *patterns, size_t n_patterns) {
        for (size_t i = 0; i < n_patterns; i++)
                if (variable[0] == patterns[i][0] && matches(variable, patterns[i]))
                        return true;
        return false;
}

#define IS_ONE_OF(variable, patterns) is_one_of(variable, patterns, sizeof(patterns) / sizeof((patterns)[0]))

static bool is_late(const char *variable) {
        return IS_ONE_OF(variable, late);
}

/* Of those that the pool names itself, each value is as good as another. */
static bool is_named(const struct fit *fit, const char *variable) {
        for (char *const *name = fit->settings.env_sensitive; *name; name++)
                if (matches(variable, *name))
                        return true;
        return false;
}

static bool is_sensitive(const struct fit *fit, const char *variable) {
        if (!fit->begins_sensitive[(unsigned char)variable[0]])
                return false;
        if (is_named(fit, variable))
                return true;
        if (!IS_ONE_OF(variable, import_time) || IS_ONE_OF(variable, never_early))
                return false;
        if (fit->ignores_python && matches(variable, "PYTHON*"))
                return false;
        return !is_late(variable) || strchr(variable, '=')[1]; /* an empty one is as good as none */
}

/* The locale that an interpreter starts with: LC_ALL, else LC_CTYPE, else LANG (setlocale(3)), as NAME=value. */
struct locale {
        const char *variables[3];
};

static const char *const locale_names[] = { "LC_ALL=", "LC_CTYPE=", "LANG=" };

static void locale_note(struct locale *locale, const char *variable) {
        if (variable[0] != 'L')
                return;
        for (size_t i = 0; i < 3; i++) {
                size_t length = strlen(locale_names[i]);

                if (strncmp(variable, locale_names[i], length) == 0 && variable[length])
                        locale->variables[i] = variable;
        }
}

/* LC_ALL is told from the others, as python's coercion of the C locale does (PEP 538). */
static const char *locale_of(const struct locale *locale) {
        if (locale->variables[0])
                return locale->variables[0];
        for (size_t i = 1; i < 3; i++)
                if (locale->variables[i])
                        return strchr(locale->variables[i], '=');
        return "=";
}

/* Root may raise any. */
static void read_hard_limits(rlim_t *ret_limits) {
        for (unsigned resource = 0; resource < RLIM_NLIMITS; resource++) {
                struct rlimit ours;

                ret_limits[resource] = RLIM_INFINITY;
                if (geteuid() != 0 && getrlimit((enum __rlimit_resource)resource, &ours) == 0)
                        ret_limits[resource] = ours.rlim_max;
        }
}

struct fit *fit_new(const struct fit_settings *settings) {
        char *const *envp = settings->envp, *const *options = settings->options;
        struct fit *fit = calloc(1, sizeof(*fit));
        struct pyargs args;
        struct locale locale = { 0 };
        size_t n = 0;

        if (!fit)
                return NULL;
        fit->settings = *settings;
        read_hard_limits(fit->hard_limits);
        for (size_t i = 0; i < sizeof(import_time) / sizeof(import_time[0]); i++)
                fit->begins_sensitive[(unsigned char)import_time[i][0]] = true;
        for (char *const *name = settings->env_sensitive; *name; name++)
                fit->begins_sensitive[(unsigned char)(*name)[0]] = true;
        while (options[fit->n_options])
                fit->n_options++;
        pyargs_parse(options, fit->n_options, &args);
        fit->ignores_python = args.start.ignore_environment;
        while (envp[n])
                n++;
        fit->sensitive = calloc(n + 1, sizeof(char *));
        if (!fit->sensitive)
                return fit_free(fit);
        for (size_t i = 0; i < n; i++) {
                if (is_sensitive(fit, envp[i]))
                        fit->sensitive[fit->n_sensitive++] = envp[i];
                locale_note(&locale, envp[i]);
        }
        fit->locale = strdup(locale_of(&locale));
        return fit->locale ? fit : fit_free(fit);
}

struct fit *fit_free(struct fit *fit) {
        if (fit) {
                free(fit->sensitive);
                free(fit->locale);
        }
        free(fit);
        return NULL;
}

/* The pool's variable of the same name as @variable, or NULL. */
static const char *find_same_name(const struct fit *fit, const char *variable) {
        size_t length = strcspn(variable, "=");

        for (size_t i = 0; i < fit->n_sensitive; i++)
                if (strncmp(fit->sensitive[i], variable, length) == 0 && fit->sensitive[i][length] == '=')
                        return fit->sensitive[i];
        return NULL;
}

/* A variable that the pool's workers have and the client has not. */
static const char *find_absent(const struct fit *fit, const struct wire_strv *env) {
        for (size_t i = 0; i < fit->n_sensitive; i++) {
                const char *at = env->data;
                size_t length = strcspn(fit->sensitive[i], "=") + 1;
                uint32_t n = 0;

                while (n < env->count && strncmp(at, fit->sensitive[i], length) != 0) {
                        at = wire_strv_next(at);
                        n++;
                }
                if (n == env->count)
                        return fit->sensitive[i];
        }
        return NULL;
}

static int name_length(const char *variable) {
        return (int)strcspn(variable, "=");
}

/* The folder of the environment that the client has activated, or NULL. A virtual one may lie upon conda's. */
static const char *activated_by(const struct proto_run *run) {
        const char *variable = run->env.data, *found = NULL;

        for (uint32_t i = 0; i < run->env.count; i++, variable = wire_strv_next(variable)) {
                const char *value;

                if (variable[0] != 'V' && variable[0] != 'C')
                        continue;
                value = strchrnul(variable, '=');
                if (!value[0] || !value[1])
                        continue;
                if (matches(variable, "VIRTUAL_ENV"))
                        return value + 1;
                if (matches(variable, "CONDA_PREFIX"))
                        found = value + 1;
        }
        return found;
}

int fit_run_init(struct fit_run *ret_candidate, const struct proto_run *run) {
        ret_candidate->run = run;
        ret_candidate->activated = activated_by(run);
        ret_candidate->argv = wire_strv_to_array(&run->argv, 0);
        return ret_candidate->argv ? 0 : -ENOMEM;
}

void fit_run_fini(struct fit_run *candidate) {
        free(candidate->argv);
}

static bool has_interpreter(const struct fit *fit, const struct proto_run *run, const char *activated) {
        if (run->pool[0])
                return true;
        return activated ? interpreter_is_of(fit->settings.interpreter, activated) : fit->settings.is_default;
}

bool fit_has_interpreter(const struct fit *fit, const struct proto_run *run) {
        return has_interpreter(fit, run, activated_by(run));
}

/* The first that is looked at: this miss counts only where all pools have it. */
static int check_interpreter(const struct fit *fit, const struct fit_run *candidate, struct decline *ret_miss) {
        if (has_interpreter(fit, candidate->run, candidate->activated))
                return 0;
        if (candidate->activated)
                return decline(ret_miss, "interpreter", "%.150s is activated, and no pool has its interpreter",
                               candidate->activated);
        return decline(ret_miss, "interpreter", "all pools are for environments, and none is activated");
}

static int check_environment(const struct fit *fit, const struct proto_run *run, struct decline *ret_miss) {
        const char *variable = run->env.data, *absent;
        struct locale locale = { 0 };

        for (uint32_t i = 0; i < run->env.count; i++, variable = wire_strv_next(variable)) {
                const char *ours;

                locale_note(&locale, variable);
                if (!is_sensitive(fit, variable))
                        continue;
                ours = find_same_name(fit, variable);
                if (!ours && is_late(variable) && !is_named(fit, variable))
                        continue;
                if (!ours || strcmp(ours, variable) != 0)
                        return decline(ret_miss, "environment", "%.*s is %s in the pool's workers",
                                       name_length(variable), variable, ours ? "different" : "not set");
        }
        absent = find_absent(fit, &run->env);
        if (absent)
                return decline(ret_miss, "environment", "%.*s is set in the pool's workers only",
                               name_length(absent), absent);
        if (strcmp(locale_of(&locale), fit->locale) != 0)
                return decline(ret_miss, "environment",
                               "the locale (LC_ALL, LC_CTYPE, LANG) is %s in the pool's workers",
                               fit->locale[0] == '=' ? fit->locale + 1 : fit->locale);
        return 0;
}

static int check_arguments(const struct fit *fit, const struct fit_run *candidate, struct decline *ret_miss) {
        const int argc = (int)candidate->run->argv.count;
        struct pyargs args;

        if (pyargs_parse(candidate->argv, argc, &args) == PYARGS_UNSUPPORTED)
                return decline(ret_miss, "options", "no warm worker can have the option %.100s", args.unsupported);
        if (!pyargs_same_start(candidate->argv, argc, fit->settings.options, fit->n_options))
                return decline(ret_miss, "options",
                               "the options that act at the interpreter's start are not the pool's%s",
                               fit->n_options ? "" : ", which has none");
        return 0;
}

/* The CPU time of the preload would count, and there is no giving it back. */
static bool limits_cpu_time(const struct proto_run *run) {
        return wire_u64v_at(&run->limits, 2 * RLIMIT_CPU) != RLIM_INFINITY ||
               wire_u64v_at(&run->limits, 2 * RLIMIT_CPU + 1) != RLIM_INFINITY;
}

/* What a worker, which starts with our limits, cannot become. */
static int check_process(const struct fit *fit, const struct proto_run *run, struct decline *ret_miss) {
        uint32_t n_fds = run->fd_numbers.count;

        if (n_fds && wire_u64v_at(&run->fd_numbers, n_fds - 1) >= PROTO_FD_NUMBERS_END)
                return decline(ret_miss, "fds", "an fd has a number of %d or more", PROTO_FD_NUMBERS_END);
        if (run->policy == SCHED_DEADLINE)
                return decline(ret_miss, "nice", "time with a deadline is not given twice");
        if (limits_cpu_time(run))
                return decline(ret_miss, "limits", "CPU time is limited, and the worker has used some already");
        for (uint32_t resource = 0; resource < RLIM_NLIMITS; resource++)
                if (fit->hard_limits[resource] < wire_u64v_at(&run->limits, 2 * resource + 1))
                        return decline(ret_miss, "limits", "poold has a lower hard limit %u than the client",
                                       resource);
        return 0;
}

int fit_check(const struct fit *fit, const struct fit_run *candidate, struct decline *ret_miss) {
        int r = check_interpreter(fit, candidate, ret_miss);

        if (r == 0)
                r = check_arguments(fit, candidate, ret_miss);
        if (r == 0)
                r = check_process(fit, candidate->run, ret_miss);
        return r ? r : check_environment(fit, candidate->run, ret_miss);
}
