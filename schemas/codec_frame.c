/* codec_frame.c - one entry of a token stream, as JSON.
 *
 * One per generated token, so encoding is the hot path of the worker's loop: straight into the
 * caller's buffer, without an allocation. The trace context of the job comes last; a job that has
 * none has frames without it. Pure; any thread. */
#include <string.h>

#include "base/trace.h"
#include "schemas/codec_records.h"

static const char *const type_names[] = {"token", "done", "restart", NULL};

/* ---- encode ---- */

mr_status mr_codec_frame_encode(const mr_frame *fr, char *buf, size_t cap, size_t *n) {
    mr_writer w = {.format = MR_FORMAT_JSON, .buf = buf, .cap = cap};

    mr_write_map(&w);
    mr_write_text_field(&w, "type", type_names[fr->type]);
    mr_write_text_field(&w, "job_id", fr->job_id);
    mr_write_u64_field(&w, "attempt", fr->attempt);
    mr_write_u64_field(&w, "index", fr->index);
    if (fr->type == MR_FRAME_TOKEN) {
        mr_write_i64_field(&w, "token", fr->token);
        mr_write_key(&w, "text");
        mr_write_text(&w, fr->text, fr->text_len);
    }
    if (fr->type == MR_FRAME_DONE) {
        mr_write_text_field(&w, "status", mr_job_status_name(fr->status));
        mr_write_text_field(&w, "finish_reason", fr->finish_reason);
        mr_write_job_error(&w, &fr->error);
    }
    if (fr->traceparent) mr_write_text_field(&w, "traceparent", fr->traceparent);
    mr_write_end(&w);
    *n = w.len;
    if (w.len >= cap) return MR_ELIMIT;
    buf[w.len] = '\0';
    return MR_OK;
}

/* ---- decode ---- */

#define AT(member) .offset = offsetof(mr_frame, member)

static const mr_field frame_fields[] = {
    {.name = "type", .kind = MR_FIELD_ENUM, .flags = MR_FIELD_REQUIRED, .names = type_names,
     AT(type)},
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED, AT(job_id)},
    {.name = "attempt", .kind = MR_FIELD_U32, .flags = MR_FIELD_REQUIRED, .hi = UINT32_MAX,
     AT(attempt)},
    {.name = "index", .kind = MR_FIELD_U64, .flags = MR_FIELD_REQUIRED, .hi = INT64_MAX, AT(index)},
    {.name = "token", .kind = MR_FIELD_I32, .hi = INT32_MAX, AT(token)},
    {.name = "text", .kind = MR_FIELD_BYTES, .flags = MR_FIELD_ZEROS, .hi = MR_CODEC_MAX_BYTES,
     AT(text), .offset_n = offsetof(mr_frame, text_len)},
    {.name = "status", .kind = MR_FIELD_ENUM, .names = mr_status_names, AT(status)},
    {.name = "finish_reason", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(finish_reason)},
    {.name = "error", .kind = MR_FIELD_MAP, .sub = mr_job_error_fields, AT(error)},
    {.name = "traceparent", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(traceparent)},
    {.name = NULL},
};

static mr_status need(const mr_field_set *set, const char *name, mr_err *err) {
    if (mr_field_seen(set, name)) return MR_OK;
    return mr_fail(err, MR_EINVAL, "frame: %s: is missing", name);
}

/* As everywhere, a malformed one counts as not there: a frame is never lost for it. */
static void check_trace(mr_frame *fr) {
    mr_trace_context t;

    if (fr->traceparent && !mr_trace_read(&t, fr->traceparent, strlen(fr->traceparent)))
        fr->traceparent = NULL;
}

mr_status mr_codec_frame_decode(mr_frame *out, const void *bytes, size_t n, mr_arena *arena,
                                mr_err *err) {
    mr_field_set set = {.fields = frame_fields, .out = out};
    mr_status st;

    *out = (mr_frame){.text = "", .finish_reason = ""};
    st = mr_record_read("frame", MR_FORMAT_JSON, bytes, n, &set, arena, err);
    if (st == MR_OK && out->type == MR_FRAME_TOKEN) {
        st = need(&set, "token", err);
        if (st == MR_OK) st = need(&set, "text", err);
    }
    if (st == MR_OK && out->type == MR_FRAME_DONE) st = need(&set, "status", err);
    if (st == MR_OK) check_trace(out);
    return st;
}
