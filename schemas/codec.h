/* codec.h - msgpack and JSON <-> job.h. Refuses what breaks a limit, and says which.
 *
 * Decoders take bytes from outside: nesting <= 16, counts checked against the bytes that remain,
 * duplicate keys, trailing bytes, non-finite numbers and invalid UTF-8 refused before a value is
 * built. Everything decoded lives in the given arena. Pure; any thread. */
#ifndef MR_SCHEMAS_CODEC_H
#define MR_SCHEMAS_CODEC_H

#include "base/arena.h"
#include "millrace/job.h"

/* Why a decode failed, ready for a terminal record. */
typedef struct mr_codec_error {
    char code[32];     /* "malformed", "unknown_field", "missing_field", "bad_type", "out_of_range",
                          "too_long", "too_many", "duplicate_field", "unsupported", "conflict",
                          "no_memory" (the arena's limit) */
    char field[128];   /* "params.top_p", "input.messages[3].role" */
    char message[512]; /* one line; never a prompt's text */
    bool has_job_id;   /* the job could be identified, so a terminal record can be sent; else dead
                          letter */
    char job_id[MR_JOB_ID_LEN + 1];
    char tenant[MR_JOB_MAX_NAME + 1];
    char model[MR_JOB_MAX_NAME + 1];
    mr_format format;
} mr_codec_error;

/* "application/json" (parameters ignored), "application/msgpack", "application/x-msgpack",
 * "application/vnd.msgpack". NULL/empty: by the first byte ('{' or blank: JSON, else msgpack).
 * False: another type. */
bool mr_format_of(const char *content_type, size_t len, const void *bytes, size_t n,
                  mr_format *out);
const char *mr_format_content_type(mr_format f);

/* Everything absent: temperature 1, top_p 1, stream true, priority normal, tenant "default"; no job
 * id, no input. */
void mr_codec_job_defaults(mr_job_spec *j);

/* internal: of the fields that dispatchers and workers add, attempt, received_ms, expires_ms and
 * reply_format are required, the others have the defaults of a job that has not run; else they are
 * refused as unknown, and a job without priority has the highest: its topic lowers it. A job
 * without job_id gets the error missing_field: clients make it. How far not_before_ms may be ahead
 * is the caller's to check, who has a clock. why may be NULL. MR_EINVAL, MR_EUNSUPPORTED or
 * MR_ENOMEM; then *out is undefined. */
mr_status mr_codec_job_decode(mr_job_spec *out, mr_format f, const void *bytes, size_t n,
                              bool internal, mr_arena *arena, mr_codec_error *why);
/* Of a longer history the newest MR_JOB_MAX_HISTORY attempts are written, their messages cut to
 * MR_JOB_MAX_REASON bytes. */
mr_status mr_codec_job_encode(const mr_job_spec *j, mr_format f, bool internal, mr_arena *arena,
                              const void **bytes, size_t *n);

/* Parameters from the body of an OpenAI chat/completions or completions request (one line of a
 * batch file): messages or prompt, model, parameters; into a spec whose ids the caller fills. */
mr_status mr_codec_openai_decode(mr_job_spec *out, const char *url, const void *json, size_t n,
                                 mr_arena *arena, mr_codec_error *why);

mr_status mr_codec_result_encode(const mr_result *r, mr_format f, mr_arena *arena,
                                 const void **bytes, size_t *n);
mr_status mr_codec_result_decode(mr_result *out, mr_format f, const void *bytes, size_t n,
                                 mr_arena *arena, mr_err *err);
/* Frames, heartbeats and control records are JSON. encode into buf, terminated: *n as snprintf,
 * MR_ELIMIT when cap is too small. Decoders skip fields they do not know: the writer may be newer;
 * a frame's malformed traceparent counts as not there. */
mr_status mr_codec_frame_encode(const mr_frame *fr, char *buf, size_t cap, size_t *n);
mr_status mr_codec_frame_decode(mr_frame *out, const void *bytes, size_t n, mr_arena *arena,
                                mr_err *err);
mr_status mr_codec_heartbeat_encode(const mr_heartbeat *h, mr_arena *arena, const void **bytes,
                                    size_t *n);
mr_status mr_codec_heartbeat_decode(mr_heartbeat *out, const void *bytes, size_t n, mr_arena *arena,
                                    mr_err *err);
/* Notes only (DRAINED, REVOKED, STOPPED): a job that comes back is an internal job record. */
mr_status mr_codec_attempt_encode(const mr_attempt *a, mr_arena *arena, const void **bytes,
                                  size_t *n);
mr_status mr_codec_attempt_decode(mr_attempt *out, const void *bytes, size_t n, mr_arena *arena,
                                  mr_err *err);
mr_status mr_codec_beat_encode(const mr_beat *b, mr_arena *arena, const void **bytes, size_t *n);
mr_status mr_codec_beat_decode(mr_beat *out, const void *bytes, size_t n, mr_arena *arena,
                               mr_err *err);
/* The index record of an idempotency key, {"job_id","time_ms"}: which job has it, since when. */
mr_status mr_codec_key_encode(const char *job_id, uint64_t time_ms, mr_arena *arena,
                              const void **bytes, size_t *n);
mr_status mr_codec_key_decode(char job_id[MR_JOB_ID_LEN + 1], uint64_t *time_ms, const void *bytes,
                              size_t n, mr_arena *arena, mr_err *err);
/* {"type":"cancel","job_id":"..."} */
mr_status mr_codec_cancel_encode(const char *job_id, mr_arena *arena, const void **bytes,
                                 size_t *n);
mr_status mr_codec_cancel_decode(char job_id[MR_JOB_ID_LEN + 1], const void *bytes, size_t n,
                                 mr_err *err);

/* Longest payload of a dead letter: in base64, with the rest, it must fit a record of 1 MiB. Who
 * writes one cuts the payload and says so in the message. */
#define MR_DEAD_MAX_PAYLOAD (512u << 10)

/* A record of millrace.dead: {"cause","message","origin":{"topic","partition","offset"},"job_id"?,
 * "replay"?,"time_ms","payload_b64"}. With "replay" it is no dead letter but the note that the one
 * at its origin was submitted again as that job. */
typedef struct mr_dead {
    const char *cause, *message, *topic;
    int32_t partition;
    int64_t offset;
    uint64_t time_ms;
    const char *job_id; /* NULL: unknown */
    const char *replay; /* NULL: a dead letter */
    const void *payload;
    size_t payload_len;
} mr_dead;
mr_status mr_codec_dead_encode(const mr_dead *d, mr_arena *arena, const void **bytes, size_t *n);
mr_status mr_codec_dead_decode(mr_dead *out, const void *bytes, size_t n, mr_arena *arena,
                               mr_err *err);

/* Nearest of names[n] to word (Damerau-Levenshtein <= max(2, len/3)), or NULL. */
const char *mr_nearest(const char *word, const char *const *names, size_t n);

#endif
