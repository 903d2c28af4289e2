/* codec_write.h - one writer for JSON and msgpack into a buffer of fixed size. Never allocates.
 *
 * Like snprintf it counts on when the buffer is full, so a record that is larger than most is
 * written twice: once to measure, once into exactly that much memory. Text is made well-formed on
 * the way (U+FFFD for each bad byte) and numbers finite, so that what leaves can always be read.
 * Pure. */
#ifndef MR_SCHEMAS_CODEC_WRITE_H
#define MR_SCHEMAS_CODEC_WRITE_H

#include "base/arena.h"
#include "millrace/job.h"

#define MR_WRITER_MAX_DEPTH 8

typedef struct mr_writer {
    mr_format format;
    char *buf;
    size_t cap, len; /* len > cap: it did not fit, and would have needed len */
    bool comma;      /* JSON: something stands before the next value */
    unsigned depth;
    struct {
        size_t start; /* msgpack: where the map's count goes */
        unsigned members;
        bool is_map;
    } open[MR_WRITER_MAX_DEPTH];
} mr_writer;

void mr_write_map(mr_writer *w);
void mr_write_list(mr_writer *w, size_t n); /* n items must follow */
void mr_write_end(mr_writer *w);            /* of the innermost map or list */
void mr_write_key(mr_writer *w, const char *key);
void mr_write_text(mr_writer *w, const char *s, size_t n);
void mr_write_bool(mr_writer *w, bool x);
void mr_write_i64(mr_writer *w, int64_t x);
void mr_write_u64(mr_writer *w, uint64_t x);
void mr_write_f32(mr_writer *w, float x); /* the shortest decimal that reads back as x */

/* key and value; a NULL text is written as "". */
void mr_write_text_field(mr_writer *w, const char *key, const char *s);
void mr_write_bool_field(mr_writer *w, const char *key, bool x);
void mr_write_i64_field(mr_writer *w, const char *key, int64_t x);
void mr_write_u64_field(mr_writer *w, const char *key, uint64_t x);
void mr_write_f32_field(mr_writer *w, const char *key, float x);
void mr_write_pairs_field(mr_writer *w, const char *key, const mr_pair *pairs, size_t n);

typedef void mr_write_fn(mr_writer *w, const void *object);
/* The bytes are followed by a zero byte that is not counted. */
mr_status mr_write_record(mr_write_fn *write, const void *object, mr_format f, mr_arena *arena,
                          const void **bytes, size_t *n);

#endif
