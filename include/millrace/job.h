/* job.h - what travels: a job, its parameters, its result, a frame, a heartbeat.
 *
 * Plain data. All pointers point into the arena that decoded or built the value, and live as long
 * as it. Text is UTF-8, terminated, and free of zero bytes unless a length stands beside it. */
#ifndef MILLRACE_JOB_H
#define MILLRACE_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MR_JOB_ID_LEN 36
#define MR_JOB_MAX_BYTES (1u << 20) /* one record, encoded (Kafka's default message limit) */
#define MR_JOB_MAX_NAME 64          /* bytes of model, tenant, secret id */
#define MR_JOB_MAX_URL 2048
#define MR_JOB_MAX_EVENTS 5          /* one per terminal status */
#define MR_JOB_MAX_MESSAGES 256
#define MR_JOB_MAX_INPUT_TOKENS 131072
#define MR_JOB_MAX_NEW_TOKENS 131072
#define MR_JOB_MAX_STOPS 16
#define MR_JOB_MAX_STOP_BYTES 256
#define MR_JOB_MAX_STOP_TOKENS 16
#define MR_JOB_MAX_LOGIT_BIAS 300
#define MR_JOB_MAX_TOP_LOGPROBS 20
#define MR_JOB_MAX_METADATA 16
#define MR_JOB_MAX_METADATA_KEY 64
#define MR_JOB_MAX_METADATA_VALUE 512
#define MR_JOB_MAX_DEADLINE_MS (7ull * 24 * 3600 * 1000)
#define MR_JOB_MAX_ATTEMPTS 20
#define MR_JOB_MAX_NOT_BEFORE_MS (30ull * 24 * 3600 * 1000) /* ahead of now */
#define MR_JOB_MAX_KEY 128      /* bytes of an idempotency key */
#define MR_JOB_MAX_HISTORY 32   /* past attempts that travel with a job; then the oldest goes */
#define MR_JOB_MAX_REASON 200   /* bytes of a past attempt's message */
#define MR_JOB_TRACEPARENT 55   /* bytes of a traceparent */

typedef enum mr_format { MR_FORMAT_JSON, MR_FORMAT_MSGPACK } mr_format;
typedef enum mr_priority { MR_PRIORITY_HIGH, MR_PRIORITY_NORMAL, MR_PRIORITY_LOW, MR_PRIORITY_N } mr_priority;
typedef enum mr_input_kind { MR_INPUT_MESSAGES, MR_INPUT_PROMPT, MR_INPUT_TOKENS } mr_input_kind;

typedef struct mr_message {
    const char *role;
    const char *content;
    size_t content_len;
} mr_message;

typedef struct mr_pair {
    const char *key, *value;
} mr_pair;

typedef struct mr_bias {
    int32_t token;
    float bias;
} mr_bias;

typedef struct mr_params { /* OpenAI's names and defaults, but temperature 1 -> see codec.h */
    uint32_t max_tokens; /* 0: what the worker's setting default_max_tokens says */
    float temperature, top_p, min_p;
    int32_t top_k;
    float repetition_penalty, frequency_penalty, presence_penalty;
    bool has_seed;
    uint64_t seed; /* absent: derived from the job id, so a retry gives the same text */
    const char *const *stop;
    size_t n_stop;
    const int32_t *stop_token_ids;
    size_t n_stop_token_ids;
    const mr_bias *logit_bias;
    size_t n_logit_bias;
    bool logprobs;
    int top_logprobs;
    bool ignore_eos;
} mr_params;

typedef struct mr_trace { /* W3C trace context; it travels in headers, beside the record */
    char parent[MR_JOB_TRACEPARENT + 1]; /* traceparent; "": none; frames have it, too */
    const char *state;                   /* tracestate; NULL: none */
} mr_trace;

typedef struct mr_callback {
    const char *url; /* NULL: none */
    const char *secret_id;
    const char *const *events;
    size_t n_events;
} mr_callback;

/* How an attempt ended that did not end its job. */
typedef enum mr_attempt_outcome {
    MR_ATTEMPT_DRAINED, /* the worker was asked to stop, and drain_ms was over */
    MR_ATTEMPT_REVOKED, /* the job's partition went to another worker */
    MR_ATTEMPT_STOPPED, /* the worker ends at once: a second signal, or it cannot go on */
    MR_ATTEMPT_FAULT,   /* the engine failed; uses up an attempt */
    MR_ATTEMPT_OOM,     /* no memory for it now; uses up none */
    MR_ATTEMPT_NO_FIT   /* more tokens than this worker can ever hold; uses up none */
} mr_attempt_outcome;

