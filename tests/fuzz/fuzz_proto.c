/*
 * The decoding of payloads. The first byte chooses which payload the others are. What is accepted must be what its
 * fields are encoded as again: there is one way to write each message, so nothing was misread.
 */

#include "fuzz.h"

#include <string.h>

#include "lib/proto.h"

static void walk_strv(const struct wire_strv *strv) {
        char **array = wire_strv_to_array(strv, 1);
        size_t n_bytes = 0;

        FUZZ_CHECK(array);
        for (uint32_t i = 0; i < strv->count; i++)
                n_bytes += strlen(array[i]) + 1;
        FUZZ_CHECK(n_bytes == strv->n_bytes && !array[strv->count] && !array[strv->count + 1]);
        free(array);
}

static volatile uint64_t seen; /* so that no compiler leaves the reading out */

static void walk_u64v(const struct wire_u64v *u64v) {
        for (uint32_t i = 0; i < u64v->count; i++)
                seen = wire_u64v_at(u64v, i);
}

static void walk_str(const char *const *str) {
        FUZZ_CHECK(*str && strlen(*str) <= UINT32_MAX);
}

static void walk_u32(const uint32_t *value) {
        (void)value;
}

static void walk_u64(const uint64_t *value) {
        (void)value;
}

/* Refused or not, every field is safe to look at. */
/* clang-format off */
#define WALK(kind, member) walk_##kind(&value.member);
#define DECODE(name)                                                                                              \
        static void decode_##name(const uint8_t *data, size_t n_bytes) {                                          \
                _cleanup_writer_ struct wire_writer writer = { 0 };                                               \
                struct proto_##name value;                                                                        \
                struct wire_reader reader;                                                                        \
                int r;                                                                                            \
                                                                                                                  \
                wire_reader_init(&reader, data, n_bytes);                                                         \
                r = proto_get_##name(&reader, &value);                                                            \
                PROTO_FIELDS_##name(WALK)                                                                         \
                if (r < 0)                                                                                        \
                        return;                                                                                   \
                proto_put_##name(&writer, &value);                                                                \
                FUZZ_CHECK(!writer.error && writer.n_bytes == n_bytes &&                                          \
                           memcmp(writer.data, data, n_bytes) == 0);                                              \
        }
/* clang-format on */
PROTO_PAYLOADS(DECODE)

#define DECODER(name) decode_##name,
static void (*const decoders[])(const uint8_t *, size_t) = { PROTO_PAYLOADS(DECODER) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
        if (n_bytes > 0)
                decoders[data[0] % (sizeof(decoders) / sizeof(decoders[0]))](data + 1, n_bytes - 1);
        return 0;
}
