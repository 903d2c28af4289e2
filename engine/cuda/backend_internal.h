/* backend_internal.h - what the files of the backend share: backend.c, its life, steps.c, the steps
 * of a layer and the head, and pass.c, how a pass begins and what becomes of the tokens it draws.
 */
#ifndef MR_ENGINE_CUDA_BACKEND_INTERNAL_H
#define MR_ENGINE_CUDA_BACKEND_INTERNAL_H

#include "engine/cuda/backend.h"
#include "engine/cuda/draws.h"
#include "engine/cuda/plan.h"
#include "engine/cuda/recordings.h"

#define MR_GPU_HEAD_ROWS 64u /* of logits, at a time */
#define MR_GPU_STAGES    2u
#define MR_GPU_TICKETS   2u
#define MR_GPU_TIMED     4u

typedef struct mr_gpu {
    mr_backend base;
    mr_device *d;
    const mr_model *m;
    mr_dev_weights weights;
    mr_plan plan;
    mr_layers layers; /* of the model, that it has */
    mr_gpu_quant quant;
    mr_kv_type kv_type;
    void *work, *cache, *logits_host; /* cache: keys, then values, of its layers */
    void *stages[MR_GPU_STAGES];      /* lists of a pass */
    void *swap;                       /* host */
    float *hand;                      /* host: [max_rows, n_embd]; NULL: it is last */
    mr_drawn *answers;                /* [MR_GPU_TICKETS, max_head], on the host */
    mr_row *padded;                   /* [max_head] */
    mr_draws_list draws;
    mr_recordings recordings;
    uint32_t n_blocks, max_head;
    uint32_t rank, n_ranks; /* see mr_room */

    /* In work; rows as in cpu/backend.c, padded. */
    float *x, *h, *q, *att, *k, *v, *gate, *up, *cos, *sin, *top, *logits, *records;
    float *parts;                 /* [n_ranks, rows, n_embd]: of a sum for x; alone: NULL */
    mr_dev_xblock *narrow, *wide; /* inputs rounded for quantized weights; wide: [n_ff] */
    uint16_t *halves;             /* inputs rounded to half_type, for the library */
    uint8_t *codes;               /* inputs rounded to e4m3, likewise */
    float *code_scales;           /* [max_rows] */
    void *workspace;              /* the library's */
    mr_type half_type;
    bool has_library;
    void *plan_device;
    mr_drawn *drawn; /* [max_head] */
    int32_t *latest; /* [max_head + 1]: of each sequence; of padding rows */
    int32_t spare;   /* a block of the cache that no sequence has */

    /* The pass at work. */
    uint32_t n; /* live rows */
    int which;  /* of the plan's runs */
    mr_asks asks;
    uint32_t turn, n_items; /* of the stages; that attention is started for */
    mr_recording *kind;     /* of the pass, if it may be recorded */
    bool may_record, recording;

    /* Passes that drew: pass i has marks i % MR_GPU_TIMED. */
    uint64_t n_drew, last_of[MR_GPU_TICKETS];
    bool follows[MR_GPU_TIMED]; /* the pass before it drew, too */
} mr_gpu;

static inline mr_gpu *mr_gpu_of(mr_backend *b) {
    return (mr_gpu *)b; /* its first member */
}

static inline uint32_t mr_gpu_n_layers(const mr_gpu *g) {
    return g->layers.end - g->layers.first;
}

/* Bytes of x of n rows. */
static inline size_t mr_gpu_x_bytes(const mr_gpu *g, uint32_t n_rows) {
    return sizeof(float) * n_rows * g->m->hp.n_embd;
}

/* Where its part of a sum for x lies among those of all ranks. */
static inline float *mr_gpu_part(const mr_gpu *g) {
    return g->parts + (size_t)g->rank * g->n * g->m->hp.n_embd;
}

/* Embeddings of the pass's rows, if it has the first layer, and their angles. */
void mr_gpu_embed(const mr_gpu *g);
/* x += all ranks' parts, which are there. */
void mr_gpu_total(const mr_gpu *g);
/* Logits, as head has it, on their way to the host. */
void mr_gpu_send_head(const mr_gpu *g, uint32_t first, uint32_t n, float *logits);

/* The steps, backend.h. steps.c: */
void mr_gpu_qkv(mr_backend *b, uint32_t layer);
void mr_gpu_rotate(mr_backend *b, uint32_t layer);
void mr_gpu_keep_wanted(mr_backend *b);
void mr_gpu_attend(mr_backend *b, uint32_t layer);
void mr_gpu_attn_out(mr_backend *b, uint32_t layer);
void mr_gpu_gate_up(mr_backend *b, uint32_t layer);
void mr_gpu_down(mr_backend *b, uint32_t layer);
mr_status mr_gpu_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err);
void mr_gpu_draw(mr_backend *b);
/* pass.c: */
mr_status mr_gpu_begin(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err);
mr_status mr_gpu_hand_out(mr_backend *b, const float **x, mr_err *err);
void mr_gpu_hand_in(mr_backend *b, const float *x);
void mr_gpu_ask(mr_backend *b, const mr_asks *asks);
bool mr_gpu_replay(mr_backend *b);
bool mr_gpu_finish(mr_backend *b);
mr_status mr_gpu_collect(mr_backend *b, uint32_t ticket, mr_engine_out *outs, uint32_t n,
                         mr_err *err);

#endif
