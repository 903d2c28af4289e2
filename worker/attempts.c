/* attempts.c - see attempts.h. */
#include "worker/attempts.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"
#include "schemas/headers.h"

#define NOTE_BYTES 65536 /* more than a record of bounded names needs */

void mr_attempts_note(mr_kafka_producer *p, const char *topic, const char *worker,
                      const char *model, const mr_job *j, mr_attempt_outcome outcome) {
    mr_kafka_header headers[1 + MR_TRACE_HEADERS] = {{"content-type", "application/json", 16}};
    const size_t n_headers = 1 + mr_trace_headers(&j->spec.trace, headers + 1);
    mr_attempt note = {.attempt = j->attempt,
                       .outcome = outcome,
                       .worker = worker,
                       .model = model,
                       .completion_tokens = j->n_generated,
                       .time_ms = mr_clock_wall_ms()};
    mr_arena arena;
    const void *bytes = NULL;
    size_t n = 0;
    mr_err err = {0};

    memcpy(note.job_id, j->spec.job_id, sizeof note.job_id);
    mr_arena_init(&arena, NOTE_BYTES);
    mr_status st = mr_codec_attempt_encode(&note, &arena, &bytes, &n);
    if (st == MR_OK)
        st = mr_kafka_send(p, topic, MR_KAFKA_ANY_PARTITION, note.job_id, strlen(note.job_id),
                           bytes, n, headers, n_headers, NULL, &err);
    mr_arena_drop(&arena);
    mr_log(MR_LOG_INFO, "attempts", "job handed back", "job=%s tokens=%u noted=%s", note.job_id,
           (unsigned)j->n_generated, mr_status_name(st));
}
