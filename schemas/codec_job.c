/* codec_job.c - a job, as producers send it and as dispatchers and workers pass it on.
 *
 * Both are the same record; the second has more fields, which nobody else may set: four that are
 * always there, and what has happened to the job so far. The encoder leaves out what has its
 * default, so a job that passes through the dispatcher for the first time grows by those four
 * alone. Pure; any thread. */
#include <stdio.h>
#include <string.h>

#include "schemas/codec_records.h"
#include "schemas/codec_request.h"
#include "schemas/codec_write.h"

static const char *const priority_names[] = {"high", "normal", "low", NULL};
static const char *const format_names[] = {"json", "msgpack", NULL};

#define DEFAULT_TENANT   "default"
#define OUTSIDE_PRIORITY MR_PRIORITY_HIGH /* of a job that names none: its topic lowers it */
#define MAX_REASON       1024 /* that we read: what we write has MR_JOB_MAX_REASON at most */

void mr_codec_job_defaults(mr_job_spec *j) {
    *j = (mr_job_spec){
        .model = "",
        .tenant = DEFAULT_TENANT,
        .params = {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
        .stream = true,
        .priority = MR_PRIORITY_NORMAL,
    };
}

/* ---- decode ---- */

static const mr_field input_fields[] = {
    {.name = "messages", .kind = MR_FIELD_CALL, .read = mr_input_read_messages},
    {.name = "prompt", .kind = MR_FIELD_CALL, .read = mr_input_read_prompt},
    {.name = "tokens", .kind = MR_FIELD_CALL, .read = mr_input_read_tokens},
    {.name = NULL},
};

static mr_status read_input(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_field_set set = {.fields = input_fields, .out = out};
    mr_status st = mr_fields_read(r, v, at, &set, 1);

    if (st != MR_OK) return st;
    if (!set.seen)
        return mr_reader_fail(r, at, "missing_field",
                              "is empty; give one of \"messages\", \"prompt\", \"tokens\"");
    if (set.seen & (set.seen - 1))
        return mr_reader_fail(r, at, "conflict",
                              "give exactly one of \"messages\", \"prompt\", \"tokens\"");
    return MR_OK;
}

static mr_status read_params(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_field_set set = {.fields = mr_params_fields, .out = out};
    mr_status st = mr_fields_read(r, v, at, &set, 1);

    return st == MR_OK ? mr_params_check(r, at, out) : st;
}

static mr_status read_url(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    static const mr_field limits = {.lo = 1, .hi = MR_JOB_MAX_URL, .flags = MR_FIELD_NAME};
    const char **url = out;
    mr_status st = mr_read_text(r, v, at, &limits, url);

    if (st != MR_OK) return st;
    if (strncmp(*url, "http://", 7) != 0 && strncmp(*url, "https://", 8) != 0)
        return mr_reader_fail(r, at, "out_of_range", "must start with http:// or https://");
    if (strchr(*url, ' ')) return mr_reader_fail(r, at, "malformed", "holds a blank");
    return MR_OK;
}

static mr_status read_events(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_callback *c = out;
    mr_status st = mr_read_list(r, v, at, 1, MR_JOB_MAX_EVENTS);
    const char **events;

    if (st != MR_OK) return st;
    if (!(events = mr_arena_calloc(r->arena, v->n, sizeof *events)))
        return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        unsigned which = 0;
        st = mr_read_enum(r, &v->as.items[i], &here, mr_status_names, &which);
        if (st != MR_OK) return st;
        events[i] = mr_status_names[which];
    }
    c->events = events;
    c->n_events = v->n;
    return MR_OK;
}

static const mr_field callback_fields[] = {
    {.name = "url", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED, .read = read_url,
     .offset = offsetof(mr_callback, url)},
    {.name = "secret_id", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_NAME, .lo = 1,
     .hi = MR_JOB_MAX_NAME, .offset = offsetof(mr_callback, secret_id)},
    {.name = "events", .kind = MR_FIELD_CALL, .read = read_events},
    {.name = NULL},
};

static mr_status read_metadata(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_job_spec *j = out;

    return mr_read_pairs(r, v, at, &j->metadata, &j->n_metadata);
}

static mr_status read_outcome(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    unsigned *outcome = out;
    mr_status st = mr_read_enum(r, v, at, mr_past_names, outcome);

    *outcome += MR_ATTEMPT_FAULT;
    return st;
}

