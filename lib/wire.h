#pragma once

/*
 * Cursors that turn fields into bytes and back: little-endian integers of explicit width, strings and lists of
 * strings. A cursor that has failed stays failed and does nothing more, so that a caller looks once, at the end.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A list of NUL-terminated strings that lie one behind the other, borrowed from whoever holds the bytes. */
struct wire_strv {
        uint32_t count;
        const char *data; /* the first string */
        size_t n_bytes;   /* of all of them, their NULs counted */
};

/* The string behind @at in its list; defined only where there is one. */
const char *wire_strv_next(const char *at);

/*
 * Makes @ret_strv list the strings of the NULL-terminated @array. Where they lie one behind the other in memory, as
 * execve(2) leaves arguments and environment, the list borrows them and *ret_owned is NULL; else it borrows a copy,
 * *ret_owned, which the caller frees with free(3). Returns 0, -ENOMEM or -EOVERFLOW.
 */
int wire_strv_from_array(char *const *array, struct wire_strv *ret_strv, char **ret_owned);

/*
 * Returns a new NULL-terminated array of pointers into @strv (freed by the caller with free(3); the strings stay
 * borrowed), with @spare more NULLs behind, or NULL for lack of memory.
 */
char **wire_strv_to_array(const struct wire_strv *strv, size_t spare);

/* A list of 64-bit integers, borrowed in the form in which they are on the wire. */
struct wire_u64v {
        uint32_t count;
        const uint8_t *data;
};

/* The integer at @index, which must be less than the count. */
uint64_t wire_u64v_at(const struct wire_u64v *u64v, uint32_t index);

/* Writes @count integers into @data, which has room for 8 bytes each, and makes @ret_u64v list them. */
void wire_u64v_from_array(const uint64_t *array, uint32_t count, uint8_t *data, struct wire_u64v *ret_u64v);

/* Bytes being written. Grows by itself. Zero-initialised is empty. */
struct wire_writer {
        uint8_t *data;
        size_t n_bytes;
        size_t n_allocated;
        int error; /* 0, or the negative errno of the first failure */
        bool is_borrowed;
};

/* Writes to the @n_bytes of @data, borrowed until wire_writer_fini(), as long as they are enough. */
void wire_writer_borrow(struct wire_writer *writer, void *data, size_t n_bytes);

/* Makes room for so many bytes in all, if there is memory; more is made as it is needed. */
void wire_writer_reserve(struct wire_writer *writer, size_t n_bytes);
void wire_writer_fini(struct wire_writer *writer);
#define _cleanup_writer_ __attribute__((cleanup(wire_writer_fini)))

void wire_put_u16(struct wire_writer *writer, uint16_t value);
void wire_put_u32(struct wire_writer *writer, uint32_t value);
void wire_put_u64(struct wire_writer *writer, uint64_t value);
/* @value may be NULL, which is written as "". */
void wire_put_str(struct wire_writer *writer, const char *value);
void wire_put_strv(struct wire_writer *writer, const struct wire_strv *value);
void wire_put_u64v(struct wire_writer *writer, const struct wire_u64v *value);

/* Bytes being read. What it returns points into them. */
struct wire_reader {
        const uint8_t *at;
        const uint8_t *end;
        bool failed;
};

static inline void wire_reader_init(struct wire_reader *reader, const void *data, size_t n_bytes) {
        reader->at = data;
        reader->end = reader->at + n_bytes;
        reader->failed = false;
}

void wire_get_u16(struct wire_reader *reader, uint16_t *ret_value);
void wire_get_u32(struct wire_reader *reader, uint32_t *ret_value);
void wire_get_u64(struct wire_reader *reader, uint64_t *ret_value);
/* *ret_value is NUL-terminated, never NULL ("" after a failure) and contains no other NUL. */
void wire_get_str(struct wire_reader *reader, const char **ret_value);
void wire_get_strv(struct wire_reader *reader, struct wire_strv *ret_value);
void wire_get_u64v(struct wire_reader *reader, struct wire_u64v *ret_value);

/* 0 if every field was there and nothing is left over, else -EPROTO. */
int wire_reader_end(const struct wire_reader *reader);
