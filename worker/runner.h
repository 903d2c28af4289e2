/* runner.h - the engine thread: orders in through one queue, events out through another.
 *
 * Every mr_runner_start is answered by exactly one MR_EVENT_END, whatever happens in between; until
 * then the job's parameters are borrowed. The loop never waits for the engine: the inbox has room
 * for all that can be outstanding, so start and cancel cannot fail for want of room. The engine may
 * wait for the loop when the outbox is full.
 *
 * Owner: caller, open to close. Thread: all calls and callbacks on the loop; mr_runner_stats reads
 * what the engine thread last published. */
#ifndef MR_WORKER_RUNNER_H
#define MR_WORKER_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/histogram.h"
#include "millrace/job.h"

#define MR_EVENT_TEXT_BYTES 256 /* text of one event; more comes ahead of it */

struct mr_tokenizer;
struct mr_template;
typedef struct mr_runner mr_runner;

typedef struct mr_work { /* a job, as far as the engine thread needs it */
    uint32_t slot;
    const int32_t *tokens; /* [n_tokens] the prompt, at least one; copied */
    size_t n_tokens;
    const int32_t *taken; /* [n_taken] of the answer, made before: it goes on behind them. Copied.
                             Each is told once more, as a token with `taken` set and no logprob */
    size_t n_taken;
    uint32_t max_new; /* of the whole answer, n_taken included */
    const mr_params *params;
    uint64_t seed;
    uint64_t salt; /* jobs of equal salt share what they have computed of equal beginnings */
    mr_priority priority;
    uint64_t expires_ms; /* wall clock; 0: never */
    bool starts_line;    /* see mr_admit_starts_line */
} mr_work;

typedef enum mr_event_kind {
    MR_EVENT_READY,   /* the model is loaded (status, text: why not) */
    MR_EVENT_STARTED, /* the job has a sequence; index: tokens that were computed before */
    MR_EVENT_TEXT,    /* more text of the token that follows */
    MR_EVENT_TOKEN,
    MR_EVENT_DISPLACED, /* a more important job has its seat; it will go on behind `index` tokens */
    MR_EVENT_RESUMED,   /* it goes on; index: of its tokens, those that are not computed again */
    MR_EVENT_END,
    MR_EVENT_LOST, /* the device is gone (text): no job goes on here; stop the runner */
    MR_EVENT_STOPPED, /* the last one: the thread is about to return */
} mr_event_kind;

typedef enum mr_end { /* why a job's generation ended */
    MR_END_STOP,      /* end of generation, stop token or stop string */
    MR_END_LENGTH,
    MR_END_CANCELLED,
    MR_END_EXPIRED,
    MR_END_REFUSED, /* the engine does not take such a job; text says why */
    MR_END_FAILED,  /* a step failed; text says why */
    MR_END_NO_MEMORY, /* not even alone and piece by piece; text says for what */
} mr_end;

typedef struct mr_event_top {
    int32_t token;
    float logprob;
} mr_event_top;

typedef struct mr_event {
    mr_event_kind kind;
    uint32_t slot;
    uint64_t at_ms; /* monotonic */
    mr_end end;
    mr_status status; /* READY */
    int32_t token;
    uint32_t index; /* of the token in the answer */
    bool taken;     /* it was taken over, not made here */
    float logprob;
    uint32_t n_top;
    mr_event_top top[MR_JOB_MAX_TOP_LOGPROBS];
    uint32_t text_len;
    char text[MR_EVENT_TEXT_BYTES];
} mr_event;

typedef struct mr_runner_conf {
    const char *model_path;
    const char *chat_template; /* "auto" */
    const char *isa;           /* "auto" */
    const char *device;        /* "auto" */
    const char *kv_type;       /* NULL: "f16" */
    uint32_t gpu_layers;       /* see engine.h */
    uint32_t tensor_parallel;  /* see engine.h */
    uint64_t swap_bytes;       /* see engine.h */
    const char *gpu_quant;     /* "none" */
    const char *repack_cache;  /* NULL or "": none */
    float gpu_memory;          /* part of the GPU's free memory to take */
    bool host_sampling, no_graphs, not_reproducible; /* as in mr_engine_options */
    int n_threads;
    uint32_t n_ctx, kv_tokens, max_jobs, max_step_tokens;
    uint32_t max_preemptions; /* times that one job may be displaced */
    uint32_t n_slots; /* mr_work.slot is below it */
    void *owner;
    void (*on_event)(void *owner, const mr_event *ev);
    void (*on_idle)(void *owner); /* the outbox has been emptied: time to flush */
} mr_runner_conf;

typedef struct mr_runner_model { /* valid from MR_EVENT_READY until close */
    const char *isa, *tokenizer_kind, *chat_name, *chat_missing;
    const char *device, *no_gpu; /* no_gpu: why the processor, where a GPU was looked for; or NULL */
    const char *pci; /* of the GPU; NULL: none */
    uint64_t n_params, weight_bytes;
    const char *kv_type;
    size_t kv_bytes;
    uint64_t kv_tokens;
    uint32_t n_ctx, n_vocab;
    int n_threads;
    const struct mr_tokenizer *tokenizer;
    const struct mr_template *chat; /* NULL: chat_missing says why */
} mr_runner_model;

typedef struct mr_runner_stats {
    uint32_t running, waiting, blocked;
    uint32_t limit;        /* jobs that may run at one time, for want of memory; see pressure.h */
    uint32_t displaceable; /* seats that a job of lane high could have at once */
    uint64_t ooms, preemptions;
    uint64_t swaps; /* of the preemptions, those whose cache was kept in host memory */
    uint64_t kv_tokens_free;
    uint64_t steps, step_errors, prompt_tokens, generated_tokens, step_us;
    uint64_t prefix_queries, prefix_hits; /* tokens of sequences that began; those known of them */
    uint64_t step_began_ms; /* monotonic; 0: no step under way */
} mr_runner_stats;

/* Starts the thread, which loads the model and answers with MR_EVENT_READY. MR_EINVAL:
 * max_step_tokens leaves no room for prompts beside max_jobs. */
mr_status mr_runner_open(mr_runner **out, uv_loop_t *loop, const mr_runner_conf *conf, mr_err *err);
const mr_runner_model *mr_runner_get_model(const mr_runner *r);
mr_runner_stats mr_runner_get_stats(mr_runner *r);
typedef struct mr_runner_histograms { /* of steps that were made; written by the engine thread */
    mr_histogram tokens, took;
} mr_runner_histograms;
const mr_runner_histograms *mr_runner_get_histograms(const mr_runner *r); /* borrowed until close */

/* MR_ENOMEM: nothing was started, no event will come. */
mr_status mr_runner_start(mr_runner *r, const mr_work *w, mr_err *err);
/* The job of this slot ends within one step; it may have ended already. */
void mr_runner_cancel(mr_runner *r, uint32_t slot);
/* No further orders; what runs is dropped after the current step, its MR_EVENT_END comes, then
 * MR_EVENT_STOPPED. May repeat. */
void mr_runner_stop(mr_runner *r);
/* After MR_EVENT_STOPPED: joins and frees; the wake-up handle closes on the loop. NULL is allowed.
 */
void mr_runner_close(mr_runner *r);

#endif
