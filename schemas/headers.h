/* headers.h - Kafka headers of a result: content type, CloudEvents 1.0 in binary mode, and for the
 * dispatchers what its tenant was charged, and who is to hear of it; and those of every record about
 * a job: its trace. */
#ifndef MR_SCHEMAS_HEADERS_H
#define MR_SCHEMAS_HEADERS_H

#include "base/arena.h"
#include "base/kafka.h"
#include "millrace/job.h"
#include "schemas/codec_records.h"
#include "schemas/webhook.h"

#define MR_RESULT_HEADERS 10
#define MR_TRACE_HEADERS  2
#define MR_HEADER_CHARGED "millrace-charged" /* "<lane> <tokens>" */

typedef struct mr_result_headers {
    mr_kafka_header list[MR_RESULT_HEADERS];
    size_t n;
    char type[48], source[192], time[MR_TIME_TEXT], id[MR_JOB_ID_LEN + 1];
    char charged[24];
    char callback[MR_CALLBACK_TEXT];
} mr_result_headers;

/* source: worker id or "dispatcher". trace NULL: none. Pointers go into h itself, into trace and
 * into static text: send before they are gone, and do not copy h. */
void mr_result_headers_init(mr_result_headers *h, const mr_result *r, mr_format format,
                            const char *source, const mr_trace *trace);
/* Adds MR_HEADER_CHARGED, once; nothing when tokens is 0: the job was never released. */
void mr_result_headers_charge(mr_result_headers *h, mr_priority lane, uint32_t tokens);
/* The trace context of a record; what is malformed, or finds no memory, counts as not there. state
 * goes into the arena. */
void mr_trace_of(mr_trace *out, const mr_kafka_msg *m, mr_arena *arena);
/* Appends its headers to list, which borrows from t: 0..MR_TRACE_HEADERS, how many. */
size_t mr_trace_headers(const mr_trace *t, mr_kafka_header *list);

/* Reads the value[len] of MR_HEADER_CHARGED; false: it is not there (NULL) or not of this form. */
bool mr_charged_read(const void *value, size_t len, mr_priority *lane, uint32_t *tokens);

#endif
