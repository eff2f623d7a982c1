#include "proto.h"

#include <errno.h>
#include <stddef.h>

#define PROTO_PUT(kind, member) wire_put_##kind(writer, PROTO_PASS_##kind(value->member));
#define PROTO_GET(kind, member) wire_get_##kind(reader, &ret_value->member);
#define PROTO_PASS_u32(value) value
#define PROTO_PASS_u64(value) value
#define PROTO_PASS_str(value) value
#define PROTO_PASS_strv(value) &value
#define PROTO_PASS_u64v(value) &value

/* The macros below end with their own semicolons, which the formatter does not know. */
/* clang-format off */
#define PROTO_DEFINE(name)                                                                                        \
        void proto_put_##name(struct wire_writer *writer, const struct proto_##name *value) {                     \
                PROTO_FIELDS_##name(PROTO_PUT)                                                                    \
        }                                                                                                         \
                                                                                                                  \
        int proto_get_##name(struct wire_reader *reader, struct proto_##name *ret_value) {                        \
                PROTO_FIELDS_##name(PROTO_GET)                                                                    \
                return wire_reader_end(reader);                                                                   \
        }
/* clang-format on */
PROTO_PAYLOADS(PROTO_DEFINE)

void proto_set_stages(const struct wire_writer *payload, const uint64_t stages[PROTO_N_STAGES]) {
        const size_t n_bytes = PROTO_N_STAGES * sizeof(stages[0]);
        struct wire_u64v written;

        wire_u64v_from_array(stages, PROTO_N_STAGES, payload->data + payload->n_bytes - n_bytes, &written);
}

struct catalogue_row {
        const char *name;
        unsigned senders, receivers;
        uint32_t max_payload;
        uint16_t min_fds, max_fds;
};

#define PROTO_ROW(number, type, name, senders, receivers, max_payload, min_fds, max_fds)                          \
        [number] = { #type, senders, receivers, max_payload, min_fds, max_fds },
static const struct catalogue_row catalogue[] = { PROTO_MESSAGES(PROTO_ROW) };

static const struct catalogue_row *catalogue_find(unsigned type) {
        if (type >= sizeof(catalogue) / sizeof(catalogue[0]) || !catalogue[type].name)
                return NULL;
        return &catalogue[type];
}

const char *proto_type_name(unsigned type) {
        const struct catalogue_row *row = catalogue_find(type);

        return row ? row->name : "?";
}

void proto_header_write(const struct proto_header *header, uint8_t ret_bytes[PROTO_HEADER_BYTES]) {
        const uint64_t fields[][2] = {
                { PROTO_MAGIC, 4 },       { header->version, 2 }, { header->type, 2 },
                { header->n_payload, 4 }, { header->n_fds, 2 },   { 0, 2 },
        };
        uint8_t *at = ret_bytes;

        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
                for (uint64_t byte = 0; byte < fields[i][1]; byte++)
                        *at++ = (uint8_t)(fields[i][0] >> (8 * byte));
}

int proto_header_read(const uint8_t bytes[PROTO_HEADER_BYTES], unsigned senders, unsigned receiver,
                      struct proto_header *ret_header) {
        const struct catalogue_row *row;
        struct wire_reader reader;
        uint32_t magic;
        uint16_t zero;

        wire_reader_init(&reader, bytes, PROTO_HEADER_BYTES);
        wire_get_u32(&reader, &magic);
        wire_get_u16(&reader, &ret_header->version);
        wire_get_u16(&reader, &ret_header->type);
        wire_get_u32(&reader, &ret_header->n_payload);
        wire_get_u16(&reader, &ret_header->n_fds);
        wire_get_u16(&reader, &zero);
        if (magic != PROTO_MAGIC)
                return -EPROTO;
        if (ret_header->version != PROTO_VERSION && ret_header->type != PROTO_REFUSED)
                return -EPROTONOSUPPORT;

        row = catalogue_find(ret_header->type);
        if (!row || !(row->senders & senders) || !(row->receivers & receiver) || zero ||
            ret_header->n_payload > row->max_payload || ret_header->n_fds < row->min_fds ||
            ret_header->n_fds > row->max_fds)
                return -EPROTO;
        return 0;
}
