/* codec_attempt.c - a note that a worker let a job go: who had it, how far it came, why it stopped.
 *
 * Small JSON records that people also read with kcat. Pure; any thread. */
#include "schemas/codec_records.h"

#define AT(member) .offset = offsetof(mr_attempt, member)

static const mr_field attempt_fields[] = {
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED, AT(job_id)},
    {.name = "attempt", .kind = MR_FIELD_U32, .flags = MR_FIELD_REQUIRED, .lo = 1,
     .hi = UINT32_MAX, AT(attempt)},
    {.name = "outcome", .kind = MR_FIELD_ENUM, .flags = MR_FIELD_REQUIRED, .names = mr_note_names,
     AT(outcome)},
    {.name = "worker", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .lo = 1,
     .hi = MR_RECORD_MAX_NAME, AT(worker)},
    {.name = "model", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MR_RECORD_MAX_NAME,
     AT(model)},
    {.name = "completion_tokens", .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(completion_tokens)},
    {.name = "time_ms", .kind = MR_FIELD_U64, .flags = MR_FIELD_REQUIRED, .hi = INT64_MAX,
     AT(time_ms)},
    {.name = NULL},
};

mr_status mr_codec_attempt_decode(mr_attempt *out, const void *bytes, size_t n, mr_arena *arena,
                                  mr_err *err) {
    mr_field_set set = {.fields = attempt_fields, .out = out};

    *out = (mr_attempt){.worker = "", .model = ""};
    return mr_record_read("attempt", MR_FORMAT_JSON, bytes, n, &set, arena, err);
}

static void write_attempt(mr_writer *w, const void *object) {
    const mr_attempt *a = object;

    mr_write_map(w);
    mr_write_text_field(w, "job_id", a->job_id);
    mr_write_u64_field(w, "attempt", a->attempt);
    mr_write_text_field(w, "outcome", mr_attempt_outcome_name(a->outcome));
    mr_write_text_field(w, "worker", a->worker);
    mr_write_text_field(w, "model", a->model);
    mr_write_u64_field(w, "completion_tokens", a->completion_tokens);
    mr_write_u64_field(w, "time_ms", a->time_ms);
    mr_write_end(w);
}

mr_status mr_codec_attempt_encode(const mr_attempt *a, mr_arena *arena, const void **bytes,
                                  size_t *n) {
    return mr_write_record(write_attempt, a, MR_FORMAT_JSON, arena, bytes, n);
}
