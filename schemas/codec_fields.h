/* codec_fields.h - a record described as a table: one row per field, for JSON and msgpack alike.
 *
 * A row says the name, the kind, the limits and where in the struct the value goes. Unknown,
 * missing, doubled and out-of-range fields are found here and nowhere else. Pure. */
#ifndef MR_SCHEMAS_CODEC_FIELDS_H
#define MR_SCHEMAS_CODEC_FIELDS_H

#include "schemas/codec_value.h"

typedef enum mr_field_kind {
    MR_FIELD_TEXT,   /* const char *; lo..hi bytes, no zero byte */
    MR_FIELD_BYTES,  /* const char * and, at offset_n, size_t; lo..hi bytes */
    MR_FIELD_JOB_ID, /* char[MR_JOB_ID_LEN + 1] */
    MR_FIELD_BOOL,
    MR_FIELD_F32, /* lo..hi (equal: any finite); with MR_FIELD_ABOVE more than lo */
    MR_FIELD_I32, MR_FIELD_U32, MR_FIELD_I64, MR_FIELD_U64, /* lo..hi; 3.0 counts as 3 */
    MR_FIELD_ENUM, /* one of names, as its index */
    MR_FIELD_MAP,  /* rows of sub; their offsets count from this row's */
    MR_FIELD_CALL, /* whatever read does with the struct at offset; sub only helps with hints */
    MR_FIELD_IGNORED, /* known, of any value, without effect */
    MR_FIELD_REFUSED, /* known, unsupported; an empty list, null or false is as good as absent */
} mr_field_kind;

enum {
    MR_FIELD_REQUIRED = 1,
    MR_FIELD_INTERNAL = 2, /* unknown unless the reader is internal */
    MR_FIELD_NAME = 4,     /* TEXT: no control characters */
    MR_FIELD_ABOVE = 8,
    MR_FIELD_ZEROS = 16, /* BYTES: zero bytes are allowed */
};

typedef mr_status mr_field_read(mr_reader *r, const mr_value *v, const mr_path *at, void *out);
typedef struct mr_field mr_field;
struct mr_field {
    const char *name;
    mr_field_kind kind;
    unsigned flags;
    size_t offset, offset_n;
    int64_t lo, hi;
    const char *const *names; /* ENUM: terminated by NULL */
    const mr_field *sub;      /* terminated by name NULL */
    mr_field_read *read;
    const char *alias_of; /* a conflict if both are given */
};

/* Rows of one struct; a map may be read into several (the first that knows a name gets it). */
typedef struct mr_field_set {
    const mr_field *fields; /* terminated by name NULL; at most 64 rows */
    void *out;
    uint64_t seen; /* bit per row, filled in */
} mr_field_set;

mr_status mr_fields_read(mr_reader *r, const mr_value *v, const mr_path *at, mr_field_set *sets,
                         size_t n_sets);
bool mr_field_seen(const mr_field_set *set, const char *name);

/* A whole record of our own programs: unknown fields are skipped, the error goes into err after
 * `what`. */
mr_status mr_record_read(const char *what, mr_format f, const void *bytes, size_t n,
                         mr_field_set *set, mr_arena *arena, mr_err *err);

/* For rows of kind CALL. */
mr_status mr_read_list(mr_reader *r, const mr_value *v, const mr_path *at, size_t lo, size_t hi);
mr_status mr_read_int(mr_reader *r, const mr_value *v, const mr_path *at, int64_t lo, int64_t hi,
                      int64_t *out);
mr_status mr_read_f32(mr_reader *r, const mr_value *v, const mr_path *at, const mr_field *limits,
                      float *out);
mr_status mr_read_text(mr_reader *r, const mr_value *v, const mr_path *at, const mr_field *limits,
                       const char **out);
mr_status mr_read_enum(mr_reader *r, const mr_value *v, const mr_path *at, const char *const *names,
                       unsigned *out);
/* A list of at most max maps: *list gets *n zeroed elements of `size` bytes, each read by its rows. */
mr_status mr_read_maps(mr_reader *r, const mr_value *v, const mr_path *at, size_t max,
                       const mr_field *fields, size_t size, void **list, size_t *n);
/* {"a":"b"} into *pairs; at most MR_JOB_MAX_METADATA, with the limits of metadata. */
mr_status mr_read_pairs(mr_reader *r, const mr_value *v, const mr_path *at, const mr_pair **pairs,
                        size_t *n);

#endif
