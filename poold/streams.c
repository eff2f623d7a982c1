#include "pyref.h"

#include "streams.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/fd.h"
#include "pyversion.h"

struct stream {
        int fd;
        const char *name;  /* in sys */
        const char *dname; /* in sys, the original */
        const char *label; /* its own */
        bool is_output;
};

static const struct stream streams[] = {
        { STDIN_FILENO, "stdin", "__stdin__", "<stdin>", false },
        { STDOUT_FILENO, "stdout", "__stdout__", "<stdout>", true },
        { STDERR_FILENO, "stderr", "__stderr__", "<stderr>", true },
};

static int init_again(PyObject *object, PyObject *arguments, PyObject *keywords) {
        _cleanup_pyref_ PyObject *init = NULL, *done = NULL;

        if (!object || !arguments)
                return -1;
        init = PyObject_GetAttrString(object, "__init__");
        if (!init)
                return -1;
        done = PyObject_Call(init, arguments, keywords);
        return done ? 0 : -1;
}

static int set_string(PyObject *object, const char *name, const char *value) {
        _cleanup_pyref_ PyObject *string = PyUnicode_FromString(value);

        return string ? PyObject_SetAttrString(object, name, string) : -1;
}

/* A new one: whether it can seek is something that a FileIO finds out only once. */
static PyObject *new_raw(const struct stream *stream) {
        _cleanup_pyref_ PyObject *io = pyref_import("io"), *raw = NULL;

        if (io)
                raw = PyObject_CallMethod(io, "FileIO", "isO", stream->fd, stream->is_output ? "wb" : "rb",
                                          Py_False);
        if (!raw || set_string(raw, "name", stream->label) < 0)
                return NULL;
        return pyref_steal(&raw);
}

static int init_buffer(PyObject *buffer, PyObject *raw) {
        _cleanup_pyref_ PyObject *size = PyObject_GetAttrString(raw, "_blksize"), *arguments = NULL;

        if (!size)
                return -1;
        arguments = PyTuple_Pack(2, raw, size);
        return init_again(buffer, arguments, NULL);
}

/* New reference: what the settings say, else what @text has. */
static PyObject *encoding_of(const struct stream_settings *settings, PyObject *text) {
        if (!settings->encoding)
                return PyObject_GetAttrString(text, "encoding");
        Py_INCREF(settings->encoding);
        return settings->encoding;
}

/* Likewise; standard error never fails. */
static PyObject *errors_of(const struct stream *stream, const struct stream_settings *settings, PyObject *text) {
        if (!settings->errors || stream->fd == STDERR_FILENO)
                return PyObject_GetAttrString(text, "errors");
        return PyUnicode_DecodeFSDefault(settings->errors);
}

static int init_text(const struct stream *stream, PyObject *text, PyObject *buffer,
                     const struct stream_settings *settings) {
        bool unbuffered = settings->unbuffered;
        bool line_buffering = !unbuffered && (isatty(stream->fd) || stream->fd == STDERR_FILENO);
        _cleanup_pyref_ PyObject *encoding = encoding_of(settings, text), *errors = NULL;
        _cleanup_pyref_ PyObject *arguments = NULL;

        if (!encoding)
                return -1;
        errors = errors_of(stream, settings, text);
        if (!errors)
                return -1;
        /* As create_stdio() of CPython: nothing translates newlines, on standard input neither. */
        arguments = Py_BuildValue("(OOOsOO)", buffer, encoding, errors, "\n", line_buffering ? Py_True : Py_False,
                                  unbuffered ? Py_True : Py_False);
        if (init_again(text, arguments, NULL) < 0)
                return -1;
        return set_string(text, "mode", stream->is_output ? "w" : "r");
}

/* A buffered writer over @raw, for an interpreter that was started without. */
static PyObject *new_writer(PyObject *raw) {
        _cleanup_pyref_ PyObject *io = pyref_import("io"), *size = NULL;

        if (!io)
                return NULL;
        size = PyObject_GetAttrString(raw, "_blksize");
        return size ? PyObject_CallMethod(io, "BufferedWriter", "OO", raw, size) : NULL;
}

static int init_stream(const struct stream *stream, PyObject *text, const struct stream_settings *settings) {
        _cleanup_pyref_ PyObject *buffer = PyObject_GetAttrString(text, "buffer"), *raw = NULL, *writer = NULL;

        if (!buffer)
                return -1;
        raw = new_raw(stream);
        if (!raw)
                return -1;
        if (stream->is_output && settings->unbuffered)
                return init_text(stream, text, raw, settings);
        if (!PyObject_HasAttrString(buffer, "raw")) {
                writer = new_writer(raw);
                return writer ? init_text(stream, text, writer, settings) : -1;
        }
        if (init_buffer(buffer, raw) < 0)
                return -1;
        return init_text(stream, text, buffer, settings);
}

/* Where a module has put something of its own in the place of sys.stdout, that is left, as python3 would have it.
 */
static int close_stream(const struct stream *stream, PyObject *text) {
        if (PySys_GetObject(stream->name) == text && PySys_SetObject(stream->name, Py_None) < 0)
                return -1;
        return PySys_SetObject(stream->dname, Py_None);
}

