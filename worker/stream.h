/* stream.h - token frames and the status `running` to Redis, as the job is generated.
 *
 * Losing Redis costs live streaming, never a result: frames wait in a bounded buffer, and a stream
 * that could not be written whole is reported as degraded. Owner: caller. Thread: loop. */
#ifndef MR_WORKER_STREAM_H
#define MR_WORKER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "millrace/job.h"

/* How long the result of a job waits for the confirmation of its last frames. */
#define MR_STREAM_LINGER_MS 500

typedef struct mr_stream mr_stream;

typedef struct mr_stream_conf {
    const char *redis_url;
    const char *client_name;
    const char *prefix; /* keys are <prefix>:{job}... */
    const char *worker, *model;
    uint64_t ttl_ms;
    int64_t max_frames; /* MAXLEN of a stream */
    size_t buffer_bytes;
    uint32_t n_slots;
    void *owner;
    /* The stream of a slot that mr_stream_end left open has come to its end. */
    void (*on_closed)(void *owner, uint32_t slot, bool degraded);
} mr_stream_conf;

typedef struct mr_stream_stats {
    uint64_t frames, frames_dropped, calls, errors;
    size_t buffered_bytes;
    bool up;
} mr_stream_stats;

mr_status mr_stream_open(mr_stream **out, uv_loop_t *loop, const mr_stream_conf *conf, mr_err *err);
/* The job of this slot runs. Its id is copied; frames follow only when it streams. */
void mr_stream_begin(mr_stream *s, uint32_t slot, const mr_job_spec *spec);
/* The frame of its next token, held until mr_stream_flush. */
void mr_stream_token(mr_stream *s, uint32_t slot, uint64_t index, int32_t token, const char *text,
                     size_t len);
/* Send what is new: one call per job. */
void mr_stream_flush(mr_stream *s);
/* No further frame. True: all is confirmed, or the rest was given up; *degraded says which. False:
 * on_closed will tell, within MR_STREAM_LINGER_MS. */
bool mr_stream_end(mr_stream *s, uint32_t slot, bool *degraded);
/* Forget the slot's stream, silently. */
void mr_stream_drop(mr_stream *s, uint32_t slot);
mr_stream_stats mr_stream_get_stats(const mr_stream *s);
/* Open streams are forgotten; handles close on the loop. NULL is allowed. */
void mr_stream_close(mr_stream *s);

#endif
