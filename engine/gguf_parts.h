/* gguf_parts.h - what gguf.c (reads the file) and gguf_value.c (answers questions) share.
 *
 * Nobody else includes it. */
#ifndef MR_ENGINE_GGUF_PARTS_H
#define MR_ENGINE_GGUF_PARTS_H

#include "engine/gguf.h"

#define MR_GGUF_MAX_LABEL 128 /* bytes of the path that error lines show, its end */
#define MR_GGUF_MAX_SHOWN 80  /* bytes of a name from the file that error lines show */

typedef struct gguf_key {
    mr_str name;
    mr_gguf_kind kind;
    mr_gguf_kind item;    /* ARRAY: kind of the items */
    uint64_t n;           /* ARRAY: number of items */
    const uint8_t *value; /* scalar, or length of a string, or first item of an array; unaligned */
    uint32_t *starts;     /* ARRAY of STRING: [n] where each item's length stands, from value */
    uint64_t offset;      /* of the key in the file, for error lines */
} gguf_key;

struct mr_gguf {
    const uint8_t *bytes;
    uint64_t n_bytes;
    bool mapped; /* bytes are ours to unmap */
    uint32_t version;
    char *path;
    char label[MR_GGUF_MAX_LABEL];
    uint64_t data_offset; /* where tensor offsets count from */
    gguf_key *keys;       /* in file order */
    size_t n_keys;
    const gguf_key **keys_by_name; /* sorted */
    mr_gguf_tensor *tensors;       /* in file order */
    size_t n_tensors;
    const mr_gguf_tensor **tensors_by_name; /* sorted */
};

int mr_gguf_compare_names(mr_str a, mr_str b);
const gguf_key *mr_gguf_find_key(const mr_gguf *g, const char *name); /* NULL: none */
/* Bytes of a scalar of that kind; 0 for strings, arrays and unknown kinds. */
size_t mr_gguf_kind_bytes(mr_gguf_kind kind);
/* "gguf <file>: byte <offset>: <text>" into err; returns st. */
mr_status mr_gguf_bad(const mr_gguf *g, mr_err *err, mr_status st, uint64_t offset, const char *fmt,
                      ...) MR_PRINTF(5, 6);

#endif