typedef struct mr_past { /* one attempt of a job that came back */
    uint32_t attempt;
    unsigned outcome; /* mr_attempt_outcome, FAULT and below */
    const char *worker;
    const char *message; /* one line */
    uint64_t time_ms;    /* wall clock */
} mr_past;

typedef struct mr_job_spec {
    char job_id[MR_JOB_ID_LEN + 1];
    const char *model;  /* "": the only or default one */
    const char *tenant; /* "default" when absent */
    mr_input_kind input;
    const mr_message *messages;
    size_t n_messages;
    const char *prompt;
    size_t prompt_len;
    const int32_t *tokens;
    size_t n_tokens;
    mr_params params;
    bool stream;           /* default true */
    mr_priority priority;  /* default normal; the lane topic has the last word */
    uint64_t deadline_ms;  /* after the record's Kafka timestamp; 0: none */
    uint32_t max_attempts; /* 0: the setting */
    uint64_t not_before_ms; /* wall clock; 0: at once */
    const char *idempotency_key; /* NULL: none; with the tenant it names one job */
    char replay_of[MR_JOB_ID_LEN + 1]; /* the job that this one repeats; "": none */
    mr_callback callback;
    const mr_pair *metadata;
    size_t n_metadata;
    mr_trace trace; /* of who submits it; "": see docs/TRACING.md */

    /* Added by the dispatcher; refused from outside. */
    mr_format reply_format; /* how the producer spoke */
    uint32_t attempt;       /* 1.. */
    uint64_t received_ms;   /* wall clock, Kafka timestamp of the record */
    uint64_t expires_ms;    /* wall clock; 0: never */
    uint32_t tries;         /* attempts used up */
    uint32_t backoffs;      /* times that it came back for want of memory */
    uint64_t due_ms;        /* wall clock: not to be released earlier; 0: at once */
    uint32_t charged;       /* tokens that its tenant was charged at its release */
    uint32_t wasted_tokens; /* computed again so far, by later attempts and after preemptions */
    uint32_t need_tokens;   /* of context and KV cache, as a worker counted them; 0: not known */
    bool key_held;          /* idempotency_key is in the index for this job */
    const mr_past *history; /* oldest first */
    size_t n_history;
} mr_job_spec;

typedef enum mr_job_status {
    MR_STATUS_SUCCEEDED, MR_STATUS_FAILED, MR_STATUS_REJECTED, MR_STATUS_CANCELLED, MR_STATUS_EXPIRED
} mr_job_status;

typedef struct mr_job_error {
    const char *code;    /* machine-readable: "unknown_field", "context_exceeded", ... NULL: no error */
    const char *field;   /* "params.temperature"; "" when none */
    const char *message; /* one line: field, limit, value */
    uint64_t retry_after_ms; /* 0: it makes no sense to come back, or none is known */
} mr_job_error;

typedef struct mr_token_logprob {
    int32_t token;
    const char *text; /* UTF-8; half characters as U+FFFD */
    float logprob;
    const struct mr_token_logprob *top; /* of each, top is NULL */
    size_t n_top;
} mr_token_logprob;

typedef struct mr_result { /* the one terminal record of a job */
    char job_id[MR_JOB_ID_LEN + 1];
    const char *model, *tenant;
    mr_job_status status;
    const char *finish_reason; /* "stop", "length", "cancelled", "expired"; "" when never started */
    const char *text;
    size_t text_len;
    uint32_t prompt_tokens, completion_tokens, cached_tokens;
    uint32_t wasted_tokens; /* computed again after preemptions and by later attempts */
    const mr_token_logprob *logprobs; /* [n_logprobs], NULL when not asked for */
    size_t n_logprobs;
    mr_job_error error;
    const char *duplicate_of; /* job id that has the same idempotency key; NULL: none */
    uint32_t attempt;
    uint32_t tries;       /* attempts used up, this one included */
    uint32_t preemptions; /* times that a more important job took its seat */
    const char *worker;
    bool stream_degraded; /* the live stream missed frames; this text is whole */
    uint64_t received_ms, finished_ms;          /* wall clock */
    uint32_t queue_ms, prefill_ms, decode_ms, first_token_ms; /* durations; first_token from received */
    const mr_pair *metadata;
    size_t n_metadata;
    mr_callback callback; /* of the job; it travels in a header, beside the record */
} mr_result;

