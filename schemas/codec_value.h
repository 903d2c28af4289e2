/* codec_value.h - one record as a tree of values, whichever format it came in.
 *
 * JSON and msgpack end here: behind this header there is one decoder for both. The tree and its
 * texts live in the reader's arena. Pure; one reader per thread. */
#ifndef MR_SCHEMAS_CODEC_VALUE_H
#define MR_SCHEMAS_CODEC_VALUE_H

#include "base/arena.h"
#include "schemas/codec.h"

#define MR_CODEC_MAX_DEPTH 16            /* maps and lists inside each other */
#define MR_CODEC_MAX_MEMBERS 512         /* of one map */
#define MR_CODEC_MAX_JOB_VALUES 262144   /* of one job: all its tokens fit twice */
#define MR_CODEC_MAX_VALUES (4u << 20)   /* of any other record */
#define MR_CODEC_MAX_BYTES (16u << 20)   /* of any other record */

typedef enum mr_value_kind {
    MR_VALUE_NULL, MR_VALUE_BOOL, MR_VALUE_INT, MR_VALUE_REAL, MR_VALUE_TEXT, MR_VALUE_LIST,
    MR_VALUE_MAP
} mr_value_kind;

typedef struct mr_value mr_value;
typedef struct mr_member mr_member;

struct mr_value {
    mr_value_kind kind;
    uint32_t n; /* bytes of a text, items of a list, members of a map */
    union {
        bool boolean;
        int64_t integer;
        double real;       /* always finite; also an integer above INT64_MAX */
        const char *text;  /* UTF-8, terminated; may hold zero bytes */
        const mr_value *items;
        const mr_member *members;
    } as;
};

struct mr_member { /* keys of one map differ from each other */
    const char *key;
    mr_value value;
};

/* Where in the record we are: a chain on the stack, turned into text only for an error. */
typedef struct mr_path {
    const struct mr_path *up; /* NULL: a member of the record itself */
    const char *key;          /* NULL: item n of a list */
    size_t n;                 /* bytes of key */
} mr_path;

typedef struct mr_reader {
    mr_arena *arena;
    mr_codec_error *why;
    size_t max_values;
    bool internal;       /* fields marked internal are known, and required */
    bool null_is_absent; /* OpenAI's bodies */
    bool skip_unknown;   /* records of our own programs: a newer one may say more */
} mr_reader;

/* "params.stop[3]"; at NULL gives "". */
void mr_path_text(const mr_path *at, char *buf, size_t cap);

/* Fill r->why and return the status that fits the code: "unsupported" MR_EUNSUPPORTED, "no_memory"
 * MR_ENOMEM, all others MR_EINVAL. The message starts with the field. */
mr_status mr_reader_fail(mr_reader *r, const mr_path *at, const char *code, const char *fmt, ...)
    MR_PRINTF(4, 5);
mr_status mr_reader_no_memory(mr_reader *r, const mr_path *at);

/* Check all of bytes[n], then build the tree of one map. */
mr_status mr_value_read(mr_reader *r, mr_format f, const void *bytes, size_t n, mr_value *out);

/* The prescan (codec_scan.c): everything that must hold before memory is spent on a value. */
mr_status mr_scan_msgpack(mr_reader *r, const void *bytes, size_t n);
/* Who a broken record belongs to: job_id, tenant and model at the top level, as far as the bytes
 * can still be read. Sets has_job_id and the three texts of why. */
void mr_scan_ids(mr_codec_error *why, mr_format f, const void *bytes, size_t n);

/* One msgpack item: a scalar with its payload, or the start of a container. The scan and the
 * builder share it, so they cannot disagree about what the bytes mean. */
typedef enum mr_item_kind {
    MR_ITEM_NIL, MR_ITEM_BOOL, MR_ITEM_INT, MR_ITEM_REAL, MR_ITEM_STR, MR_ITEM_BIN, MR_ITEM_LIST,
    MR_ITEM_MAP, MR_ITEM_EXT, MR_ITEM_CUT /* bytes end inside */, MR_ITEM_BAD /* 0xc1 */
} mr_item_kind;

typedef struct mr_item {
    mr_item_kind kind;
    uint32_t count;     /* items of a list, pairs of a map, bytes of the others' payload */
    const char *bytes;  /* payload of STR, BIN, EXT */
    int64_t integer;
    double real; /* REAL, or an integer above INT64_MAX (kind REAL) */
    bool boolean;
    size_t size; /* bytes of this item without its children */
} mr_item;

mr_item mr_item_read(const unsigned char *p, size_t n);

#endif
