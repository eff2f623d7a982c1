#pragma once

/* Which CPython this is, as the limited API lets one find out. Python.h comes first everywhere it is used. */

#include <Python.h>

#define PYVERSION_3_10 0x030a0000
#define PYVERSION_3_11 0x030b0000
#define PYVERSION_3_12 0x030c0000
#define PYVERSION_3_13 0x030d0000
#define PYVERSION_3_13_3 0x030d0300
#define PYVERSION_3_14 0x030e0000

/* sys.hexversion, or 0 if the script has removed it. */
static inline long pyversion(void) {
        PyObject *number = PySys_GetObject("hexversion"); /* borrowed */
        long value = number && PyLong_Check(number) ? PyLong_AsLong(number) : 0;

        if (value == -1)
                PyErr_Clear(); /* a script's own; what is set otherwise is the caller's */
        return value;
}
