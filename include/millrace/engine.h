/* engine.h - the one door between the worker and the model.
 *
 * The caller owns the handle from mr_engine_open() to mr_engine_close(). Thread: after open every
 * call comes from one thread, except those on the const mr_tokenizer. The engine does not schedule:
 * the caller says which sequences take part in a step and with how many tokens; sequences, steps
 * and their order never change what a sequence generates. */
#ifndef MILLRACE_ENGINE_H
#define MILLRACE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_MAX_TOP_LOGPROBS 20
#define MR_MAX_STOP_TOKENS 16
#define MR_MAX_LOGIT_BIAS 300

typedef struct mr_engine mr_engine;
struct mr_tokenizer;
struct mr_template;
struct mr_model;

typedef struct mr_engine_options {
    const char *model_path;
    int n_threads;         /* 0: one per core */
    uint32_t n_ctx;        /* longest sequence in tokens; 0: the model's own, at most 8192 */
    uint32_t kv_tokens;    /* room of the KV cache, all sequences; 0: max_seqs of n_ctx, at most 65536,
                            * on a GPU at most what fits */
    uint32_t max_seqs;     /* 0: 32 */
    uint32_t max_step_tokens; /* rows of one step, prompt chunks and single tokens; 0: 512 */
    const char *isa;       /* NULL: best of this machine; "ref", "avx2", "avxvnni", "avx512",
                            * "amx" */
    const char *device;    /* NULL or "auto": GPUs if there are some and isa is NULL, as few as hold the
                            * model; what they do not hold stays on the processor. "cpu", "cuda",
                            * "cuda:1", "cuda:0,1": those alone, unless gpu_layers says otherwise */
    uint32_t gpu_layers;   /* the model's last so many go to GPUs, the others to the processor; 0: as
                            * device says */
    uint32_t tensor_parallel; /* so many GPUs share each layer, the first ones or those that device names;
                            * 0, 1: none does. Needs a build with NCCL */
    const char *gpu_quant; /* NULL or "none": the layers' matrices have the file's type; "fp8": they and
                            * their inputs become e4m3 on GPUs, for half of F16's memory: other results */
    float gpu_memory;      /* part of a GPU's free memory to take; 0: 0.9 */
    uint64_t swap_bytes;   /* host memory for sequences that are parked, where a GPU computes; 0: none */
    const char *chat_template; /* NULL: recognise */
    const char *kv_type;   /* of keys and values in the cache: NULL or "f16"; "q8_0", a little more than
                            * half the memory */
    const char *repack_cache; /* folder that keeps the weights as the processor's kernels want them, for
                               * the next open; NULL or "": none */
    bool no_prefix_cache;  /* keep nothing of what ended sequences have computed */
    bool host_sampling;    /* a GPU's logits come back, and tokens are drawn here: the same ones */
    bool no_graphs;        /* a GPU's decode steps go to it kernel by kernel */
    bool not_reproducible; /* on a GPU, F16, BF16 and FP8 products go to cuBLASLt where that is measured
                            * to be faster: a sequence's tokens then depend on its company */
} mr_engine_options;

typedef struct mr_logit_bias { int32_t token; float bias; } mr_logit_bias;

typedef struct mr_sampling { /* zeroed: greedy, no penalties */
    float temperature;        /* 0: greedy */
    int32_t top_k;            /* 0: off */
    float top_p;              /* 0 or >= 1: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 0 or 1: off; over prompt and output, as in CTRL (Keskar 2019) */
    float frequency_penalty, presence_penalty; /* over the output, as in OpenAI's API */
    uint64_t seed;            /* with the token index the key of the counter-based generator */
    bool logprobs;            /* of the chosen token, from the raw distribution */
    int n_top_logprobs;       /* 0..MR_MAX_TOP_LOGPROBS */
    const mr_logit_bias *bias; /* copied by add */
    size_t n_bias;            /* <= MR_MAX_LOGIT_BIAS */
    bool ban_eog;             /* ignore_eos: end-of-generation tokens are never chosen */
} mr_sampling;

typedef struct mr_engine_item { /* one sequence's part of a step */
    uint32_t seq;
    uint32_t n_tokens; /* 1..pending(seq); fewer than pending: a chunk of the prompt */
} mr_engine_item;

typedef struct mr_top_logprob { int32_t token; float logprob; } mr_top_logprob;

#define MR_ENGINE_SPOILED (-2) /* token of an item whose logits are not finite; see step */

typedef struct mr_engine_out { /* answer to item i; token -1: the prompt is not through yet */
    int32_t token;
    float logprob;
    int n_top;
    mr_top_logprob top[MR_MAX_TOP_LOGPROBS]; /* descending */
} mr_engine_out;

/* Map the weights and reserve all memory for the run. On failure *out is NULL; MR_EUNAVAIL: the
 * device that was named is not there, or failed, and why. */
mr_status mr_engine_open(mr_engine **out, const mr_engine_options *opt, mr_err *err);
void mr_engine_close(mr_engine *e); /* NULL is allowed */

const struct mr_tokenizer *mr_engine_tokenizer(const mr_engine *e);
/* NULL: the file's template is missing or unknown; *why (may be NULL) gets the reason. */
const struct mr_template *mr_engine_template(const mr_engine *e, const char **why);
const struct mr_model *mr_engine_model(const mr_engine *e);
uint32_t mr_engine_n_ctx(const mr_engine *e);
uint32_t mr_engine_n_vocab(const mr_engine *e);
uint32_t mr_engine_max_seqs(const mr_engine *e);
uint32_t mr_engine_max_step_tokens(const mr_engine *e);
/* Kernels at work: one of the above, "cuda", "amx+cuda". */
const char *mr_engine_isa(const mr_engine *e);
/* Where it computes: "cpu", "cuda:0 NVIDIA ...", "cpu (layers 0-3) + cuda:0 ... (layers 4-27)".
 * *why (may be NULL): why no GPU was taken where one was looked for; else NULL. */
