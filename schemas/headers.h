/* headers.h - Kafka headers of a result: content type, CloudEvents 1.0 in binary mode, and for the
 * dispatchers what its tenant was charged. */
#ifndef MR_SCHEMAS_HEADERS_H
#define MR_SCHEMAS_HEADERS_H

#include "base/kafka.h"
#include "millrace/job.h"

#define MR_RESULT_HEADERS 8
#define MR_HEADER_CHARGED "millrace-charged" /* "<lane> <tokens>" */

typedef struct mr_result_headers {
    mr_kafka_header list[MR_RESULT_HEADERS];
    size_t n;
    char type[48], source[192], time[32], id[MR_JOB_ID_LEN + 1];
    char charged[24];
} mr_result_headers;

/* source: worker id or "dispatcher". traceparent "" or NULL: none. Pointers go into h itself, into
 * traceparent and into static text: send before they are gone, and do not copy h. */
void mr_result_headers_init(mr_result_headers *h, const mr_result *r, mr_format format,
                            const char *source, const char *traceparent);
/* Adds MR_HEADER_CHARGED, once; nothing when tokens is 0: the job was never released. */
void mr_result_headers_charge(mr_result_headers *h, mr_priority lane, uint32_t tokens);
/* Reads its value[len]; false: it is not there (NULL) or not of this form. */
bool mr_charged_read(const void *value, size_t len, mr_priority *lane, uint32_t *tokens);

#endif
