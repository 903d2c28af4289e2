/* codec_webhook.c - see webhook.h: what is owed, what became of it, and the callback as a header.
 * Pure. */
#include "schemas/webhook.h"

#include <stdio.h>
#include <string.h>

#include "schemas/codec_records.h"

static const char *const outcome_names[] = {"delivered", "failed", "dead", NULL};

const char *mr_delivery_outcome_name(unsigned outcome) {
    return outcome <= MR_DELIVERY_DEAD ? outcome_names[outcome] : "unknown";
}

/* ---- what is owed ---- */

#define AT(member) .offset = offsetof(mr_webhook, member)

static const mr_field webhook_fields[] = {
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED, AT(job_id)},
    {.name = "event",
     .kind = MR_FIELD_ENUM,
     .flags = MR_FIELD_REQUIRED,
     .names = mr_status_names,
     AT(status)},
    {.name = "tenant", .kind = MR_FIELD_TEXT, .hi = MR_JOB_MAX_NAME, AT(tenant)},
    {.name = "url",
     .kind = MR_FIELD_TEXT,
     .flags = MR_FIELD_REQUIRED,
     .lo = 1,
     .hi = MR_JOB_MAX_URL,
     AT(url)},
    {.name = "secret_id", .kind = MR_FIELD_TEXT, .hi = MR_JOB_MAX_NAME, AT(secret_id)},
    {.name = "body",
     .kind = MR_FIELD_BYTES,
     .flags = MR_FIELD_REQUIRED,
     .lo = 1,
     .hi = MR_WEBHOOK_MAX_BODY,
     AT(body),
     .offset_n = offsetof(mr_webhook, body_len)},
    {.name = "tries", .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(tries)},
    {.name = "put_off", .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(put_off)},
    {.name = "due_ms", .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(due_ms)},
    {.name = "created_ms", .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(created_ms)},
    {.name = "forced", .kind = MR_FIELD_BOOL, AT(forced)},
    {.name = NULL},
};

mr_status mr_codec_webhook_decode(mr_webhook *out, const void *bytes, size_t n, mr_arena *arena,
                                  mr_err *err) {
    mr_field_set set = {.fields = webhook_fields, .out = out};

    *out = (mr_webhook){.tenant = "", .url = "", .secret_id = "", .body = ""};
    return mr_record_read("webhook", MR_FORMAT_JSON, bytes, n, &set, arena, err);
}

static void write_webhook(mr_writer *w, const void *object) {
    const mr_webhook *h = object;

    mr_write_map(w);
    mr_write_text_field(w, "job_id", h->job_id);
    mr_write_text_field(w, "event", mr_job_status_name(h->status));
    mr_write_text_field(w, "tenant", h->tenant);
    mr_write_text_field(w, "url", h->url);
    if (h->secret_id[0]) mr_write_text_field(w, "secret_id", h->secret_id);
    mr_write_key(w, "body");
    mr_write_text(w, h->body, h->body_len);
    mr_write_u64_field(w, "tries", h->tries);
    if (h->put_off) mr_write_u64_field(w, "put_off", h->put_off);
    if (h->due_ms) mr_write_u64_field(w, "due_ms", h->due_ms);
    mr_write_u64_field(w, "created_ms", h->created_ms);
    if (h->forced) mr_write_bool_field(w, "forced", true);
    mr_write_end(w);
}

mr_status mr_codec_webhook_encode(const mr_webhook *w, mr_arena *arena, const void **bytes,
                                  size_t *n) {
    return mr_write_record(write_webhook, w, MR_FORMAT_JSON, arena, bytes, n);
}

/* ---- what became of it ---- */

#undef AT
#define AT(member) .offset = offsetof(mr_delivery, member)

static const mr_field delivery_fields[] = {
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED, AT(job_id)},
    {.name = "id", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(id)},
    {.name = "event",
     .kind = MR_FIELD_ENUM,
     .flags = MR_FIELD_REQUIRED,
     .names = mr_status_names,
     AT(event)},
    {.name = "tenant", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(tenant)},
    {.name = "host", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(host)},
    {.name = "outcome",
     .kind = MR_FIELD_ENUM,
     .flags = MR_FIELD_REQUIRED,
     .names = outcome_names,
     AT(outcome)},
    {.name = "tries", .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(tries)},
    {.name = "code", .kind = MR_FIELD_I32, .hi = INT32_MAX, AT(code)},
    {.name = "took_ms", .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(took_ms)},
    {.name = "why", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(why)},
    {.name = "time_ms", .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(time_ms)},
    {.name = "due_ms", .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(due_ms)},
    {.name = NULL},
};

mr_status mr_codec_delivery_decode(mr_delivery *out, const void *bytes, size_t n, mr_arena *arena,
                                   mr_err *err) {
    mr_field_set set = {.fields = delivery_fields, .out = out};

    *out = (mr_delivery){.id = "", .tenant = "", .host = "", .why = ""};
    return mr_record_read("delivery", MR_FORMAT_JSON, bytes, n, &set, arena, err);
}

