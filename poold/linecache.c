#include "pyref.h"

#include "linecache.h"

#include <stdbool.h>

#include "pyversion.h"

int linecache_register(PyObject *code, const char *command) {
        _cleanup_pyref_ PyObject *module = NULL, *text = NULL, *source = NULL, *name = NULL, *done = NULL;
        bool takes_code;

        if (pyversion() < PYVERSION_3_13)
                return 0;
        module = pyref_import("linecache");
        text = PyUnicode_DecodeFSDefault(command);
        source = text ? PyUnicode_FromFormat("%U\n", text) : NULL;
        name = PyUnicode_FromString("<string>");
        if (!module || !source || !name)
                return -1;
        takes_code = PyObject_HasAttrString(module, "_interactive_cache"); /* since 3.13.1 */
        done = PyObject_CallMethod(module, "_register_code", "OOO", takes_code ? code : name, source, name);
        return done ? 0 : -1;
}
