/* result.c - from an ended job to bytes on millrace.results.
 *
 * The format is the producer's own, so who spoke JSON reads JSON. A result that no record can hold
 * is replaced by a short one: a job that ended always has its answer. */
#include "worker/result.h"

#include <stdio.h>
#include <string.h>

#include "base/trace.h"
#include "schemas/codec.h"
#include "schemas/webhook.h"

void mr_result_of(mr_result *out, const mr_job *j, const char *model, const char *worker) {
    const mr_job_times t = mr_job_times_of(j);

    *out = (mr_result){
        .model = j->spec.model && *j->spec.model ? j->spec.model : model,
        .tenant = j->spec.tenant ? j->spec.tenant : "default",
        .status = j->status,
        .finish_reason = j->finish_reason,
        .text = j->text_len ? j->text : "",
        .text_len = j->text_len,
        .prompt_tokens = (uint32_t)j->n_tokens,
        .completion_tokens = j->n_generated,
        .cached_tokens = j->n_cached,
        .wasted_tokens = j->spec.wasted_tokens,
        .logprobs = j->n_logprobs ? j->logprobs : NULL,
        .n_logprobs = j->n_logprobs,
        .error = j->error,
        .attempt = j->attempt,
        .tries = j->spec.tries + 1,
        .preemptions = j->preemptions,
        .worker = worker,
        .stream_degraded = j->degraded,
        .received_ms = j->spec.received_ms,
        .finished_ms = j->finished_ms,
        .queue_ms = t.queue_ms,
        .prefill_ms = t.prefill_ms,
        .decode_ms = t.decode_ms,
        .first_token_ms = t.first_token_ms,
        .metadata = j->spec.metadata,
        .n_metadata = j->spec.n_metadata,
        .callback = j->spec.callback,
    };
    memcpy(out->job_id, j->spec.job_id, sizeof out->job_id);
}

mr_status mr_result_build(mr_job *j, const char *model, const char *worker, uint64_t wall_ms,
                          mr_err *err) {
    mr_result r;
    mr_status st;

    j->finished_ms = wall_ms;
    mr_result_of(&r, j, model, worker);
    st = mr_codec_result_encode(&r, j->spec.reply_format, &j->arena, &j->record, &j->record_len);
    if (st != MR_OK)
        return mr_fail(err, st, "result of job %s cannot be encoded: %s", j->spec.job_id,
                       mr_status_name(st));
    return MR_OK;
}

mr_status mr_result_build_too_large(mr_job *j, const char *model, const char *worker,
                                    uint64_t wall_ms, mr_err *err) {
    char tenant[MR_JOB_MAX_NAME + 1], name[MR_JOB_MAX_NAME + 1], message[MR_JOB_MAX_ERROR];
    char state[MR_TRACE_STATE + 1] = "", callback[MR_CALLBACK_TEXT];

    snprintf(tenant, sizeof tenant, "%s", j->spec.tenant ? j->spec.tenant : "default");
    snprintf(name, sizeof name, "%s", j->spec.model && *j->spec.model ? j->spec.model : model);
    if (j->spec.trace.state) snprintf(state, sizeof state, "%s", j->spec.trace.state);
    const size_t callback_len = mr_callback_write(callback, &j->spec.callback);
    snprintf(message, sizeof message,
             "the result of %u tokens is larger than a record may be (%u bytes): ask for fewer "
             "max_tokens or top_logprobs",
             (unsigned)j->n_generated, MR_JOB_MAX_BYTES);
    mr_arena_drop(&j->arena); /* it may be what is full; of all in it only these texts are needed */
    j->text = NULL;
    j->made = NULL; /* their number stays, as that of the prompt's tokens */
    j->logprobs = NULL;
    j->tokens = NULL;
    j->taken = NULL;
    j->taken_text = NULL;
    j->n_taken = j->taken_text_len = 0;
    j->text_len = j->text_cap = j->n_logprobs = j->cap_logprobs = 0;
    j->spec.metadata = NULL;
    j->spec.n_metadata = 0;
    j->spec.tenant = mr_arena_copy(&j->arena, tenant, strlen(tenant));
    j->spec.model = mr_arena_copy(&j->arena, name, strlen(name));
    j->spec.trace.state = state[0] ? mr_arena_copy(&j->arena, state, strlen(state)) : NULL;
    (void)mr_callback_read(&j->spec.callback, callback, callback_len, &j->arena);
    mr_job_end(j, MR_STATUS_FAILED, j->finish_reason, "result_too_large", "params", message);
    return mr_result_build(j, model, worker, wall_ms, err);
}

/* Length of the well-formed character at p, 0 when there is none (RFC 3629). */
static size_t utf8_len(const unsigned char *p, size_t n) {
    const size_t len = p[0] < 0x80                    ? 1
                       : p[0] >= 0xc2 && p[0] < 0xe0  ? 2
                       : p[0] >= 0xe0 && p[0] < 0xf0  ? 3
                       : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                      : 0;

    if (len == 0 || len > n) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0; /* overlong */
    if (p[0] == 0xed && p[1] > 0x9f) return 0; /* surrogate */
    if (p[0] == 0xf0 && p[1] < 0x90) return 0; /* overlong */
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0; /* beyond U+10FFFF */
    return len;
}

size_t mr_result_clean_utf8(char *out, const char *bytes, size_t n) {
    const unsigned char *p = (const unsigned char *)bytes;
    size_t at = 0, len = 0;

    while (at < n) {
        const size_t c = p[at] == 0 ? 0 : utf8_len(p + at, n - at);
        if (c) {
            memcpy(out + len, p + at, c);
            len += c;
            at += c;
        } else {
            memcpy(out + len, "\xef\xbf\xbd", 3);
            len += 3;
            at++;
        }
    }
    out[len] = 0;
    return len;
}

static bool fits_topic(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

void mr_work_topic(char *out, size_t cap, const char *prefix, const char *model) {
    const int n = snprintf(out, cap, "%s.work.", prefix);
    size_t at = n > 0 ? (size_t)n : 0;

    for (; *model && at + 1 < cap; model++) out[at++] = fits_topic(*model) ? *model : '_';
    if (at < cap) out[at] = 0;
}

void mr_fit_name(char out[MR_JOB_MAX_NAME + 1], const char *text) {
    size_t n = 0;

    for (; *text && n < MR_JOB_MAX_NAME; text++) out[n++] = fits_topic(*text) ? *text : '_';
    out[n] = 0;
}
