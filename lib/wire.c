#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *wire_strv_next(const char *at) {
        return at + strlen(at) + 1;
}

static bool strv_is_contiguous(char *const *array) {
        for (; array[0] && array[1]; array++)
                if (array[1] != wire_strv_next(array[0]))
                        return false;
        return true;
}

int wire_strv_from_array(char *const *array, struct wire_strv *ret_strv, char **ret_owned) {
        struct wire_strv strv = { .data = array[0] ? array[0] : "" };
        size_t n_bytes = 0;
        char *at;

        *ret_owned = NULL;
        for (; array[strv.count]; strv.count++)
                n_bytes += strlen(array[strv.count]) + 1;
        if (n_bytes > UINT32_MAX)
                return -EOVERFLOW;
        strv.n_bytes = n_bytes;
        if (!strv_is_contiguous(array)) {
                *ret_owned = at = malloc(n_bytes);
                if (!at)
                        return -ENOMEM;
                strv.data = at;
                for (uint32_t i = 0; i < strv.count; i++)
                        at = stpcpy(at, array[i]) + 1;
        }
        *ret_strv = strv;
        return 0;
}

char **wire_strv_to_array(const struct wire_strv *strv, size_t spare) {
        char **array = calloc(strv->count + spare + 1, sizeof(*array));
        const char *at = strv->data;

        if (!array)
                return NULL;
        for (uint32_t i = 0; i < strv->count; i++, at = wire_strv_next(at))
                array[i] = (char *)at;
        return array;
}

static uint64_t load_integer(const uint8_t *at, size_t width) {
        uint64_t value = 0;

        for (size_t i = 0; i < width; i++)
                value |= (uint64_t)at[i] << (8 * i);
        return value;
}

static void store_integer(uint8_t *at, uint64_t value, size_t width) {
        for (size_t i = 0; i < width; i++)
                at[i] = (uint8_t)(value >> (8 * i));
}

uint64_t wire_u64v_at(const struct wire_u64v *u64v, uint32_t index) {
        return load_integer(u64v->data + index * sizeof(uint64_t), sizeof(uint64_t));
}

void wire_u64v_from_array(const uint64_t *array, uint32_t count, uint8_t *data, struct wire_u64v *ret_u64v) {
        for (uint32_t i = 0; i < count; i++)
                store_integer(data + i * sizeof(uint64_t), array[i], sizeof(uint64_t));
        *ret_u64v = (struct wire_u64v){ .count = count, .data = data };
}

void wire_writer_borrow(struct wire_writer *writer, void *data, size_t n_bytes) {
        *writer = (struct wire_writer){ .data = data, .n_allocated = n_bytes, .is_borrowed = true };
}

void wire_writer_fini(struct wire_writer *writer) {
        if (!writer->is_borrowed)
                free(writer->data);
        *writer = (struct wire_writer){ 0 };
}

void wire_writer_reserve(struct wire_writer *writer, size_t n_bytes) {
        uint8_t *data;

        if (n_bytes <= writer->n_allocated)
                return;
        data = realloc(writer->is_borrowed ? NULL : writer->data, n_bytes);
        if (!data)
                return;
        if (writer->is_borrowed && writer->n_bytes)
                memcpy(data, writer->data, writer->n_bytes);
        writer->is_borrowed = false;
        writer->data = data;
        writer->n_allocated = n_bytes;
}

/* Room for @n_bytes more, already counted as written; NULL if the writer has failed. */
static uint8_t *extend(struct wire_writer *writer, size_t n_bytes) {
        size_t needed;

        if (writer->error)
                return NULL;
        if (__builtin_add_overflow(writer->n_bytes, n_bytes, &needed)) {
                writer->error = -EOVERFLOW;
                return NULL;
        }
        if (needed > writer->n_allocated)
                wire_writer_reserve(writer, needed < 512 ? 512 : needed + needed / 2);
        if (needed > writer->n_allocated) {
                writer->error = -ENOMEM;
                return NULL;
        }
        writer->n_bytes = needed;
        return writer->data + needed - n_bytes;
}

static void put_integer(struct wire_writer *writer, uint64_t value, size_t width) {
        uint8_t *at = extend(writer, width);

        if (at)
                store_integer(at, value, width);
}

void wire_put_u16(struct wire_writer *writer, uint16_t value) {
        put_integer(writer, value, sizeof(value));
}

