/*
 * driver SEEDS...: runs the target on each file of these folders, on every beginning of it, and on it with each byte
 * changed in a few ways. So a build without a fuzzer tries the neighbourhood of every seed.
 */

#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define MAX_SEED_BYTES (64 << 10)

static size_t n_runs;

/* The bytes are copied into memory of their exact size, so that a sanitizer sees each that is read beyond. */
static void run_exact(const uint8_t *data, size_t n_bytes) {
        uint8_t *exact = malloc(n_bytes ? n_bytes : 1);

        FUZZ_CHECK(exact);
        memcpy(exact, data, n_bytes);
        LLVMFuzzerTestOneInput(exact, n_bytes);
        free(exact);
        n_runs++;
}

static void run_around(uint8_t *data, size_t n_bytes) {
        static const uint8_t changes[] = { 0x01, 0x80, 0xff };

        for (size_t n = 0; n <= n_bytes; n++)
                run_exact(data, n);
        for (size_t i = 0; i < n_bytes; i++)
                for (size_t j = 0; j < sizeof(changes); j++) {
                        data[i] ^= changes[j];
                        run_exact(data, n_bytes);
                        data[i] ^= changes[j];
                }
}

static int run_file(const char *path) {
        static uint8_t data[MAX_SEED_BYTES];
        FILE *file = fopen(path, "rbe");
        size_t n_bytes;

        if (!file) {
                perror(path);
                return -1;
        }
        n_bytes = fread(data, 1, sizeof(data), file);
        fclose(file);
        run_around(data, n_bytes);
        return 0;
}

/* Returns the number of files, or -1 if one could not be read. */
static int run_folder(const char *folder) {
        DIR *entries = opendir(folder);
        struct dirent *entry;
        int n_files = 0;

        if (!entries) {
                perror(folder);
                return -1;
        }
        while (n_files >= 0 && (entry = readdir(entries))) {
                char path[4096];

                if (entry->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
                n_files = run_file(path) < 0 ? -1 : n_files + 1;
        }
        closedir(entries);
        return n_files;
}

int main(int argc, char **argv) {
        int n_files = 0;

        for (int i = 1; i < argc; i++) {
                int n = run_folder(argv[i]);

                if (n <= 0) {
                        fprintf(stderr, "%s: no seeds\n", argv[i]);
                        return 1;
                }
                n_files += n;
        }
        printf("%d seeds, %zu runs\n", n_files, n_runs);
        return n_files > 0 ? 0 : 1;
}
