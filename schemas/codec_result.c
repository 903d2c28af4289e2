/* codec_result.c - the one terminal record of a job.
 *
 * Log probabilities are the bulk of a large result: one small map per token. Pure; any thread. */
#include <string.h>

#include "schemas/codec_records.h"
#include "schemas/codec_write.h"

/* ---- decode ---- */

static mr_status read_tops(mr_reader *r, const mr_value *v, const mr_path *at, void *out);

#define AT(member) .offset = offsetof(mr_token_logprob, member)
#define LOGPROB_FIELDS                                                                      \
    {.name = "token", .kind = MR_FIELD_I32, .flags = MR_FIELD_REQUIRED, .hi = INT32_MAX,    \
     AT(token)},                                                                            \
    {.name = "text", .kind = MR_FIELD_TEXT, .hi = MR_CODEC_MAX_BYTES, AT(text)},            \
    {.name = "logprob", .kind = MR_FIELD_F32, .flags = MR_FIELD_REQUIRED, AT(logprob)}

static const mr_field top_fields[] = {LOGPROB_FIELDS, {.name = NULL}};
static const mr_field logprob_fields[] = {
    LOGPROB_FIELDS, {.name = "top", .kind = MR_FIELD_CALL, .read = read_tops}, {.name = NULL}};

static mr_status read_logprob_list(mr_reader *r, const mr_value *v, const mr_path *at, size_t max,
                                   const mr_field *fields, const mr_token_logprob **out,
                                   size_t *n) {
    mr_status st = mr_read_list(r, v, at, 0, max);
    mr_token_logprob *list;

    if (st != MR_OK) return st;
    if (!(list = mr_arena_calloc(r->arena, v->n, sizeof *list))) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        mr_field_set set = {.fields = fields, .out = &list[i]};

        list[i].text = "";
        if ((st = mr_fields_read(r, &v->as.items[i], &here, &set, 1)) != MR_OK) return st;
    }
    *out = list;
    *n = v->n;
    return MR_OK;
}

static mr_status read_tops(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_token_logprob *lp = out;

    return read_logprob_list(r, v, at, MR_JOB_MAX_TOP_LOGPROBS, top_fields, &lp->top, &lp->n_top);
}

static mr_status read_logprobs(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_result *res = out;

    return read_logprob_list(r, v, at, MR_JOB_MAX_NEW_TOKENS, logprob_fields, &res->logprobs,
                             &res->n_logprobs);
}

static mr_status read_metadata(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_result *res = out;

    return mr_read_pairs(r, v, at, &res->metadata, &res->n_metadata);
}

#undef AT
#define AT(member) .offset = offsetof(mr_result, member)
#define COUNT(name_, member)                                                                \
    {.name = name_, .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(member)}
#define TIME(name_, member)                                                                 \
    {.name = name_, .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(member)}
#define NAME(name_, member)                                                                 \
    {.name = name_, .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(member)}

static const mr_field usage_fields[] = {
    COUNT("prompt_tokens", prompt_tokens),
    COUNT("completion_tokens", completion_tokens),
    COUNT("cached_tokens", cached_tokens),
    COUNT("wasted_tokens", wasted_tokens),
    {.name = NULL},
};

static const mr_field timings_fields[] = {
    TIME("received_ms", received_ms), TIME("finished_ms", finished_ms),
    COUNT("queue_ms", queue_ms),      COUNT("first_token_ms", first_token_ms),
    COUNT("prefill_ms", prefill_ms),  COUNT("decode_ms", decode_ms),
    {.name = NULL},
};

static const mr_field result_fields[] = {
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED, AT(job_id)},
    NAME("model", model),
    NAME("tenant", tenant),
    {.name = "status", .kind = MR_FIELD_ENUM, .flags = MR_FIELD_REQUIRED,
     .names = mr_status_names, AT(status)},
    NAME("finish_reason", finish_reason),
    {.name = "text", .kind = MR_FIELD_BYTES, .flags = MR_FIELD_ZEROS, .hi = MR_CODEC_MAX_BYTES,
     AT(text), .offset_n = offsetof(mr_result, text_len)},
    {.name = "usage", .kind = MR_FIELD_MAP, .sub = usage_fields},
    {.name = "logprobs", .kind = MR_FIELD_CALL, .read = read_logprobs},
    {.name = "error", .kind = MR_FIELD_MAP, .sub = mr_job_error_fields, AT(error)},
    NAME("duplicate_of", duplicate_of),
    COUNT("attempt", attempt),
    COUNT("tries", tries),
    COUNT("preemptions", preemptions),
    NAME("worker", worker),
    {.name = "stream_degraded", .kind = MR_FIELD_BOOL, AT(stream_degraded)},
    {.name = "timings", .kind = MR_FIELD_MAP, .sub = timings_fields},
    {.name = "metadata", .kind = MR_FIELD_CALL, .read = read_metadata},
    {.name = NULL},
};

