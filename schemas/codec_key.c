/* codec_key.c - the index record of an idempotency key: the job that has it, and since when.
 *
 * A small JSON record that people can read with kcat; the key itself is the record's key. Pure; any
 * thread. */
#include "schemas/codec_records.h"

#include <string.h>

typedef struct key_record {
    char job_id[MR_JOB_ID_LEN + 1];
    uint64_t time_ms;
} key_record;

#define AT(member) .offset = offsetof(key_record, member)

static const mr_field key_fields[] = {
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED, AT(job_id)},
    {.name = "time_ms",
     .kind = MR_FIELD_U64,
     .flags = MR_FIELD_REQUIRED,
     .hi = INT64_MAX,
     AT(time_ms)},
    {.name = NULL},
};

mr_status mr_codec_key_decode(char job_id[MR_JOB_ID_LEN + 1], uint64_t *time_ms, const void *bytes,
                              size_t n, mr_arena *arena, mr_err *err) {
    key_record r = {0};
    mr_field_set set = {.fields = key_fields, .out = &r};
    const mr_status st = mr_record_read("key", MR_FORMAT_JSON, bytes, n, &set, arena, err);

    memcpy(job_id, r.job_id, sizeof r.job_id);
    *time_ms = r.time_ms;
    return st;
}

static void write_key(mr_writer *w, const void *object) {
    const key_record *r = object;

    mr_write_map(w);
    mr_write_text_field(w, "job_id", r->job_id);
    mr_write_u64_field(w, "time_ms", r->time_ms);
    mr_write_end(w);
}

mr_status mr_codec_key_encode(const char *job_id, uint64_t time_ms, mr_arena *arena,
                              const void **bytes, size_t *n) {
    key_record r = {.time_ms = time_ms};
    memcpy(r.job_id, job_id, sizeof r.job_id);
    return mr_write_record(write_key, &r, MR_FORMAT_JSON, arena, bytes, n);
}
