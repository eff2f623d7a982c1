#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "lib/proto.h"

/* Every field of every payload gets a value of its own, so that two that were swapped would show. */
static char text[] = "first\0second\0third";
static const uint8_t words[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0, 0, 0, 0, 0, 0, 0x80 };

static void fill_u32(uint32_t *value, unsigned seed) {
        *value = UINT32_C(0xfffffff0) + seed;
}

static void fill_u64(uint64_t *value, unsigned seed) {
        *value = UINT64_C(0xfffffffffffffff0) + seed;
}

static void fill_str(const char **value, unsigned seed) {
        *value = text + seed % sizeof(text);
}

static void fill_strv(struct wire_strv *value, unsigned seed) {
        *value = seed % 2 ? (struct wire_strv){ .count = 3, .data = text, .n_bytes = sizeof(text) }
                          : (struct wire_strv){ .count = 1, .data = text + 6, .n_bytes = 7 };
}

static void fill_u64v(struct wire_u64v *value, unsigned seed) {
        *value = (struct wire_u64v){ .count = 1 + seed % 2, .data = words };
}

static void check_u32(uint32_t a, uint32_t b) {
        assert_int_equal(a, b);
}

static void check_u64(uint64_t a, uint64_t b) {
        assert_true(a == b);
}

static void check_str(const char *a, const char *b) {
        assert_string_equal(a, b);
}

static void check_strv(struct wire_strv a, struct wire_strv b) {
        assert_true(a.count == b.count && a.n_bytes == b.n_bytes);
        assert_memory_equal(a.data, b.data, a.n_bytes);
}

static void check_u64v(struct wire_u64v a, struct wire_u64v b) {
        assert_int_equal(a.count, b.count);
        for (uint32_t i = 0; i < a.count; i++)
                assert_true(wire_u64v_at(&a, i) == wire_u64v_at(&b, i));
}

#define FILL(kind, member) fill_##kind(&in.member, seed++);
#define CHECK(kind, member) check_##kind(out.member, in.member);

