/* headers.c - see headers.h. Source: CloudEvents 1.0.2, Kafka protocol binding, binary mode. */
#include "schemas/headers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/trace.h"
#include "schemas/codec.h"

static void add(mr_result_headers *h, const char *name, const char *value) {
    MR_CHECK(h->n < MR_RESULT_HEADERS);
    h->list[h->n++] = (mr_kafka_header){name, value, strlen(value)};
}

void mr_result_headers_init(mr_result_headers *h, const mr_result *r, mr_format format,
                            const char *source, const mr_trace *trace) {
    h->n = 0;
    snprintf(h->type, sizeof h->type, "millrace.result.%s", mr_job_status_name(r->status));
    snprintf(h->source, sizeof h->source, "/millrace/%s", source);
    mr_time_text(h->time, r->finished_ms);
    memcpy(h->id, r->job_id, sizeof h->id);
    add(h, "content-type", mr_format_content_type(format));
    add(h, "ce_specversion", "1.0");
    add(h, "ce_id", h->id);
    add(h, "ce_type", h->type);
    add(h, "ce_source", h->source);
    add(h, "ce_time", h->time);
    if (mr_callback_write(h->callback, &r->callback)) add(h, MR_HEADER_CALLBACK, h->callback);
    MR_CHECK(h->n + MR_TRACE_HEADERS <= MR_RESULT_HEADERS);
    if (trace) h->n += mr_trace_headers(trace, h->list + h->n);
}

void mr_result_headers_charge(mr_result_headers *h, mr_priority lane, uint32_t tokens) {
    if (!tokens) return;
    snprintf(h->charged, sizeof h->charged, "%s %" PRIu32, mr_priority_name(lane), tokens);
    add(h, MR_HEADER_CHARGED, h->charged);
}

void mr_trace_of(mr_trace *out, const mr_kafka_msg *m, mr_arena *arena) {
    mr_trace_context t;
    size_t len = 0;
    const void *text = mr_kafka_msg_header(m, "traceparent", &len);

    *out = (mr_trace){.parent = ""};
    if (!mr_trace_read(&t, text, len)) return; /* then tracestate means nothing */
    mr_trace_write(out->parent, &t);
    text = mr_kafka_msg_header(m, "tracestate", &len);
    len = mr_trace_state_fit(text, len);
    if (len) out->state = mr_arena_copy(arena, text, len);
}

size_t mr_trace_headers(const mr_trace *t, mr_kafka_header *list) {
    size_t n = 0;
    if (t->parent[0]) list[n++] = (mr_kafka_header){"traceparent", t->parent, strlen(t->parent)};
    if (t->state) list[n++] = (mr_kafka_header){"tracestate", t->state, strlen(t->state)};
    return n;
}

bool mr_charged_read(const void *value, size_t len, mr_priority *lane, uint32_t *tokens) {
    const char *text = value, *blank = value ? memchr(value, ' ', len) : NULL;
    uint64_t sum = 0;
    int found = MR_PRIORITY_N;

    if (!blank || blank + 1 == text + len) return false;
    for (int i = 0; i < MR_PRIORITY_N; i++) {
        const char *name = mr_priority_name((mr_priority)i);
        if (strlen(name) == (size_t)(blank - text) && !memcmp(name, text, strlen(name))) found = i;
    }
    for (const char *c = blank + 1; c < text + len; c++) {
        if (*c < '0' || *c > '9') return false;
        sum = sum * 10 + (uint64_t)(*c - '0');
        if (sum > UINT32_MAX) return false;
    }
    if (found == MR_PRIORITY_N) return false;
    *lane = (mr_priority)found;
    *tokens = (uint32_t)sum;
    return true;
}
