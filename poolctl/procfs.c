#include "procfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *open_file(pid_t pid, const char *name) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
        return fopen(path, "re");
}

uint64_t procfs_pss_kb(pid_t pid) {
        FILE *file = open_file(pid, "smaps_rollup");
        uint64_t pss_kb = 0;
        char line[256];

        if (!file)
                return 0;
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, "Pss:", 4) == 0)
                        pss_kb = strtoull(line + 4, NULL, 10);
        fclose(file);
        return pss_kb;
}

uint64_t procfs_rss_kb(pid_t pid) {
        FILE *file = open_file(pid, "statm");
        uint64_t n_pages = 0;
        char line[256], *second;

        if (!file)
                return 0;
        if (fgets(line, sizeof(line), file) && (second = strchr(line, ' ')))
                n_pages = strtoull(second, NULL, 10);
        fclose(file);
        return n_pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* sysconf(3) may count those that we may run on. */
static long count_cpus(void) {
        FILE *file = fopen("/sys/devices/system/cpu/online", "re");
        char line[4096] = "", *at = line; /* "0-3,8", for instance */
        long n = 0;

        if (file && !fgets(line, sizeof(line), file))
                line[0] = '\0';
        if (file)
                fclose(file);
        while (*at >= '0' && *at <= '9') {
                const long first = strtol(at, &at, 10), last = *at == '-' ? strtol(at + 1, &at, 10) : first;

                n += last - first + 1;
                at += *at == ',';
        }
        return n ? n : sysconf(_SC_NPROCESSORS_ONLN);
}

bool procfs_is_quiet(void) {
        FILE *file = fopen("/proc/loadavg", "re");
        char line[128], *running = NULL;

        if (!file)
                return false;
        if (fgets(line, sizeof(line), file) && (running = strchr(line, '/')))
                while (running > line && running[-1] != ' ')
                        running--;
        fclose(file);
        return running && strtol(running, NULL, 10) <= count_cpus(); /* we are one of them */
}

char *procfs_command(pid_t pid) {
        FILE *file = open_file(pid, "cmdline"), *out;
        char *text = NULL;
        size_t n_bytes = 0;
        int byte;

        if (!file)
                return NULL;
        out = open_memstream(&text, &n_bytes);
        while (out && (byte = getc(file)) != EOF)
                putc(byte ? byte : ' ', out); /* one ends the last argument, too */
        fclose(file);
        if (out)
                fclose(out);
        if (n_bytes && text[n_bytes - 1] == ' ')
                text[--n_bytes] = '\0';
        if (n_bytes)
                return text;
        free(text);
        return NULL;
}