/* C's streams decide on their buffering with their first use, which may have been the log's. */
static void adopt_c_streams(bool unbuffered, bool interactive) {
        int mode = unbuffered ? _IONBF : interactive || isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF;

        clearerr(stdin);
        clearerr(stdout);
        clearerr(stderr);
        if (unbuffered || interactive)
                setvbuf(stdin, NULL, mode, BUFSIZ);
        setvbuf(stdout, NULL, mode, BUFSIZ);
}

int streams_adopt(const struct stream_settings *settings) {
        adopt_c_streams(settings->unbuffered, settings->interactive);
        for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
                PyObject *text = PySys_GetObject(streams[i].dname); /* borrowed */
                int r;

                if (!text || text == Py_None)
                        continue;
                Py_INCREF(text);
                if (fd_set_cloexec(streams[i].fd, false) < 0)
                        r = close_stream(&streams[i], text);
                else
                        r = init_stream(&streams[i], text, settings);
                Py_DECREF(text);
                if (r < 0)
                        return -1;
        }
        return 0;
}

static bool is_closed(PyObject *file) {
        _cleanup_pyref_ PyObject *closed = PyObject_GetAttrString(file, "closed");
        int is_true = closed ? PyObject_IsTrue(closed) : 0;

        PyErr_Clear();
        return is_true > 0;
}

/* Returns 0, or -1 with an exception set. */
static int flush(PyObject *file) {
        PyObject *done = PyObject_CallMethod(file, "flush", NULL);

        Py_XDECREF(done);
        return done ? 0 : -1;
}

/* What is flushed in the place of sys.stdout and sys.stderr: standard input has none. */
static struct proxy {
        PyObject *real;
        PyObject *proxy;
} proxies[3];
static int last_status;

static void restore(void) {
        for (size_t i = 0; i < 3; i++)
                if (proxies[i].proxy && PySys_GetObject(streams[i].name) == proxies[i].proxy)
                        PySys_SetObject(streams[i].name, proxies[i].real);
}

/* Before 3.13 the message about a failed flush names the object, which must not be the proxy. */
static bool names_object(void) {
        return pyversion() < PYVERSION_3_13;
}

static void flush_last(size_t i, PyObject *real) {
        PyObject *type, *value, *traceback;

        if (!is_closed(real) && flush(real) < 0)
                last_status = -1;
        if (PyErr_Occurred() && i == STDOUT_FILENO && names_object())
                PyErr_WriteUnraisable(real);
        PyErr_Fetch(&type, &value, &traceback);
        if (PyObject_SetAttrString(proxies[i].proxy, "write", Py_None) < 0) /* which holds it, too */
                PyErr_Clear();
        PyErr_Restore(type, value, traceback);
}

/* As flush_std_files() of CPython, which has taken the proxy for the file. */
static PyObject *flush_real(PyObject *which, PyObject *none) {
        const size_t i = (size_t)PyLong_AsLong(which);

        (void)none;
        restore();
        flush_last(i, proxies[i].real);
        Py_CLEAR(proxies[i].real);
        if (PyErr_Occurred())
                return NULL;
        Py_RETURN_NONE;
}

/* An object with what flush_std_files() asks for: a new reference, or NULL with an exception set. */
static PyObject *new_proxy(size_t i) {
        static PyMethodDef method = { "flush", flush_real, METH_NOARGS, NULL };
        PyObject *implementation = PySys_GetObject("implementation"); /* borrowed; a SimpleNamespace */
        _cleanup_pyref_ PyObject *which = PyLong_FromSize_t(i), *function = NULL, *write = NULL, *names = NULL;
        _cleanup_pyref_ PyObject *none = PyTuple_New(0);

        write = PyObject_GetAttrString(proxies[i].real, "write"); /* what dies with other threads may print */
        PyErr_Clear();
        function = which ? PyCFunction_New(&method, which) : NULL;
        if (function)
                names = Py_BuildValue("{sOsOsO}", "flush", function, "closed", Py_False, "write",
                                      write ? write : Py_None);
        return names && none ? PyObject_Call((PyObject *)Py_TYPE(implementation), none, names) : NULL;
}

int streams_watch_flush(void) {
        last_status = 0;
        for (size_t i = STDOUT_FILENO; i <= STDERR_FILENO; i++) {
                PyObject *real = PySys_GetObject(streams[i].name); /* borrowed */

                if (!real || real == Py_None)
                        continue;
                Py_INCREF(real);
                proxies[i].real = real;
                proxies[i].proxy = new_proxy(i);
                if (!proxies[i].proxy || PySys_SetObject(streams[i].name, proxies[i].proxy) < 0)
                        return -1;
        }
        return 0;
}

int streams_last_status(void) {
        return last_status;
}

void streams_flush(void) {
        static const char *const names[] = { "stderr", "stdout" };
        PyObject *type, *value, *traceback;

        PyErr_Fetch(&type, &value, &traceback);
        for (size_t i = 0; i < 2; i++) {
                PyObject *file = PySys_GetObject(names[i]);

                Py_XINCREF(file);
                if (file && file != Py_None && flush(file) < 0)
                        PyErr_Clear();
                Py_XDECREF(file);
        }
        PyErr_Restore(type, value, traceback);
}