/* Comes back as it was; one byte less, at whatever place it ends, or one more is refused. */
/* clang-format off */
#define ROUND_TRIP(name)                                                                                          \
        static void round_trip_##name(void **state) {                                                             \
                _cleanup_writer_ struct wire_writer writer = { 0 };                                               \
                struct proto_##name in, out;                                                                      \
                struct wire_reader reader;                                                                        \
                unsigned seed = 0;                                                                                \
                                                                                                                  \
                (void)state;                                                                                      \
                PROTO_FIELDS_##name(FILL)                                                                         \
                assert_true(seed > 0);                                                                            \
                proto_put_##name(&writer, &in);                                                                   \
                assert_int_equal(writer.error, 0);                                                                \
                wire_reader_init(&reader, writer.data, writer.n_bytes);                                           \
                assert_int_equal(proto_get_##name(&reader, &out), 0);                                             \
                PROTO_FIELDS_##name(CHECK)                                                                        \
                for (size_t n_bytes = 0; n_bytes < writer.n_bytes; n_bytes++) {                                   \
                        uint8_t *exact = malloc(n_bytes + 1); /* so that a sanitizer sees every byte beyond */    \
                                                                                                                  \
                        memcpy(exact + 1, writer.data, n_bytes);                                                  \
                        wire_reader_init(&reader, exact + 1, n_bytes);                                            \
                        assert_int_equal(proto_get_##name(&reader, &out), -EPROTO);                               \
                        free(exact);                                                                              \
                }                                                                                                 \
                wire_put_u16(&writer, 0);                                                                         \
                wire_reader_init(&reader, writer.data, writer.n_bytes - 1);                                       \
                assert_int_equal(proto_get_##name(&reader, &out), -EPROTO);                                       \
        }
/* clang-format on */
PROTO_PAYLOADS(ROUND_TRIP)

/* The catalogue, read once more and checked against what the library made of it. */
struct row {
        unsigned type;
        const char *name;
        unsigned senders, receivers;
        uint32_t max_payload;
        uint16_t min_fds, max_fds;
};

#define ROW(number, type, name, senders, receivers, max_payload, min_fds, max_fds)                                \
        { number, #type, senders, receivers, max_payload, min_fds, max_fds },
static const struct row rows[] = { PROTO_MESSAGES(ROW) };

static struct proto_header header_of(const struct row *row) {
        return (struct proto_header){
                .version = PROTO_VERSION,
                .type = (uint16_t)row->type,
                .n_payload = row->max_payload,
                .n_fds = row->max_fds,
        };
}

/* Writes @header, reads it as @receiver and checks that it came back if it was accepted. */
static int pass(const struct proto_header *header, unsigned senders, unsigned receiver) {
        uint8_t bytes[PROTO_HEADER_BYTES];
        struct proto_header out;
        int r;

        proto_header_write(header, bytes);
        r = proto_header_read(bytes, senders, receiver, &out);
        if (r == 0) {
                assert_int_equal(out.version, header->version);
                assert_int_equal(out.type, header->type);
                assert_int_equal(out.n_payload, header->n_payload);
                assert_int_equal(out.n_fds, header->n_fds);
        }
        return r;
}

static void the_catalogue_is_sound(void **state) {
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                assert_true(rows[i].type > 0 && rows[i].type <= UINT16_MAX);
                assert_true(rows[i].min_fds <= rows[i].max_fds && rows[i].max_fds <= PROTO_MAX_FDS);
                assert_true(rows[i].senders && rows[i].receivers && !(rows[i].senders & rows[i].receivers));
                assert_string_equal(proto_type_name(rows[i].type), rows[i].name);
                for (size_t j = 0; j < i; j++)
                        assert_true(rows[i].type != rows[j].type && strcmp(rows[i].name, rows[j].name) != 0);
        }
        assert_string_equal(proto_type_name(0), "?");
        assert_string_equal(proto_type_name(UINT16_MAX), "?");
        assert_string_equal(proto_type_name(UINT_MAX), "?");
}

static void messages_go_one_way(void **state) {
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                for (unsigned sender = PROTO_CLIENT; sender <= PROTO_WORKER; sender <<= 1)
                        for (unsigned receiver = PROTO_CLIENT; receiver <= PROTO_WORKER; receiver <<= 1) {
                                struct proto_header header = header_of(&rows[i]);
                                int allowed = rows[i].senders & sender && rows[i].receivers & receiver;

                                assert_int_equal(pass(&header, sender, receiver), allowed ? 0 : -EPROTO);
                        }
}

static void sizes_and_fds_are_bounded(void **state) {
        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                struct proto_header header = header_of(&rows[i]);

                header.n_payload = 0;
                assert_int_equal(pass(&header, rows[i].senders, rows[i].receivers), 0);
                header.n_payload = rows[i].max_payload + 1;
                assert_int_equal(pass(&header, rows[i].senders, rows[i].receivers), -EPROTO);
                header.n_payload = UINT32_MAX;
                assert_int_equal(pass(&header, rows[i].senders, rows[i].receivers), -EPROTO);

                header = header_of(&rows[i]);
                header.n_fds = rows[i].min_fds;
                assert_int_equal(pass(&header, rows[i].senders, rows[i].receivers), 0);
                header.n_fds = (uint16_t)(rows[i].max_fds + 1);
                assert_int_equal(pass(&header, rows[i].senders, rows[i].receivers), -EPROTO);
                if (rows[i].min_fds) {
                        header.n_fds = (uint16_t)(rows[i].min_fds - 1);
                        assert_int_equal(pass(&header, rows[i].senders, rows[i].receivers), -EPROTO);
                }
        }
}

/* Only REFUSED is read whatever its version; the others tell the caller that it is the version. */
static void other_versions_are_told_apart(void **state) {
        static const uint16_t versions[] = { 0, PROTO_VERSION + 1, UINT16_MAX };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                for (size_t j = 0; j < N_ELEMENTS(versions); j++) {
                        struct proto_header header = header_of(&rows[i]);

                        header.version = versions[j];
                        assert_int_equal(pass(&header, rows[i].senders, rows[i].receivers),
                                         rows[i].type == PROTO_REFUSED ? 0 : -EPROTONOSUPPORT);
                }
}

static void unknown_types_are_refused(void **state) {
        struct proto_header header = header_of(&rows[0]);

        (void)state;
        for (unsigned type = 0; type <= UINT16_MAX; type++) {
                header.type = (uint16_t)type;
                if (strcmp(proto_type_name(type), "?") == 0)
                        assert_int_equal(pass(&header, UINT_MAX, UINT_MAX), -EPROTO);
        }
}

/* These bytes are the same in every version, for ever: peers of two versions understand no others of each other. */
static void the_bytes_of_refused(void **state) {
        static const uint8_t expected_header[PROTO_HEADER_BYTES] = {
                'P', 'O', 'O', 'L', PROTO_VERSION, 0, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0,
        };
        static const char expected_payload[] = "\x08\0\0\0version\0"
                                               "\3\0\0\0no\0"
                                               "\1\0\0\0";
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct proto_header header = { .version = PROTO_VERSION, .type = PROTO_REFUSED };
        uint8_t bytes[PROTO_HEADER_BYTES];

        (void)state;
        proto_put_refused(&writer, &(struct proto_refused){ .reason = "version", .detail = "no", .python = "" });
        assert_int_equal(writer.n_bytes, sizeof(expected_payload));
        assert_memory_equal(writer.data, expected_payload, sizeof(expected_payload));
        header.n_payload = 24;
        proto_header_write(&header, bytes);
        assert_memory_equal(bytes, expected_header, sizeof(expected_header));
}

static void every_bit_of_magic_and_padding_counts(void **state) {
        struct proto_header header = header_of(&rows[0]), out;
        uint8_t bytes[PROTO_HEADER_BYTES];
        static const size_t positions[] = { 0, 1, 2, 3, 14, 15 };

        (void)state;
        proto_header_write(&header, bytes);
        assert_int_equal(proto_header_read(bytes, PROTO_SERVER, PROTO_CLIENT, &out), 0);
        for (size_t i = 0; i < N_ELEMENTS(positions); i++)
                for (unsigned bit = 0; bit < 8; bit++) {
                        bytes[positions[i]] ^= (uint8_t)(1U << bit);
                        assert_int_equal(proto_header_read(bytes, PROTO_SERVER, PROTO_CLIENT, &out), -EPROTO);
                        bytes[positions[i]] ^= (uint8_t)(1U << bit);
                }
}

int main(void) {
#define ROUND_TRIP_TEST(name) UNIT_TEST(round_trip_##name),
        const struct CMUnitTest tests[] = {
                PROTO_PAYLOADS(ROUND_TRIP_TEST) UNIT_TEST(the_catalogue_is_sound),
                UNIT_TEST(messages_go_one_way),
                UNIT_TEST(sizes_and_fds_are_bounded),
                UNIT_TEST(other_versions_are_told_apart),
                UNIT_TEST(unknown_types_are_refused),
                UNIT_TEST(the_bytes_of_refused),
                UNIT_TEST(every_bit_of_magic_and_padding_counts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