static const mr_field past_fields[] = {
    {.name = "attempt", .kind = MR_FIELD_U32, .flags = MR_FIELD_REQUIRED, .hi = UINT32_MAX,
     .offset = offsetof(mr_past, attempt)},
    {.name = "outcome", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED, .read = read_outcome,
     .offset = offsetof(mr_past, outcome)},
    {.name = "worker", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED,
     .hi = MR_RECORD_MAX_NAME, .offset = offsetof(mr_past, worker)},
    {.name = "message", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MAX_REASON,
     .offset = offsetof(mr_past, message)},
    {.name = "time_ms", .kind = MR_FIELD_U64, .flags = MR_FIELD_REQUIRED, .hi = INT64_MAX,
     .offset = offsetof(mr_past, time_ms)},
    {.name = NULL},
};

static mr_status read_history(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_job_spec *j = out;
    void *list = NULL;
    mr_status st = mr_read_maps(r, v, at, MR_JOB_MAX_HISTORY, past_fields, sizeof(mr_past), &list,
                                &j->n_history);

    j->history = list;
    return st;
}

#define AT(member) .offset = offsetof(mr_job_spec, member)
#define INSIDE(name_, kind_, max, member)                                                   \
    {.name = name_, .kind = kind_, .flags = MR_FIELD_INTERNAL, .hi = max, AT(member)}

static const mr_field job_fields[] = {
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED, AT(job_id)},
    {.name = "model", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_NAME, .hi = MR_JOB_MAX_NAME,
     AT(model)},
    {.name = "tenant", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_NAME, .lo = 1,
     .hi = MR_JOB_MAX_NAME, AT(tenant)},
    {.name = "input", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED, .read = read_input,
     .sub = input_fields},
    {.name = "params", .kind = MR_FIELD_CALL, .read = read_params, .sub = mr_params_fields,
     AT(params)},
    {.name = "stream", .kind = MR_FIELD_BOOL, AT(stream)},
    {.name = "priority", .kind = MR_FIELD_ENUM, .names = priority_names, AT(priority)},
    {.name = "deadline_ms", .kind = MR_FIELD_U64, .hi = MR_JOB_MAX_DEADLINE_MS, AT(deadline_ms)},
    {.name = "max_attempts", .kind = MR_FIELD_U32, .hi = MR_JOB_MAX_ATTEMPTS, AT(max_attempts)},
    {.name = "not_before_ms", .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(not_before_ms)},
    {.name = "idempotency_key", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_NAME, .lo = 1,
     .hi = MR_JOB_MAX_KEY, AT(idempotency_key)},
    {.name = "replay_of", .kind = MR_FIELD_JOB_ID, AT(replay_of)},
    {.name = "callback", .kind = MR_FIELD_MAP, .sub = callback_fields, AT(callback)},
    {.name = "metadata", .kind = MR_FIELD_CALL, .read = read_metadata},
    {.name = "attempt", .kind = MR_FIELD_U32, .flags = MR_FIELD_INTERNAL | MR_FIELD_REQUIRED,
     .lo = 1, .hi = UINT32_MAX, AT(attempt)},
    {.name = "received_ms", .kind = MR_FIELD_U64, .flags = MR_FIELD_INTERNAL | MR_FIELD_REQUIRED,
     .hi = INT64_MAX, AT(received_ms)},
    {.name = "expires_ms", .kind = MR_FIELD_U64, .flags = MR_FIELD_INTERNAL | MR_FIELD_REQUIRED,
     .hi = INT64_MAX, AT(expires_ms)},
    {.name = "reply_format", .kind = MR_FIELD_ENUM, .names = format_names,
     .flags = MR_FIELD_INTERNAL | MR_FIELD_REQUIRED, AT(reply_format)},
    INSIDE("tries", MR_FIELD_U32, UINT32_MAX, tries),
    INSIDE("backoffs", MR_FIELD_U32, UINT32_MAX, backoffs),
    INSIDE("due_ms", MR_FIELD_U64, INT64_MAX, due_ms),
    INSIDE("charged", MR_FIELD_U32, UINT32_MAX, charged),
    INSIDE("wasted_tokens", MR_FIELD_U32, UINT32_MAX, wasted_tokens),
    INSIDE("need_tokens", MR_FIELD_U32, UINT32_MAX, need_tokens),
    INSIDE("key_held", MR_FIELD_BOOL, 0, key_held),
    {.name = "history", .kind = MR_FIELD_CALL, .flags = MR_FIELD_INTERNAL, .read = read_history},
    {.name = NULL},
};

