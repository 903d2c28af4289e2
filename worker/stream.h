/* stream.h - token frames and the status `running` to Redis, as the job is generated.
 *
 * A lane per slot. It first claims the job's stream: an atomic script makes this worker its only
 * writer (an earlier one that wakes up is refused) and returns what is there, so that the job goes
 * on behind it. Frames are not copied: the lane knows how far Redis has confirmed, and asks for the
 * frames behind that whenever it can write; so after an outage the stream is completed from the
 * job's own memory, and a stream that Redis lost is begun again, after a `restart` frame.
 *
 * Losing Redis costs live streaming, never a result. Owner: caller. Thread: loop. */
#ifndef MR_WORKER_STREAM_H
#define MR_WORKER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "worker/takeover.h"

/* How long the result of a job waits for the confirmation of its last frames. */
#define MR_STREAM_LINGER_MS 500
/* How long the start of a job waits for its claim; then it starts from its prompt, and the lane
 * claims when Redis is back. */
#define MR_STREAM_CLAIM_MS 500

typedef struct mr_stream mr_stream;

typedef struct mr_stream_frame { /* one token of a job, borrowed until the callback returns */
    int32_t token;
    const char *text;
    size_t text_len;
} mr_stream_frame;

typedef struct mr_stream_conf {
    const char *redis_url;
    const char *client_name;
    const char *prefix; /* keys are <prefix>:{job}... */
    const char *worker, *model;
    uint64_t ttl_ms;
    uint64_t claim_ms, linger_ms; /* 0: MR_STREAM_CLAIM_MS, MR_STREAM_LINGER_MS */
    int64_t max_frames;           /* MAXLEN of a stream */
    uint32_t n_slots, n_vocab;
    void *owner;
    /* Answers mr_stream_begin, once, never inside it, unless the slot's stream is ended or dropped
     * before. t is borrowed until the callback returns. Without a claim: attempt of the spec, no
     * tokens, no restart; when it comes later, what is there is compared with what the job makes.
     */
    void (*on_claimed)(void *owner, uint32_t slot, const mr_takeover *t);
    /* Token `index` of the slot's job; index is below what mr_stream_advance said. */
    void (*frame)(void *owner, uint32_t slot, uint64_t index, mr_stream_frame *out);
    /* The stream of a slot that mr_stream_end left open has come to its end. */
    void (*on_closed)(void *owner, uint32_t slot, bool degraded);
} mr_stream_conf;

typedef struct mr_stream_stats {
    uint64_t frames, frames_dropped, calls, errors, claims, takeovers, restarts, fenced;
    size_t lag_frames; /* made, not confirmed */
    bool up;
} mr_stream_stats;

mr_status mr_stream_open(mr_stream **out, uv_loop_t *loop, const mr_stream_conf *conf, mr_err *err);
void mr_stream_set_ttl(mr_stream *s, uint64_t ttl_ms); /* from the next call on */
/* The job of this slot is about to run; ran_before: elsewhere already, see offsets.h. max_tokens:
 * of its answer. A job that does not stream is only shown as running. */
void mr_stream_begin(mr_stream *s, uint32_t slot, const mr_job_spec *spec, bool ran_before,
                     uint32_t max_tokens);
/* What was taken over does not match what this worker makes of it: start the stream again. */
void mr_stream_restart(mr_stream *s, uint32_t slot, const char *why);
/* The job has n_tokens tokens now; sent with the next mr_stream_flush. */
void mr_stream_advance(mr_stream *s, uint32_t slot, uint64_t n_tokens);
/* Send what is new: one call per job. */
void mr_stream_flush(mr_stream *s);
/* Number of the attempt whose frames the lane writes: goes into the result. A stream that is lost
 * gets a new one, so ask when it has come to its end; valid until the slot's next begin. */
uint32_t mr_stream_attempt(const mr_stream *s, uint32_t slot);
/* No further frame. True: all is confirmed, or the rest was given up; *degraded says which. False:
 * on_closed will tell, within MR_STREAM_LINGER_MS. */
bool mr_stream_end(mr_stream *s, uint32_t slot, bool *degraded);
/* Forget the slot's stream. What is new is sent first, if Redis is up: the next owner of the job
 * goes on behind it. */
void mr_stream_drop(mr_stream *s, uint32_t slot);
mr_stream_stats mr_stream_get_stats(const mr_stream *s);
/* Open streams are forgotten; handles close on the loop. NULL is allowed. */
void mr_stream_close(mr_stream *s);

#endif