void wire_put_u32(struct wire_writer *writer, uint32_t value) {
        put_integer(writer, value, sizeof(value));
}

void wire_put_u64(struct wire_writer *writer, uint64_t value) {
        put_integer(writer, value, sizeof(value));
}

/* A length, then as many bytes. */
static void put_bytes(struct wire_writer *writer, const void *bytes, size_t n_bytes) {
        uint8_t *at;

        if (n_bytes > UINT32_MAX) {
                writer->error = writer->error ? writer->error : -EOVERFLOW;
                return;
        }
        wire_put_u32(writer, (uint32_t)n_bytes);
        at = extend(writer, n_bytes);
        if (at && n_bytes)
                memcpy(at, bytes, n_bytes);
}

void wire_put_str(struct wire_writer *writer, const char *value) {
        if (!value)
                value = "";
        put_bytes(writer, value, strlen(value) + 1);
}

void wire_put_strv(struct wire_writer *writer, const struct wire_strv *value) {
        wire_put_u32(writer, value->count);
        put_bytes(writer, value->data, value->n_bytes);
}

void wire_put_u64v(struct wire_writer *writer, const struct wire_u64v *value) {
        put_bytes(writer, value->data, value->count * sizeof(uint64_t));
}

/* The next @n_bytes, or NULL if there are fewer or the reader has failed. */
static const uint8_t *consume(struct wire_reader *reader, size_t n_bytes) {
        const uint8_t *at = reader->at;

        if (reader->failed || (size_t)(reader->end - at) < n_bytes) {
                reader->failed = true;
                return NULL;
        }
        reader->at += n_bytes;
        return at;
}

static uint64_t get_integer(struct wire_reader *reader, size_t width) {
        const uint8_t *at = consume(reader, width);

        return at ? load_integer(at, width) : 0;
}

void wire_get_u16(struct wire_reader *reader, uint16_t *ret_value) {
        *ret_value = (uint16_t)get_integer(reader, sizeof(*ret_value));
}

void wire_get_u32(struct wire_reader *reader, uint32_t *ret_value) {
        *ret_value = (uint32_t)get_integer(reader, sizeof(*ret_value));
}

void wire_get_u64(struct wire_reader *reader, uint64_t *ret_value) {
        *ret_value = get_integer(reader, sizeof(*ret_value));
}

void wire_get_str(struct wire_reader *reader, const char **ret_value) {
        uint32_t n_bytes;
        const uint8_t *bytes;

        *ret_value = "";
        wire_get_u32(reader, &n_bytes);
        bytes = consume(reader, n_bytes);
        if (!bytes)
                return;
        if (n_bytes == 0 || memchr(bytes, 0, n_bytes) != bytes + n_bytes - 1)
                reader->failed = true;
        else
                *ret_value = (const char *)bytes;
}

void wire_get_strv(struct wire_reader *reader, struct wire_strv *ret_value) {
        uint32_t count, n_bytes, n_nuls = 0;
        const uint8_t *bytes;

        *ret_value = (struct wire_strv){ .data = "" };
        wire_get_u32(reader, &count);
        wire_get_u32(reader, &n_bytes);
        bytes = consume(reader, n_bytes);
        if (!bytes)
                return;

        for (const uint8_t *at = bytes, *end = bytes + n_bytes; at < end; n_nuls++) {
                at = memchr(at, 0, (size_t)(end - at));
                if (!at)
                        break;
                at++;
        }
        if (n_nuls != count || (n_bytes && bytes[n_bytes - 1]))
                reader->failed = true;
        else
                *ret_value = (struct wire_strv){ .count = count, .data = (const char *)bytes, .n_bytes = n_bytes };
}

void wire_get_u64v(struct wire_reader *reader, struct wire_u64v *ret_value) {
        uint32_t n_bytes;
        const uint8_t *bytes;

        *ret_value = (struct wire_u64v){ 0 };
        wire_get_u32(reader, &n_bytes);
        bytes = consume(reader, n_bytes);
        if (n_bytes % sizeof(uint64_t))
                reader->failed = true;
        else if (bytes)
                *ret_value = (struct wire_u64v){ .count = (uint32_t)(n_bytes / sizeof(uint64_t)), .data = bytes };
}

int wire_reader_end(const struct wire_reader *reader) {
        return reader->failed || reader->at != reader->end ? -EPROTO : 0;
}
