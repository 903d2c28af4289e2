/* synth.h - models with random weights and a working vocabulary, for benchmarks and tests.
 *
 * Speed and memory of a model depend on its shapes and types, not on what it has learned; so a
 * benchmark of a known model needs no download. The same shape, type and seed give the same
 * bytes on every machine. Thread: any. */
#ifndef MR_ENGINE_SYNTH_H
#define MR_ENGINE_SYNTH_H

#include "engine/model.h"

typedef enum mr_synth_vocab {               /* what stands in tokenizer.ggml.* */
                              MR_SYNTH_SPM, /* "llama": SentencePiece with scores and byte tokens */
                              MR_SYNTH_BPE_QWEN2, /* "gpt2", pre "qwen2" */
                              MR_SYNTH_BPE_LLAMA3 /* "gpt2", pre "llama-bpe" */
} mr_synth_vocab;

typedef struct mr_synth_shape {
    const char *name;
    mr_arch arch;
    uint32_t n_layer, n_embd, n_ff, n_head, n_kv_head, d_head, n_vocab, n_ctx;
    float rope_base, rms_eps;
    float rope_factor; /* llama3's scaling as rope_freqs.weight; 0: none */
    bool tied;
    mr_synth_vocab vocab;
} mr_synth_shape;

typedef struct mr_synth_options {
    const mr_synth_shape *shape;
    const char *type; /* one of mr_synth_types */
    uint64_t seed;
    const char *path;
    /* Called now and then; false ends the work with MR_ECANCELED and no file. NULL: silent. */
    bool (*on_progress)(void *owner, uint64_t bytes, uint64_t total_bytes);
    void *owner;
} mr_synth_options;

extern const char *const mr_synth_types[]; /* "f32", ..., "q4_k_m"; NULL-terminated */
/* Shapes of known models and "tiny"; NULL behind the last. */
const mr_synth_shape *mr_synth_shape_at(size_t i);

/* A known name, or "custom:key=value,..." with the keys arch, layers, embd, ff, heads, kv_heads,
 * head_dim, vocab, ctx, rope_base, tied, tokenizer (spm, qwen2, llama-bpe); what is not given is as
 * in "tiny". MR_EINVAL: unknown name or key, or a value out of range, named in err. */
mr_status mr_synth_shape_parse(mr_synth_shape *out, const char *text, mr_err *err);

/* Writes the file (replacing one that is there) and nothing on failure. *bytes: its size. */
mr_status mr_synth_write(const mr_synth_options *opt, uint64_t *bytes, mr_err *err);

#endif
