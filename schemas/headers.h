/* headers.h - Kafka headers of a result: content type and CloudEvents 1.0 in binary mode. */
#ifndef MR_SCHEMAS_HEADERS_H
#define MR_SCHEMAS_HEADERS_H

#include "base/kafka.h"
#include "millrace/job.h"

#define MR_RESULT_HEADERS 7

typedef struct mr_result_headers {
    mr_kafka_header list[MR_RESULT_HEADERS];
    size_t n;
    char type[48], source[192], time[32], id[MR_JOB_ID_LEN + 1];
} mr_result_headers;

/* source: worker id or "dispatcher". traceparent "" or NULL: none. Pointers go into h itself, into
 * traceparent and into static text: send before they are gone, and do not copy h. */
void mr_result_headers_init(mr_result_headers *h, const mr_result *r, mr_format format,
                            const char *source, const char *traceparent);

#endif
