/* gguf.h - a GGUF file (v2, v3), mapped and checked field by field before a byte is trusted.
 *
 * Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md. Owner: caller, open to close. The
 * mapping is read-only and shared, so what is read of it is page cache, never heap. After open a
 * gguf is immutable: any thread may read it. Errors name field, file offset and value. */
#ifndef MR_ENGINE_GGUF_H
#define MR_ENGINE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

typedef enum mr_type { /* numbers of the file format */
    MR_TYPE_F32 = 0, MR_TYPE_F16 = 1, MR_TYPE_Q4_0 = 2, MR_TYPE_Q8_0 = 8, MR_TYPE_Q4_K = 12,
    MR_TYPE_Q5_K = 13, MR_TYPE_Q6_K = 14, MR_TYPE_BF16 = 30
} mr_type;

typedef enum mr_gguf_kind { /* numbers of the file format */
    MR_GGUF_U8, MR_GGUF_I8, MR_GGUF_U16, MR_GGUF_I16, MR_GGUF_U32, MR_GGUF_I32, MR_GGUF_F32,
    MR_GGUF_BOOL, MR_GGUF_STRING, MR_GGUF_ARRAY, MR_GGUF_U64, MR_GGUF_I64, MR_GGUF_F64
} mr_gguf_kind;

typedef struct mr_str { /* not terminated */
    const char *ptr;
    size_t len;
} mr_str;

typedef struct mr_gguf mr_gguf;

typedef struct mr_gguf_tensor {
    mr_str name;
    mr_type type;
    uint32_t n_dims;  /* 1..4 */
    uint64_t dims[4]; /* dims[0] is the contiguous one: columns of a matrix; unused are 1 */
    uint64_t bytes;
    const void *data; /* into the mapping */
    uint64_t file_offset;
} mr_gguf_tensor;

mr_status mr_gguf_open(mr_gguf **out, const char *path, mr_err *err);
/* The same checks over bytes in memory, borrowed until close and 8-byte aligned as malloc's are;
 * for fuzzing and tests. */
mr_status mr_gguf_open_memory(mr_gguf **out, const void *bytes, size_t n, mr_err *err);
void mr_gguf_close(mr_gguf *g);
/* Asks the kernel to start reading the weights; returns at once. */
void mr_gguf_read_ahead(const mr_gguf *g);
/* Gives back the memory of these bytes of the file, n from data on; who reads them again gets them
 * from the kernel's page cache, or the disk. */
void mr_gguf_give_back(const mr_gguf *g, const void *data, size_t n);

uint32_t mr_gguf_version(const mr_gguf *g);
const char *mr_gguf_path(const mr_gguf *g);
const char *mr_gguf_label(const mr_gguf *g); /* end of the path, printable: for error lines */
uint64_t mr_gguf_file_bytes(const mr_gguf *g);
const void *mr_gguf_bytes(const mr_gguf *g); /* all of them */
size_t mr_gguf_n_tensors(const mr_gguf *g);
const mr_gguf_tensor *mr_gguf_tensor_at(const mr_gguf *g, size_t i);
const mr_gguf_tensor *mr_gguf_find_tensor(const mr_gguf *g, const char *name); /* NULL: none */

/* Keys in file order, for `model info`. value_text renders a scalar, or the first items of an
 * array, into buf. */
size_t mr_gguf_n_keys(const mr_gguf *g);
mr_str mr_gguf_key_at(const mr_gguf *g, size_t i, mr_gguf_kind *kind, uint64_t *array_len);
const char *mr_gguf_kind_name(mr_gguf_kind kind); /* "u32" */
void mr_gguf_value_text(const mr_gguf *g, size_t i, char *buf, size_t cap);

/* A string of the file, which may hold any bytes, as one printable line: controls, invalid UTF-8
 * and characters that reorder a terminal's text become \xNN; cut with "..." where it does not
 * fit cap. */
void mr_gguf_escape(mr_str s, char *buf, size_t cap);

bool mr_gguf_has(const mr_gguf *g, const char *key);
/* Any integer kind; MR_ENOTFOUND: absent; MR_EINVAL: other kind, or outside lo..hi (named in
 * err). */
mr_status mr_gguf_u64(const mr_gguf *g, const char *key, uint64_t lo, uint64_t hi, uint64_t *out,
                      mr_err *err);
mr_status mr_gguf_f32(const mr_gguf *g, const char *key, float *out, mr_err *err); /* must be finite */
mr_status mr_gguf_bool(const mr_gguf *g, const char *key, bool *out, mr_err *err);
mr_status mr_gguf_str(const mr_gguf *g, const char *key, mr_str *out, mr_err *err);

/* Arrays: element count, then items. Strings of an array are found in O(1) (index made at open). */
mr_status mr_gguf_array(const mr_gguf *g, const char *key, mr_gguf_kind *kind, size_t *n, mr_err *err);
mr_status mr_gguf_array_str(const mr_gguf *g, const char *key, size_t i, mr_str *out);
mr_status mr_gguf_array_f64(const mr_gguf *g, const char *key, size_t i, double *out);
mr_status mr_gguf_array_i64(const mr_gguf *g, const char *key, size_t i, int64_t *out);

/* Values per block and bytes per block of a tensor type; 0 for an unknown one. */
size_t mr_type_block(mr_type t);
size_t mr_type_block_bytes(mr_type t);
/* Bytes of a row of n values (n is a multiple of the block). */
size_t mr_type_row_bytes(mr_type t, size_t n);
const char *mr_type_name(mr_type t); /* "Q8_0" */
/* Case-insensitive; false: unknown. */
bool mr_type_parse(const char *name, mr_type *out);

#endif