mr_status mr_codec_job_decode(mr_job_spec *out, mr_format f, const void *bytes, size_t n,
                              bool internal, mr_arena *arena, mr_codec_error *why) {
    mr_codec_error unused;
    mr_reader r = {.arena = arena, .why = why ? why : &unused,
                   .max_values = MR_CODEC_MAX_JOB_VALUES, .internal = internal};
    const unsigned max_bytes = internal ? MR_CODEC_MAX_BYTES : MR_JOB_MAX_BYTES;
    mr_field_set set = {.fields = job_fields, .out = out};
    mr_value root;
    mr_status st;

    *r.why = (mr_codec_error){.format = f};
    mr_codec_job_defaults(out);
    if (!internal) out->priority = OUTSIDE_PRIORITY;
    if (n > max_bytes)
        st = mr_reader_fail(&r, NULL, "too_long", "the record has %zu bytes, at most %u", n,
                            max_bytes);
    else if ((st = mr_value_read(&r, f, bytes, n, &root)) == MR_OK)
        st = mr_fields_read(&r, &root, NULL, &set, 1);
    if (st != MR_OK) mr_scan_ids(r.why, f, bytes, n);
    return st;
}

/* ---- encode ---- */

static void write_input(mr_writer *w, const mr_job_spec *j) {
    mr_write_key(w, "input");
    mr_write_map(w);
    switch (j->input) {
    case MR_INPUT_PROMPT:
        mr_write_key(w, "prompt");
        mr_write_text(w, j->prompt, j->prompt_len);
        break;
    case MR_INPUT_TOKENS:
        mr_write_key(w, "tokens");
        mr_write_list(w, j->n_tokens);
        for (size_t i = 0; i < j->n_tokens; i++) mr_write_i64(w, j->tokens[i]);
        mr_write_end(w);
        break;
    case MR_INPUT_MESSAGES:
        mr_write_key(w, "messages");
        mr_write_list(w, j->n_messages);
        for (size_t i = 0; i < j->n_messages; i++) {
            mr_write_map(w);
            mr_write_text_field(w, "role", j->messages[i].role);
            mr_write_key(w, "content");
            mr_write_text(w, j->messages[i].content, j->messages[i].content_len);
            mr_write_end(w);
        }
        mr_write_end(w);
        break;
    }
    mr_write_end(w);
}

static void write_stops(mr_writer *w, const mr_params *p) {
    if (p->n_stop) {
        mr_write_key(w, "stop");
        mr_write_list(w, p->n_stop);
        for (size_t i = 0; i < p->n_stop; i++) mr_write_text(w, p->stop[i], strlen(p->stop[i]));
        mr_write_end(w);
    }
    if (p->n_stop_token_ids) {
        mr_write_key(w, "stop_token_ids");
        mr_write_list(w, p->n_stop_token_ids);
        for (size_t i = 0; i < p->n_stop_token_ids; i++) mr_write_i64(w, p->stop_token_ids[i]);
        mr_write_end(w);
    }
}

static void write_logit_bias(mr_writer *w, const mr_params *p) {
    char key[16];

    if (!p->n_logit_bias) return;
    mr_write_key(w, "logit_bias");
    mr_write_map(w);
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        snprintf(key, sizeof key, "%d", p->logit_bias[i].token);
        mr_write_f32_field(w, key, p->logit_bias[i].bias);
    }
    mr_write_end(w);
}

static void write_params(mr_writer *w, const mr_params *p) {
    mr_write_key(w, "params");
    mr_write_map(w);
    if (p->max_tokens) mr_write_u64_field(w, "max_tokens", p->max_tokens);
    if (p->temperature != 1) mr_write_f32_field(w, "temperature", p->temperature);
    if (p->top_p != 1) mr_write_f32_field(w, "top_p", p->top_p);
    if (p->min_p != 0) mr_write_f32_field(w, "min_p", p->min_p);
    if (p->top_k) mr_write_i64_field(w, "top_k", p->top_k);
    if (p->repetition_penalty != 1)
        mr_write_f32_field(w, "repetition_penalty", p->repetition_penalty);
    if (p->frequency_penalty != 0) mr_write_f32_field(w, "frequency_penalty", p->frequency_penalty);
    if (p->presence_penalty != 0) mr_write_f32_field(w, "presence_penalty", p->presence_penalty);
    if (p->has_seed) mr_write_u64_field(w, "seed", p->seed);
    write_stops(w, p);
    write_logit_bias(w, p);
    if (p->logprobs) mr_write_bool_field(w, "logprobs", true);
    if (p->top_logprobs) mr_write_i64_field(w, "top_logprobs", p->top_logprobs);
    if (p->ignore_eos) mr_write_bool_field(w, "ignore_eos", true);
    mr_write_end(w);
}

