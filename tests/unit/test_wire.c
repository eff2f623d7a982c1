#include "unit.h"

#include <errno.h>
#include <string.h>

#include "lib/wire.h"

static struct wire_reader reader_of(const struct wire_writer *writer) {
        struct wire_reader reader;

        assert_int_equal(writer->error, 0);
        wire_reader_init(&reader, writer->data, writer->n_bytes);
        return reader;
}

static void integers_are_little_endian_and_keep_their_bounds(void **state) {
        static const uint8_t expected[] = { 0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 0xf0, 0xde, 0xbc, 0x9a,
                                            0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff,
                                            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct wire_reader reader;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;

        (void)state;
        wire_put_u16(&writer, 0x1234);
        wire_put_u32(&writer, 0x12345678);
        wire_put_u64(&writer, UINT64_C(0x123456789abcdef0));
        wire_put_u16(&writer, 0);
        wire_put_u16(&writer, UINT16_MAX);
        wire_put_u32(&writer, UINT32_MAX);
        wire_put_u64(&writer, UINT64_MAX);
        assert_int_equal(writer.n_bytes, sizeof(expected));
        assert_memory_equal(writer.data, expected, sizeof(expected));

        reader = reader_of(&writer);
        wire_get_u16(&reader, &u16);
        wire_get_u32(&reader, &u32);
        wire_get_u64(&reader, &u64);
        assert_true(u16 == 0x1234 && u32 == 0x12345678 && u64 == UINT64_C(0x123456789abcdef0));
        wire_get_u16(&reader, &u16);
        assert_int_equal(u16, 0);
        wire_get_u16(&reader, &u16);
        wire_get_u32(&reader, &u32);
        wire_get_u64(&reader, &u64);
        assert_true(u16 == UINT16_MAX && u32 == UINT32_MAX && u64 == UINT64_MAX);
        assert_int_equal(wire_reader_end(&reader), 0);
}

static void bytes_left_over_are_an_error(void **state) {
        static const uint8_t bytes[5] = { 0 };
        struct wire_reader reader;
        uint32_t u32;

        (void)state;
        wire_reader_init(&reader, bytes, sizeof(bytes));
        wire_get_u32(&reader, &u32);
        assert_int_equal(wire_reader_end(&reader), -EPROTO);
        wire_reader_init(&reader, bytes, 4);
        wire_get_u32(&reader, &u32);
        assert_int_equal(wire_reader_end(&reader), 0);
}

/* After a failure nothing is read any more, also what would be there, and all values are harmless. */
static void a_failed_reader_stays_failed(void **state) {
        static const uint8_t bytes[] = { 1, 0, 0, 0, 'x', 0 };
        struct wire_reader reader;
        struct wire_strv strv;
        struct wire_u64v u64v;
        const char *str = NULL;
        uint64_t u64 = 9;
        uint32_t u32 = 9;
        uint16_t u16 = 9;

        (void)state;
        wire_reader_init(&reader, bytes, sizeof(bytes));
        wire_get_u64(&reader, &u64);
        assert_int_equal(u64, 0);
        wire_get_u16(&reader, &u16);
        wire_get_u32(&reader, &u32);
        assert_true(u16 == 0 && u32 == 0);
        wire_get_str(&reader, &str);
        assert_string_equal(str, "");
        wire_get_strv(&reader, &strv);
        assert_true(strv.count == 0 && strv.n_bytes == 0 && strv.data);
        wire_get_u64v(&reader, &u64v);
        assert_int_equal(u64v.count, 0);
        assert_ptr_equal(reader.at, bytes);
        assert_int_equal(wire_reader_end(&reader), -EPROTO);
}

static void a_failed_writer_stays_failed(void **state) {
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct wire_strv too_long = { .count = 1, .data = "", .n_bytes = (size_t)UINT32_MAX + 1 };

        (void)state;
        wire_put_u16(&writer, 1);
        wire_put_strv(&writer, &too_long);
        assert_int_equal(writer.error, -EOVERFLOW);
        wire_put_u64(&writer, 1);
        wire_put_str(&writer, "x");
        assert_int_equal(writer.error, -EOVERFLOW);
        assert_int_equal(writer.n_bytes, 2 + 4); /* the u16, and the count of the list */
        wire_writer_fini(&writer);
        assert_int_equal(writer.error, 0);
}

static void an_error_from_before_is_kept(void **state) {
        struct wire_writer writer = { .error = -ENOMEM };
        struct wire_strv too_long = { .count = 1, .data = "", .n_bytes = (size_t)UINT32_MAX + 1 };

        (void)state;
        wire_put_strv(&writer, &too_long);
        assert_int_equal(writer.error, -ENOMEM);
        assert_null(writer.data);
}

static void strings_come_back(void **state) {
        static const char *const values[] = { "", "x", "a b\n\t\xff\xfe", NULL };
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct wire_reader reader;
        const char *value;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(values); i++)
                wire_put_str(&writer, values[i]);
        reader = reader_of(&writer);
        for (size_t i = 0; i < N_ELEMENTS(values); i++) {
                wire_get_str(&reader, &value);
                assert_string_equal(value, values[i] ? values[i] : "");
        }
        assert_int_equal(wire_reader_end(&reader), 0);
}