const char *mr_engine_device(const mr_engine *e, const char **why);
/* The (first) GPU's place on the PCI bus, "00000000:1b:00.0"; NULL: it computes on the processor. */
const char *mr_engine_pci(const mr_engine *e);
int mr_engine_n_threads(const mr_engine *e);
const char *mr_engine_kv_type(const mr_engine *e);
size_t mr_engine_kv_bytes(const mr_engine *e);

/* Start a sequence. tokens[n] is copied; nothing is computed yet. n_generated: how many of the last
 * tokens were generated before (a continued job): sampling goes on at that index. MR_ELIMIT: max_seqs in
 * use, or no KV blocks for n + max_new tokens: they are set aside now, so a step never runs out.
 * MR_EINVAL: n is 0, n + max_new beyond n_ctx or the whole KV cache, a token out of range, a bad
 * parameter (named). max_new 0: the prompt is computed and nothing sampled. MR_ENOMEM: the device has
 * no memory now. MR_EUNAVAIL: the device is lost, see step.
 * salt: what other sequences with the same salt have computed of the same beginning is taken over
 * instead of computed again (whole blocks, never the last token); the results are the same. Give
 * those who must not learn of each other's prompts, by timing, different salts. */
mr_status mr_engine_add(mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                        size_t max_new, uint64_t salt, const mr_sampling *sampling,
                        uint32_t *seq_out, mr_err *err);
/* Frees slot and blocks at once; what was computed may stay known until its room is needed. */
void mr_engine_drop(mr_engine *e, uint32_t seq);
/* Drops the sequence, and keeps what it has computed in host memory. False: no room there, to compute
 * it again is cheaper, or the processor computes: nothing has happened. The tokens are the caller's
 * to keep, as far as they were collected; *parked is for unpark or forget, once. */
bool mr_engine_park(mr_engine *e, uint32_t seq, int32_t *parked);
/* seq was added with at least the tokens that the parked one had, and no step since: it goes on
 * behind what was computed of them. */
void mr_engine_unpark(mr_engine *e, uint32_t seq, int32_t parked);
void mr_engine_forget(mr_engine *e, int32_t parked);
/* Tokens not yet computed: the rest of the prompt, or 1 after each sampled token. */
uint32_t mr_engine_pending(const mr_engine *e, uint32_t seq);
/* Of its tokens at add: taken over from the cache. */
uint32_t mr_engine_cached(const mr_engine *e, uint32_t seq);
uint32_t mr_engine_kv_blocks_free(const mr_engine *e); /* known ones that nobody holds included */
uint32_t mr_engine_kv_blocks_total(const mr_engine *e);
uint32_t mr_engine_block_len(const mr_engine *e);
uint32_t mr_engine_blocks_for(const mr_engine *e, size_t n_tokens);

/* One forward pass over items[n] (each sequence once; sum of n_tokens <= max_step_tokens); outs[n].
 * A sampled token is appended to its sequence and is its next pending token, unless the reserved
 * max_new is used up. No malloc. MR_EINTERNAL: logits are not finite; the items they belong to have
 * token MR_ENGINE_SPOILED, no sequence has moved: drop those and step again with the rest. MR_ENOMEM:
 * no memory for a step of this size, no sequence has moved: try a smaller one. MR_EUNAVAIL: the device
 * is lost to this process; no sequence has moved, every later step and add says the same, and nothing
 * is left but to drop and close. */
mr_status mr_engine_step(mr_engine *e, const mr_engine_item *items, size_t n, mr_engine_out *outs,
                         mr_err *err);

/* The same in two parts, where a device draws the tokens (overlaps): the next step is submitted
 * while the one before is under way, at most two at a time, with sequences whose pending token only the
 * device knows. submit moves the sequences: pending counts as if the step were done. MR_ELIMIT: two
 * are under way, or the device has no room for what this step's parameters ask of it: collect, then
 * step. collect waits for the oldest one; outs has the items' order, *n_out is 0 if none is under
 * way. A sequence may be dropped meanwhile; its token comes all the same. Token MR_ENGINE_SPOILED:
 * drop that sequence, whatever it has under way; the others are not concerned. */
bool mr_engine_overlaps(const mr_engine *e);
mr_status mr_engine_submit(mr_engine *e, const mr_engine_item *items, size_t n, mr_err *err);
mr_status mr_engine_collect(mr_engine *e, mr_engine_out *outs, size_t *n_out, mr_err *err);
/* Of the passes that drew tokens on a device so far, by its own clock: at work; and with nothing to
 * do between one and the next. */
void mr_engine_device_times(const mr_engine *e, double *busy_ms, double *idle_ms);

/* Raw f32 logits, before any sampling change, of the last row that sequence computed: [n_vocab],
 * borrowed until the next step. NULL: none in the last step, or a device drew the token
 * (host_sampling, and it does not). */
const float *mr_engine_logits(const mr_engine *e, uint32_t seq);
/* Every later step calls fn for every row that it computes, prompt rows included (needs the head for
 * each: slow). */
typedef void mr_engine_on_row(void *owner, uint32_t seq, uint32_t position, const float *logits);
void mr_engine_watch_rows(mr_engine *e, mr_engine_on_row *fn, void *owner);

#endif
