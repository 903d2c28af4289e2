/* otlp.h - spans on their way to an OpenTelemetry collector, over HTTP as JSON.
 *
 * Spans are for people: nothing ever waits for them. They are written into one buffer while
 * another is on its way; what finds no room is dropped and counted. A collector that is away, slow
 * or refuses costs spans, and nothing else. Memory: two buffers of MR_OTLP_BYTES, taken as they
 * fill. Owner: caller. Thread: loop.
 * Source: OTLP 1.3, HTTP with JSON. */
#ifndef MR_BASE_OTLP_H
#define MR_BASE_OTLP_H

#include <uv.h>

#include "base/metric.h"
#include "base/span.h"
#include "millrace/error.h"

#define MR_OTLP_BYTES      (1u << 20) /* of a request, at most */
#define MR_OTLP_SPANS      2048       /* in a request, at most */
#define MR_OTLP_LINGER_MS  500        /* a span waits so long for others */
#define MR_OTLP_TIMEOUT_MS 10000      /* of a request */
#define MR_OTLP_TRIES      4          /* of a request, MR_OTLP_RETRY_MS apart and twice that, ... */
#define MR_OTLP_RETRY_MS   500
#define MR_OTLP_PAUSE_MS   30000 /* longest time between two tries, whatever the collector asks */
#define MR_OTLP_CLOSE_MS   1000  /* for what is left at the end */

typedef struct mr_otlp mr_otlp;

typedef struct mr_otlp_conf { /* all borrowed until open returns */
    const char *endpoint;     /* URL; /v1/traces is added, unless it ends with it */
    const char *headers;      /* "name=value;name=value"; "": none */
    const char *service;      /* service.name */
    const char *instance;     /* service.instance.id */
} mr_otlp_conf;

typedef struct mr_otlp_stats {
    uint64_t sent;    /* spans that the collector has taken */
    uint64_t dropped; /* that found no room, or that it did not take */
} mr_otlp_stats;

/* Rows of a table of metrics, over a member of this type in its view. */
#define MR_OTLP_ROWS(view, member)                                                                 \
    {.name = "spans_total",                                                                        \
     .kind = MR_METRIC_COUNTER,                                                                    \
     .labels = "state=\"sent\"",                                                                   \
     MR_METRIC_AT(view, member.sent),                                                              \
     .help = "Spans for the collector; dropped: it did not take them in time."},                   \
    {                                                                                              \
        .labels = "state=\"dropped\"", MR_METRIC_AT(view, member.dropped)                          \
    }

/* An empty endpoint: *out is NULL, and all calls below do nothing. */
mr_status mr_otlp_open(mr_otlp **out, uv_loop_t *loop, const mr_otlp_conf *conf, mr_err *err);
/* Takes a copy of all that it says, or drops it. */
void mr_otlp_add(mr_otlp *o, const mr_trace_span *s);
mr_otlp_stats mr_otlp_get_stats(const mr_otlp *o);
/* Sends what is left, for at most MR_OTLP_CLOSE_MS, and frees itself: on the loop, which ends
 * when that is done. */
void mr_otlp_close(mr_otlp *o);

#endif