static void malformed_strings_are_refused(void **state) {
        static const struct {
                const char *bytes;
                size_t n_bytes;
        } cases[] = {
                { "", 0 },               /* no length */
                { "\1\0\0", 3 },         /* half a length */
                { "\0\0\0\0", 4 },       /* not even a NUL */
                { "\1\0\0\0x", 5 },      /* no NUL */
                { "\3\0\0\0a\0b", 7 },   /* a NUL within, none at the end */
                { "\4\0\0\0a\0b\0", 8 }, /* a NUL within */
                { "\2\0\0\0\0\0", 6 },   /* two NULs */
                { "\3\0\0\0a\0", 6 },    /* more announced than there is */
                { "\xff\xff\xff\xff"
                  "a\0",
                  6 }, /* far more */
        };
        struct wire_reader reader;
        const char *value;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                wire_reader_init(&reader, cases[i].bytes, cases[i].n_bytes);
                wire_get_str(&reader, &value);
                assert_string_equal(value, "");
                assert_int_equal(wire_reader_end(&reader), -EPROTO);
        }
}

static void malformed_lists_are_refused(void **state) {
        static const struct {
                const char *bytes;
                size_t n_bytes;
        } cases[] = {
                { "", 0 },
                { "\0\0\0\0\0\0\0", 7 },          /* half a length */
                { "\1\0\0\0\0\0\0\0", 8 },        /* one announced, none there */
                { "\0\0\0\0\1\0\0\0\0", 9 },      /* none announced, one there */
                { "\1\0\0\0\1\0\0\0x", 9 },       /* no NUL */
                { "\1\0\0\0\3\0\0\0a\0b", 11 },   /* the last has none */
                { "\2\0\0\0\3\0\0\0a\0b", 11 },   /* the same, counted */
                { "\1\0\0\0\4\0\0\0a\0b\0", 12 }, /* two, one announced */
                { "\3\0\0\0\4\0\0\0a\0b\0", 12 }, /* two, three announced */
                { "\1\0\0\0\xff\xff\xff\xff"
                  "a\0",
                  10 },                                /* more bytes than there are */
                { "\xff\xff\xff\xff\2\0\0\0a\0", 10 }, /* more strings than there are */
        };
        struct wire_reader reader;
        struct wire_strv value;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                wire_reader_init(&reader, cases[i].bytes, cases[i].n_bytes);
                wire_get_strv(&reader, &value);
                assert_int_equal(value.count, 0);
                assert_int_equal(wire_reader_end(&reader), -EPROTO);
        }
}

static void check_strv(const struct wire_strv *strv, char *const *expected) {
        char **array = wire_strv_to_array(strv, 2);
        uint32_t i;

        assert_non_null(array);
        for (i = 0; expected[i]; i++)
                assert_string_equal(array[i], expected[i]);
        assert_int_equal(strv->count, i);
        assert_null(array[i]);
        assert_null(array[i + 1]); /* the spare ones */
        assert_null(array[i + 2]);
        free(array);
}

static void lists_come_back(void **state) {
        static char one[] = "A=1", empty[] = "", two[] = "B=2 3";
        char *const lists[][5] = { { NULL }, { one, NULL }, { empty, NULL }, { two, empty, one, empty, NULL } };
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct wire_reader reader;
        struct wire_strv strv;
        char *owned;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(lists); i++) {
                assert_int_equal(wire_strv_from_array(lists[i], &strv, &owned), 0);
                wire_put_strv(&writer, &strv);
                free(owned);
        }
        reader = reader_of(&writer);
        for (size_t i = 0; i < N_ELEMENTS(lists); i++) {
                wire_get_strv(&reader, &strv);
                check_strv(&strv, lists[i]);
        }
        assert_int_equal(wire_reader_end(&reader), 0);
}

/* As execve(2) leaves them: borrowed, not copied. */
static void contiguous_strings_are_borrowed(void **state) {
        static char bytes[] = "A=1\0\0B=2";
        char *const array[] = { bytes, bytes + 4, bytes + 5, NULL };
        struct wire_strv strv;
        char *owned;

        (void)state;
        assert_int_equal(wire_strv_from_array(array, &strv, &owned), 0);
        assert_null(owned);
        assert_ptr_equal(strv.data, bytes);
        assert_int_equal(strv.n_bytes, sizeof(bytes));
        assert_ptr_equal(wire_strv_next(strv.data), bytes + 4);
        check_strv(&strv, array);
}

static void scattered_strings_are_copied(void **state) {
        static char bytes[] = "A=1\0B=2\0C=3";
        char *const gap[] = { bytes, bytes + 8, NULL };
        char *const backwards[] = { bytes + 4, bytes, NULL };
        char *const twice[] = { bytes, bytes, NULL };
        char *const *const arrays[] = { gap, backwards, twice };
        struct wire_strv strv;
        char *owned;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(arrays); i++) {
                assert_int_equal(wire_strv_from_array(arrays[i], &strv, &owned), 0);
                assert_non_null(owned);
                assert_ptr_equal(strv.data, owned);
                assert_int_equal(strv.n_bytes, 8);
                check_strv(&strv, arrays[i]);
                free(owned);
        }
}