static void write_callback(mr_writer *w, const mr_callback *c) {
    if (!c->url) return;
    mr_write_key(w, "callback");
    mr_write_map(w);
    mr_write_text_field(w, "url", c->url);
    if (c->secret_id) mr_write_text_field(w, "secret_id", c->secret_id);
    if (c->n_events) {
        mr_write_key(w, "events");
        mr_write_list(w, c->n_events);
        for (size_t i = 0; i < c->n_events; i++)
            mr_write_text(w, c->events[i], strlen(c->events[i]));
        mr_write_end(w);
    }
    mr_write_end(w);
}

/* usual: the priority of a job that names none. */
static void write_job(mr_writer *w, const mr_job_spec *j, mr_priority usual) {
    mr_write_map(w);
    mr_write_text_field(w, "job_id", j->job_id);
    if (j->model && j->model[0]) mr_write_text_field(w, "model", j->model);
    if (j->tenant && strcmp(j->tenant, DEFAULT_TENANT) != 0)
        mr_write_text_field(w, "tenant", j->tenant);
    write_input(w, j);
    write_params(w, &j->params);
    if (!j->stream) mr_write_bool_field(w, "stream", false);
    if (j->priority != usual)
        mr_write_text_field(w, "priority", mr_priority_name(j->priority));
    if (j->deadline_ms) mr_write_u64_field(w, "deadline_ms", j->deadline_ms);
    if (j->max_attempts) mr_write_u64_field(w, "max_attempts", j->max_attempts);
    if (j->not_before_ms) mr_write_u64_field(w, "not_before_ms", j->not_before_ms);
    if (j->idempotency_key) mr_write_text_field(w, "idempotency_key", j->idempotency_key);
    if (j->replay_of[0]) mr_write_text_field(w, "replay_of", j->replay_of);
    write_callback(w, &j->callback);
    mr_write_pairs_field(w, "metadata", j->metadata, j->n_metadata);
}

static void write_outside_job(mr_writer *w, const void *object) {
    write_job(w, object, OUTSIDE_PRIORITY);
    mr_write_end(w);
}

/* At most MR_JOB_MAX_REASON bytes, no half character. */
static void write_reason(mr_writer *w, const char *message) {
    size_t n = strnlen(message, MR_JOB_MAX_REASON + 1);

    if (n > MR_JOB_MAX_REASON)
        for (n = MR_JOB_MAX_REASON; n > 0 && (message[n] & 0xc0) == 0x80; n--) {
        }
    mr_write_key(w, "message");
    mr_write_text(w, message, n);
}

/* The newest MR_JOB_MAX_HISTORY attempts. */
static void write_history(mr_writer *w, const mr_job_spec *j) {
    const size_t n = j->n_history < MR_JOB_MAX_HISTORY ? j->n_history : MR_JOB_MAX_HISTORY;
    const mr_past *past = j->history + (j->n_history - n);

    if (!n) return;
    mr_write_key(w, "history");
    mr_write_list(w, n);
    for (size_t i = 0; i < n; i++) {
        mr_write_map(w);
        mr_write_u64_field(w, "attempt", past[i].attempt);
        mr_write_text_field(w, "outcome", mr_attempt_outcome_name(past[i].outcome));
        mr_write_text_field(w, "worker", past[i].worker);
        write_reason(w, past[i].message);
        mr_write_u64_field(w, "time_ms", past[i].time_ms);
        mr_write_end(w);
    }
    mr_write_end(w);
}

static void write_internal_job(mr_writer *w, const void *object) {
    const mr_job_spec *j = object;

    write_job(w, j, MR_PRIORITY_NORMAL);
    mr_write_u64_field(w, "attempt", j->attempt);
    mr_write_u64_field(w, "received_ms", j->received_ms);
    mr_write_u64_field(w, "expires_ms", j->expires_ms);
    mr_write_text_field(w, "reply_format", format_names[j->reply_format]);
    if (j->tries) mr_write_u64_field(w, "tries", j->tries);
    if (j->backoffs) mr_write_u64_field(w, "backoffs", j->backoffs);
    if (j->due_ms) mr_write_u64_field(w, "due_ms", j->due_ms);
    if (j->charged) mr_write_u64_field(w, "charged", j->charged);
    if (j->wasted_tokens) mr_write_u64_field(w, "wasted_tokens", j->wasted_tokens);
    if (j->need_tokens) mr_write_u64_field(w, "need_tokens", j->need_tokens);
    if (j->key_held) mr_write_bool_field(w, "key_held", true);
    write_history(w, j);
    mr_write_end(w);
}

mr_status mr_codec_job_encode(const mr_job_spec *j, mr_format f, bool internal, mr_arena *arena,
                              const void **bytes, size_t *n) {
    return mr_write_record(internal ? write_internal_job : write_outside_job, j, f, arena, bytes,
                           n);
}