typedef enum mr_frame_type { MR_FRAME_TOKEN, MR_FRAME_DONE, MR_FRAME_RESTART } mr_frame_type;

typedef struct mr_frame { /* one entry of a token stream; its Redis ID is <attempt>-<index> */
    mr_frame_type type;
    char job_id[MR_JOB_ID_LEN + 1];
    uint32_t attempt;
    uint64_t index; /* of the token; of done: number of tokens */
    int32_t token;  /* TOKEN */
    const char *text;
    size_t text_len; /* may be 0: held back until a character or stop string is decided */
    mr_job_status status;      /* DONE */
    const char *finish_reason; /* DONE */
    mr_job_error error;        /* DONE */
    const char *traceparent;   /* of the job; NULL: it has none */
} mr_frame;

typedef struct mr_heartbeat { /* record of millrace.workers, key: worker id */
    const char *worker, *model;
    uint64_t sent_ms;
    bool leaving; /* last one of an orderly stop */
    const struct mr_heartbeat_part {
        int32_t partition;
        int64_t position; /* next offset of the work topic that the worker will take */
    } *parts;
    size_t n_parts;
    uint32_t free_slots, max_slots, running, waiting;
    uint64_t kv_tokens_free, kv_tokens_total;
    uint32_t n_ctx;
    uint32_t displaceable; /* running jobs that would make room for a high one */
    float pressure; /* 0..1: share of its slots that it does not use for want of memory */
    float tokens_per_s;
    const uint64_t *prefixes; /* [n_prefixes] digests of beginnings in the prefix cache, see prefix.h */
    size_t n_prefixes;
} mr_heartbeat;

/* Jobs that a worker takes beyond its slots, so that a seat that becomes free is filled in the very
 * next step also when jobs are short: their marks are under way meanwhile. What lies behind them stays
 * in Kafka, where the dispatcher counts it as not taken; unless a job of lane high is among it, which
 * may take a seat from another: then all before it come in, too, as far as there are slots. */
#define MR_WORKER_AHEAD(max_slots) (2 + (max_slots) / 8)

#define MR_HEARTBEAT_MAX_PREFIXES 64
#define MR_BEAT_MAX_MODELS  64
#define MR_BEAT_MAX_TENANTS 32

typedef struct mr_beat_lane {
    uint64_t waiting;        /* in the window */
    uint64_t unread;         /* behind it in Kafka, as of some seconds ago */
    uint64_t queued, left;   /* since the start: entered the window; left it, however */
    float per_s;             /* jobs that left it, over the last minute */
} mr_beat_lane;

typedef struct mr_beat { /* record of millrace.dispatchers, key: dispatcher id */
    const char *dispatcher;
    uint64_t sent_ms;
    bool leaving;
    mr_beat_lane lanes[MR_PRIORITY_N];
    uint64_t delayed; /* jobs held until they are due */
    uint64_t paused_parts, parts; /* ingress partitions */
    const struct mr_beat_model {
        const char *name;
        uint64_t waiting;
    } *models; /* with waiting jobs */
    size_t n_models;
    const struct mr_beat_tenant {
        const char *name;
        uint64_t waiting;
        uint32_t weight;
        float tokens_per_s; /* charged over the last minute */
        bool limited;       /* held back by its rate now */
    } *tenants; /* those with most tokens or waiting jobs */
    size_t n_tenants;
} mr_beat;

typedef struct mr_attempt { /* a note in millrace.attempts, key: job id; the job is not over */
    char job_id[MR_JOB_ID_LEN + 1];
    uint32_t attempt;
    unsigned outcome; /* mr_attempt_outcome */
    const char *worker, *model;
    uint32_t completion_tokens; /* made by this attempt */
    uint64_t time_ms;           /* wall clock */
} mr_attempt;

MR_API const char *mr_priority_name(mr_priority p);
MR_API const char *mr_job_status_name(mr_job_status s);
MR_API const char *mr_attempt_outcome_name(unsigned outcome);

#ifdef __cplusplus
}
#endif
#endif
