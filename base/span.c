/* span.c - see span.h. Writing never allocates: what does not fit is not written at all, so a
 * caller appends spans to a buffer until one is refused. */
#include "base/span.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "millrace/error.h"

#define SCHEMA_URL "https://opentelemetry.io/schemas/1.37.0" /* which names attributes have */
enum { STATUS_ERROR = 2, NUMBER_MAX = 24, WHICH_MAX = 512, JOB_ID_MAX = 64 };

/* ---- who it is ---- */

bool mr_span_job_init(mr_span_job *j, const char *traceparent, const char *state,
                      const char *job_id) {
    *j = (mr_span_job){.state = state, .id = job_id};
    return mr_trace_read(&j->trace, traceparent, strlen(traceparent)) &&
           (j->trace.flags & MR_TRACE_SAMPLED);
}

void mr_span_init_job(mr_trace_span *s, const mr_span_job *j) {
    *s = (mr_trace_span){.job = j, .kind = MR_SPAN_INTERNAL};
    mr_trace_job_span(s->id, &j->trace, j->id);
    memcpy(s->parent, j->trace.parent_id, sizeof s->parent);
    s->root = memcmp(s->id, s->parent, sizeof s->id) == 0;
}

void mr_span_init(mr_trace_span *s, const mr_span_job *j, const char *which) {
    char name[WHICH_MAX + JOB_ID_MAX + 2];

    *s = (mr_trace_span){.job = j, .kind = MR_SPAN_INTERNAL};
    snprintf(name, sizeof name, "%.*s/%.*s", JOB_ID_MAX, j->id, WHICH_MAX, which);
    mr_trace_span_id(s->id, &j->trace, name);
    mr_trace_job_span(s->parent, &j->trace, j->id);
}

/* ---- what it says ---- */

static mr_span_attr *add(mr_trace_span *s, const char *key) {
    MR_CHECK(s->n_attrs < MR_SPAN_ATTRS);
    mr_span_attr *a = &s->attrs[s->n_attrs++];
    *a = (mr_span_attr){.key = key};
    return a;
}

void mr_span_text(mr_trace_span *s, const char *key, const char *text) {
    if (text && text[0]) add(s, key)->text = text;
}

void mr_span_list(mr_trace_span *s, const char *key, const char *text) {
    if (!text || !text[0]) return;
    mr_span_attr *a = add(s, key);
    a->text = text;
    a->list = true;
}

void mr_span_number(mr_trace_span *s, const char *key, int64_t number) {
    add(s, key)->number = number;
}

void mr_span_happened(mr_trace_span *s, const char *name, uint64_t at_ms) {
    if (s->n_events < MR_SPAN_EVENTS) s->events[s->n_events++] = (mr_span_event){name, at_ms};
}

/* ---- writing ---- */

typedef struct out {
    char *buf;
    size_t cap, len;
    bool full; /* something did not fit */
} out;

static void put(out *o, const char *bytes, size_t n) {
    if (n > o->cap - o->len) o->full = true;
    if (o->full) return;
    memcpy(o->buf + o->len, bytes, n);
    o->len += n;
}

static void put_text(out *o, const char *text) {
    put(o, text, strlen(text));
}

static void put_number(out *o, uint64_t n, const char *behind) {
    char text[NUMBER_MAX];
    snprintf(text, sizeof text, "%" PRIu64, n);
    put_text(o, text);
    put_text(o, behind);
}

/* What is not ASCII passes: names are UTF-8 where they come from. */
static void put_string(out *o, const char *text) {
    put_text(o, "\"");
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        char escape[8];
        if (c >= 0x20 && c != '"' && c != '\\') {
            put(o, text, 1);
        } else {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put_text(o, escape);
        }
    }
    put_text(o, "\"");
}

static void put_id(out *o, const char *before, const uint8_t *id, size_t n) {
    char hex[2 * MR_TRACE_ID + 1];
    mr_trace_hex(hex, id, n);
    put_text(o, before);
    put_text(o, hex);
    put_text(o, "\"");
}

