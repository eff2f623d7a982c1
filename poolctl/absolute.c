#include "absolute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *absolute(const char *path) {
        char *folder, *whole = NULL;

        if (path[0] == '/')
                return strdup(path);
        folder = get_current_dir_name();
        if (folder && asprintf(&whole, "%s/%s", folder, path) < 0)
                whole = NULL;
        free(folder);
        return whole;
}