mr_status mr_codec_result_decode(mr_result *out, mr_format f, const void *bytes, size_t n,
                                 mr_arena *arena, mr_err *err) {
    mr_field_set set = {.fields = result_fields, .out = out};

    *out = (mr_result){
        .model = "", .tenant = "", .finish_reason = "", .text = "", .worker = ""};
    return mr_record_read("result", f, bytes, n, &set, arena, err);
}

/* ---- encode ---- */

static void write_logprob(mr_writer *w, const mr_token_logprob *lp) {
    mr_write_map(w);
    mr_write_i64_field(w, "token", lp->token);
    mr_write_text_field(w, "text", lp->text);
    mr_write_f32_field(w, "logprob", lp->logprob);
    if (lp->n_top) {
        mr_write_key(w, "top");
        mr_write_list(w, lp->n_top);
        for (size_t i = 0; i < lp->n_top; i++) write_logprob(w, &lp->top[i]);
        mr_write_end(w);
    }
    mr_write_end(w);
}

void mr_write_usage(mr_writer *w, const mr_result *res) {
    mr_write_key(w, "usage");
    mr_write_map(w);
    mr_write_u64_field(w, "prompt_tokens", res->prompt_tokens);
    mr_write_u64_field(w, "completion_tokens", res->completion_tokens);
    mr_write_u64_field(w, "total_tokens", (uint64_t)res->prompt_tokens + res->completion_tokens);
    mr_write_u64_field(w, "cached_tokens", res->cached_tokens);
    mr_write_u64_field(w, "wasted_tokens", res->wasted_tokens);
    mr_write_end(w);
}

static void write_timings(mr_writer *w, const mr_result *res) {
    mr_write_key(w, "timings");
    mr_write_map(w);
    mr_write_u64_field(w, "received_ms", res->received_ms);
    mr_write_u64_field(w, "finished_ms", res->finished_ms);
    mr_write_u64_field(w, "queue_ms", res->queue_ms);
    mr_write_u64_field(w, "first_token_ms", res->first_token_ms);
    mr_write_u64_field(w, "prefill_ms", res->prefill_ms);
    mr_write_u64_field(w, "decode_ms", res->decode_ms);
    mr_write_end(w);
}

void mr_write_result(mr_writer *w, const void *object) {
    const mr_result *res = object;

    mr_write_map(w);
    mr_write_text_field(w, "job_id", res->job_id);
    mr_write_text_field(w, "model", res->model);
    mr_write_text_field(w, "tenant", res->tenant);
    mr_write_text_field(w, "status", mr_job_status_name(res->status));
    mr_write_text_field(w, "finish_reason", res->finish_reason);
    mr_write_key(w, "text");
    mr_write_text(w, res->text, res->text_len);
    mr_write_usage(w, res);
    if (res->logprobs) {
        mr_write_key(w, "logprobs");
        mr_write_list(w, res->n_logprobs);
        for (size_t i = 0; i < res->n_logprobs; i++) write_logprob(w, &res->logprobs[i]);
        mr_write_end(w);
    }
    mr_write_job_error(w, &res->error);
    if (res->duplicate_of) mr_write_text_field(w, "duplicate_of", res->duplicate_of);
    mr_write_u64_field(w, "attempt", res->attempt);
    mr_write_u64_field(w, "tries", res->tries);
    mr_write_u64_field(w, "preemptions", res->preemptions);
    mr_write_text_field(w, "worker", res->worker);
    mr_write_bool_field(w, "stream_degraded", res->stream_degraded);
    write_timings(w, res);
    mr_write_pairs_field(w, "metadata", res->metadata, res->n_metadata);
    mr_write_end(w);
}

mr_status mr_codec_result_encode(const mr_result *r, mr_format f, mr_arena *arena,
                                 const void **bytes, size_t *n) {
    return mr_write_record(mr_write_result, r, f, arena, bytes, n);
}