static void put_time(out *o, const char *before, uint64_t ms) {
    put_text(o, before);
    put_number(o, ms, "000000\"");
}

static void put_text_value(out *o, const char *text) {
    put_text(o, "{\"stringValue\":");
    put_string(o, text);
    put_text(o, "}");
}

static void put_attr(out *o, const mr_span_attr *a) {
    char number[NUMBER_MAX];

    put_text(o, "{\"key\":");
    put_string(o, a->key);
    put_text(o, ",\"value\":");
    if (a->list) put_text(o, "{\"arrayValue\":{\"values\":[");
    if (a->text) {
        put_text_value(o, a->text);
    } else {
        snprintf(number, sizeof number, "%" PRId64, a->number);
        put_text(o, "{\"intValue\":\"");
        put_text(o, number);
        put_text(o, "\"}");
    }
    put_text(o, a->list ? "]}}}" : "}");
}

static void put_events(out *o, const mr_trace_span *s) {
    put_text(o, ",\"events\":[");
    for (size_t i = 0; i < s->n_events; i++) {
        put_time(o, i ? ",{\"timeUnixNano\":\"" : "{\"timeUnixNano\":\"", s->events[i].at_ms);
        put_text(o, ",\"name\":");
        put_string(o, s->events[i].name);
        put_text(o, "}");
    }
    put_text(o, "]");
}

static void put_status(out *o, const mr_trace_span *s) {
    put_text(o, ",\"status\":{\"code\":");
    put_number(o, STATUS_ERROR, ",\"message\":");
    put_string(o, s->error);
    put_text(o, "}");
}

size_t mr_span_write(const mr_trace_span *s, char *buf, size_t cap) {
    out o = {.buf = buf, .cap = cap};
    const uint64_t end_ms = s->end_ms > s->start_ms ? s->end_ms : s->start_ms;

    put_id(&o, "{\"traceId\":\"", s->job->trace.trace_id, MR_TRACE_ID);
    put_id(&o, ",\"spanId\":\"", s->id, MR_SPAN_ID);
    if (!s->root) put_id(&o, ",\"parentSpanId\":\"", s->parent, MR_SPAN_ID);
    if (s->job->state) {
        put_text(&o, ",\"traceState\":");
        put_string(&o, s->job->state);
    }
    put_text(&o, ",\"flags\":");
    put_number(&o, s->job->trace.flags, ",\"name\":");
    put_string(&o, s->name);
    put_text(&o, ",\"kind\":");
    put_number(&o, s->kind, "");
    put_time(&o, ",\"startTimeUnixNano\":\"", s->start_ms);
    put_time(&o, ",\"endTimeUnixNano\":\"", end_ms);
    put_text(&o, ",\"attributes\":[");
    for (size_t i = 0; i < s->n_attrs; i++) {
        if (i) put_text(&o, ",");
        put_attr(&o, &s->attrs[i]);
    }
    put_text(&o, "]");
    if (s->n_events) put_events(&o, s);
    if (s->error) put_status(&o, s);
    put_text(&o, "}");
    return o.full ? 0 : o.len;
}

size_t mr_span_head(char *buf, size_t cap, const char *service, const char *instance,
                    const char *version) {
    const mr_span_attr attrs[] = {{.key = "service.name", .text = service},
                                  {.key = "service.instance.id", .text = instance},
                                  {.key = "service.version", .text = version}};
    out o = {.buf = buf, .cap = cap - 1};

    put_text(&o, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    for (size_t i = 0; i < MR_COUNT(attrs); i++) {
        if (i) put_text(&o, ",");
        put_attr(&o, &attrs[i]);
    }
    put_text(&o, "]},\"schemaUrl\":\"" SCHEMA_URL "\",\"scopeSpans\":[{\"scope\":{\"name\":"
                 "\"millrace\"},\"spans\":[");
    buf[o.len] = '\0';
    return o.full ? 0 : o.len;
}