static void the_empty_list_needs_no_memory(void **state) {
        char *const array[] = { NULL };
        struct wire_strv strv;
        char *owned;

        (void)state;
        assert_int_equal(wire_strv_from_array(array, &strv, &owned), 0);
        assert_null(owned);
        assert_true(strv.count == 0 && strv.n_bytes == 0 && strv.data);
}

static void integer_lists_come_back(void **state) {
        static const uint64_t values[] = { 0, 1, UINT64_MAX, UINT64_C(1) << 63, 0x0123456789abcdef };
        uint8_t bytes[sizeof(values)];
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct wire_reader reader;
        struct wire_u64v u64v;

        (void)state;
        wire_u64v_from_array(values, N_ELEMENTS(values), bytes, &u64v);
        wire_put_u64v(&writer, &u64v);
        wire_put_u64v(&writer, &(struct wire_u64v){ 0 });
        wire_put_u16(&writer, 7); /* so that the list does not end where the bytes do */
        reader = reader_of(&writer);
        wire_get_u64v(&reader, &u64v);
        assert_int_equal(u64v.count, N_ELEMENTS(values));
        for (uint32_t i = 0; i < u64v.count; i++)
                assert_true(wire_u64v_at(&u64v, i) == values[i]);
        wire_get_u64v(&reader, &u64v);
        assert_int_equal(u64v.count, 0);
        assert_int_equal(wire_reader_end(&reader), -EPROTO);
}

static void malformed_integer_lists_are_refused(void **state) {
        static const struct {
                const char *bytes;
                size_t n_bytes;
        } cases[] = {
                { "", 0 },
                { "\1\0\0\0x", 5 },            /* no multiple of 8 */
                { "\7\0\0\0abcdefg", 11 },     /* one byte short of one */
                { "\x09\0\0\0abcdefghi", 13 }, /* one byte beyond */
                { "\x08\0\0\0abcdefg", 11 },   /* more announced than there is */
                { "\xf8\xff\xff\xff", 4 },     /* far more */
        };
        struct wire_reader reader;
        struct wire_u64v value;

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                wire_reader_init(&reader, cases[i].bytes, cases[i].n_bytes);
                wire_get_u64v(&reader, &value);
                assert_int_equal(value.count, 0);
                assert_int_equal(wire_reader_end(&reader), -EPROTO);
        }
}

static void a_writer_grows_to_megabytes(void **state) {
        _cleanup_writer_ struct wire_writer writer = { 0 };
        struct wire_reader reader;
        uint32_t value;

        (void)state;
        for (uint32_t i = 0; i < 1 << 20; i++)
                wire_put_u32(&writer, i);
        assert_int_equal(writer.n_bytes, 4 << 20);
        reader = reader_of(&writer);
        for (uint32_t i = 0; i < 1 << 20; i++) {
                wire_get_u32(&reader, &value);
                assert_int_equal(value, i);
        }
        assert_int_equal(wire_reader_end(&reader), 0);
}

/* What is written beyond the borrowed bytes, and before, is all in the writer's own. */
static void a_borrowed_buffer_may_be_too_small(void **state) {
        uint32_t room[4] = { 0 };

        (void)state;
        for (uint32_t n = 0; n < 9; n++) {
                _cleanup_writer_ struct wire_writer writer = { 0 };
                struct wire_reader reader;
                uint32_t value;

                wire_writer_borrow(&writer, room, sizeof(room));
                for (uint32_t i = 0; i < n; i++)
                        wire_put_u32(&writer, i);
                assert_int_equal(writer.n_bytes, n * sizeof(value));
                assert_int_equal(writer.data == (uint8_t *)room, n * sizeof(value) <= sizeof(room));
                reader = reader_of(&writer);
                for (uint32_t i = 0; i < n; i++) {
                        wire_get_u32(&reader, &value);
                        assert_int_equal(value, i);
                }
                assert_int_equal(wire_reader_end(&reader), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(integers_are_little_endian_and_keep_their_bounds),
                UNIT_TEST(bytes_left_over_are_an_error),
                UNIT_TEST(a_failed_reader_stays_failed),
                UNIT_TEST(a_failed_writer_stays_failed),
                UNIT_TEST(an_error_from_before_is_kept),
                UNIT_TEST(strings_come_back),
                UNIT_TEST(malformed_strings_are_refused),
                UNIT_TEST(malformed_lists_are_refused),
                UNIT_TEST(lists_come_back),
                UNIT_TEST(contiguous_strings_are_borrowed),
                UNIT_TEST(scattered_strings_are_copied),
                UNIT_TEST(the_empty_list_needs_no_memory),
                UNIT_TEST(integer_lists_come_back),
                UNIT_TEST(malformed_integer_lists_are_refused),
                UNIT_TEST(a_writer_grows_to_megabytes),
                UNIT_TEST(a_borrowed_buffer_may_be_too_small),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