static void write_delivery(mr_writer *w, const void *object) {
    const mr_delivery *d = object;

    mr_write_map(w);
    mr_write_text_field(w, "job_id", d->job_id);
    mr_write_text_field(w, "id", d->id);
    mr_write_text_field(w, "event", mr_job_status_name((mr_job_status)d->event));
    mr_write_text_field(w, "tenant", d->tenant);
    mr_write_text_field(w, "host", d->host);
    mr_write_text_field(w, "outcome", mr_delivery_outcome_name(d->outcome));
    mr_write_u64_field(w, "tries", d->tries);
    if (d->code) mr_write_i64_field(w, "code", d->code);
    mr_write_u64_field(w, "took_ms", d->took_ms);
    if (d->why[0]) mr_write_text_field(w, "why", d->why);
    mr_write_u64_field(w, "time_ms", d->time_ms);
    if (d->due_ms) mr_write_u64_field(w, "due_ms", d->due_ms);
    mr_write_end(w);
}

mr_status mr_codec_delivery_encode(const mr_delivery *d, mr_arena *arena, const void **bytes,
                                   size_t *n) {
    return mr_write_record(write_delivery, d, MR_FORMAT_JSON, arena, bytes, n);
}

/* ---- what is sent ---- */

typedef struct event {
    const mr_result *r;
    const char *topic;
    int32_t partition;
    int64_t offset;
    bool full;
} event;

static void write_place(mr_writer *w, const event *e) {
    mr_write_key(w, "result_at");
    mr_write_map(w);
    mr_write_text_field(w, "topic", e->topic);
    mr_write_i64_field(w, "partition", e->partition);
    mr_write_i64_field(w, "offset", e->offset);
    mr_write_end(w);
}

static void write_event(mr_writer *w, const void *object) {
    const event *e = object;
    const mr_result *r = e->r;
    char type[32], time[MR_TIME_TEXT];

    snprintf(type, sizeof type, "job.%s", mr_job_status_name(r->status));
    mr_time_text(time, r->finished_ms);
    mr_write_map(w);
    mr_write_text_field(w, "type", type);
    mr_write_text_field(w, "timestamp", time);
    mr_write_key(w, "data");
    mr_write_map(w);
    mr_write_text_field(w, "job_id", r->job_id);
    mr_write_text_field(w, "status", mr_job_status_name(r->status));
    mr_write_text_field(w, "model", r->model);
    mr_write_text_field(w, "tenant", r->tenant);
    mr_write_text_field(w, "finish_reason", r->finish_reason);
    mr_write_usage(w, r);
    mr_write_job_error(w, &r->error);
    mr_write_pairs_field(w, "metadata", r->metadata, r->n_metadata);
    write_place(w, e);
    if (e->full) {
        mr_write_key(w, "result");
        mr_write_result(w, r);
    }
    mr_write_end(w);
    mr_write_end(w);
}

mr_status mr_webhook_body(const mr_result *r, const char *topic, int32_t partition, int64_t offset,
                          bool full, mr_arena *arena, const char **body, size_t *n) {
    const event e = {r, topic, partition, offset, full};
    const void *bytes = NULL;

    const mr_status st = mr_write_record(write_event, &e, MR_FORMAT_JSON, arena, &bytes, n);
    *body = bytes;
    return st == MR_OK && *n > MR_WEBHOOK_MAX_BODY ? MR_ELIMIT : st;
}

/* ---- the header ---- */

size_t mr_callback_write(char out[MR_CALLBACK_TEXT], const mr_callback *c) {
    size_t n = 0;

    *out = 0;
    if (!c->url) return 0;
    for (size_t i = 0; i < c->n_events; i++)
        n += (size_t)snprintf(out + n, MR_CALLBACK_TEXT - n, "%s%s", i ? "," : "", c->events[i]);
    n += (size_t)snprintf(out + n, MR_CALLBACK_TEXT - n, "%s %s %s", c->n_events ? "" : "*", c->url,
                          c->secret_id ? c->secret_id : "");
    MR_CHECK(n < MR_CALLBACK_TEXT); /* the limits of a job's fields see to that */
    return n;
}

/* names: commas between them, cut in place. */
static bool read_events(mr_callback *out, char *names, mr_arena *arena) {
    const char **events;

    if (strcmp(names, "*") == 0) return true;
    if (!(events = mr_arena_calloc(arena, MR_JOB_MAX_EVENTS, sizeof *events))) return false;
    for (char *rest = names, *name; (name = strsep(&rest, ",")) != NULL;) {
        if (out->n_events == MR_JOB_MAX_EVENTS) return false;
        events[out->n_events++] = name;
    }
    out->events = events;
    return true;
}

bool mr_callback_read(mr_callback *out, const void *value, size_t len, mr_arena *arena) {
    *out = (mr_callback){.url = NULL};
    if (!value || len >= MR_CALLBACK_TEXT || memchr(value, 0, len)) return false;
    char *events = mr_arena_copy(arena, value, len);
    char *url = events ? strchr(events, ' ') : NULL;
    char *secret = url ? strchr(url + 1, ' ') : NULL;
    if (!secret || secret == url + 1) return false;
    *url++ = *secret++ = 0;
    if (!read_events(out, events, arena)) return false;
    out->url = url;
    out->secret_id = *secret ? secret : NULL;
    return true;
}

bool mr_callback_wants(const mr_callback *c, mr_job_status status) {
    for (size_t i = 0; i < c->n_events; i++)
        if (strcmp(c->events[i], mr_job_status_name(status)) == 0) return true;
    return c->url && c->n_events == 0;
}
