/*
 * seeds proto|channel FOLDER: writes the seeds of a target, one file for each payload or message there is. They are
 * made from the catalogue, so they stay whole when the protocol changes.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/proto.h"

static char list[] = "A=1\0\0B=2 3";
static uint8_t words[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 0xff };

#define PUT_u32(member) value.member = 0x01020304;
#define PUT_u64(member) value.member = UINT64_C(0x0102030405060708);
#define PUT_str(member) value.member = #member;
#define PUT_strv(member) value.member = (struct wire_strv){ .count = 3, .data = list, .n_bytes = sizeof(list) };
#define PUT_u64v(member) value.member = (struct wire_u64v){ .count = 2, .data = words };
#define PUT(kind, member) PUT_##kind(member)

/* clang-format off */
#define FILL(name)                                                                                                \
        static void fill_##name(struct wire_writer *writer) {                                                     \
                struct proto_##name value;                                                                        \
                                                                                                                  \
                PROTO_FIELDS_##name(PUT)                                                                          \
                proto_put_##name(writer, &value);                                                                 \
        }
PROTO_PAYLOADS(FILL)

#define PAYLOAD(name) { #name, fill_##name },
static const struct {
        const char *name;
        void (*fill)(struct wire_writer *);
} payloads[] = { PROTO_PAYLOADS(PAYLOAD) };

#define MESSAGE(number, type, name, senders, receivers, max_payload, min_fds, max_fds)                            \
        { #type, number, fill_##name, senders, receivers, min_fds },
static const struct {
        const char *name;
        uint16_t type;
        void (*fill)(struct wire_writer *);
        unsigned senders, receivers;
        uint16_t n_fds;
} messages[] = { PROTO_MESSAGES(MESSAGE) };
/* clang-format on */

static int write_seed(const char *folder, const char *name, uint8_t first, const void *header, size_t n_header,
                      const struct wire_writer *payload) {
        char path[4096];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", folder, name);
        file = fopen(path, "wbe");
        if (!file)
                return -errno;
        fputc(first, file);
        fwrite(header, 1, n_header, file);
        fwrite(payload->data, 1, payload->n_bytes, file);
        return fclose(file) ? -EIO : 0;
}

static int write_payloads(const char *folder) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(payloads) / sizeof(payloads[0]); i++) {
                _cleanup_writer_ struct wire_writer payload = { 0 };

                payloads[i].fill(&payload);
                r = write_seed(folder, payloads[i].name, (uint8_t)i, "", 0, &payload);
        }
        return r;
}

/* The first byte of fuzz_channel's input: its receivers in order, and the number of fds. */
static uint8_t channel_options(size_t i) {
        unsigned receiver;

        if (messages[i].receivers & PROTO_CLIENT)
                receiver = 2;
        else if (messages[i].receivers & PROTO_WORKER)
                receiver = 3;
        else
                receiver = messages[i].senders & PROTO_WORKER ? 1 : 0;
        return (uint8_t)(receiver | (unsigned)messages[i].n_fds << 3);
}

static int write_messages(const char *folder) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(messages) / sizeof(messages[0]); i++) {
                _cleanup_writer_ struct wire_writer payload = { 0 };
                uint8_t header[PROTO_HEADER_BYTES];

                messages[i].fill(&payload);
                proto_header_write(
                        &(struct proto_header){
                                .version = PROTO_VERSION,
                                .type = messages[i].type,
                                .n_payload = (uint32_t)payload.n_bytes,
                                .n_fds = messages[i].n_fds,
                        },
                        header);
                r = write_seed(folder, messages[i].name, channel_options(i), header, sizeof(header), &payload);
        }
        return r;
}

int main(int argc, char **argv) {
        int r;

        if (argc != 3)
                return 2;
        if (mkdir(argv[2], 0777) < 0 && errno != EEXIST) {
                perror(argv[2]);
                return 1;
        }
        r = strcmp(argv[1], "proto") == 0 ? write_payloads(argv[2]) : write_messages(argv[2]);
        if (r < 0)
                fprintf(stderr, "%s: %s\n", argv[2], strerror(-r));
        return r < 0 ? 1 : 0;
}
