/* engine_internal.h - what the files of the engine share: engine.c, its life; sequences.c; step.c, a
 * step at a time; flight.c, steps under way. */
#ifndef MR_ENGINE_INTERNAL_H
#define MR_ENGINE_INTERNAL_H

#include "engine/forward.h"
#include "engine/kv.h"
#include "engine/model.h"
#include "engine/places.h"
#include "engine/sample.h"
#include "engine/swap.h"
#include "engine/template.h"
#include "engine/tokenizer.h"
#include "millrace/engine.h"

#define MR_MAX_THREADS 256
#define MR_MAX_FLIGHTS 2 /* steps under way at one time */
#define MR_UNKNOWN     (-1)

typedef struct mr_seq {
    bool used, in_step;
    uint32_t n_prompt, n_tokens, n_done; /* not generated; known; in the cache */
    uint32_t n_left;                     /* tokens that may still be sampled */
    uint32_t n_blocks, n_found;          /* n_found: blocks that were in the cache at the start */
    uint64_t salt;
    uint64_t born;      /* tells it from others that had its place */
    int32_t logits_row; /* of the last step; -1: none */
    int32_t *tokens;    /* [n_ctx]; MR_UNKNOWN: only the device knows it yet */
    int32_t *table;     /* [blocks of n_ctx] */
    mr_sampling sampling;
    mr_logit_bias *bias; /* [MR_MAX_LOGIT_BIAS] */
} mr_seq;

typedef struct mr_wanted { /* a row whose logits are computed */
    uint32_t seq, pos;
    bool keep; /* last row of its sequence in this step */
} mr_wanted;

typedef struct mr_flight_part {     /* a sequence's part in a step under way */
    uint32_t seq, n_tokens, n_done; /* n_done: before it */
    uint64_t born;
    bool draws;
} mr_flight_part;

typedef struct mr_flight {
    mr_flight_part *parts; /* [max_seqs] */
    size_t n;
    uint32_t n_rows;
    uint64_t began_us;
} mr_flight;

struct mr_engine {
    mr_model *model;
    mr_tokenizer *tokenizer;
    const mr_template *tmpl;
    mr_err tmpl_err; /* why tmpl is NULL */
    const mr_ops *ops;
    mr_pool *pool;
    mr_places places;
    mr_err no_gpu; /* why there is none in it, where one would have been taken */
    mr_err lost;   /* MR_EUNAVAIL: the device, for good */
    mr_kv kv;
    mr_backend *backend;
    mr_swap swap;
    mr_gpu_quant quant;
    mr_sampler *samplers[MR_MAX_THREADS]; /* one per thread: pages that none needs stay untouched */
    int n_samplers;
    int32_t *eog;
    size_t n_eog;
    uint32_t n_ctx, n_vocab, kv_tokens, max_seqs, max_step_tokens;
    mr_kv_type kv_type;
    bool keeps_prefixes, host_sampling, no_graphs, not_reproducible;

    mr_seq *seqs; /* [max_seqs] */
    int32_t *tokens, *tables;
    mr_logit_bias *biases;

    float *logits;          /* [max_seqs, n_vocab], the backend's */
    mr_row *rows;           /* [rows of a pass] */
    mr_wanted *wanted;      /* [rows of a pass] */
    uint32_t *drawn;        /* [max_seqs] items of this step that get a token */
    mr_ask *asks;           /* [max_seqs] */
    mr_engine_out *answers; /* [max_seqs] */

    mr_flight flights[MR_MAX_FLIGHTS]; /* flight i of all is at i % MR_MAX_FLIGHTS */
    uint64_t n_begun, n_collected, n_born;
    uint64_t done_us; /* the last step */
    bool unsure;      /* that one was not waited for */

    mr_engine_on_row *on_row;
    void *on_row_owner;
};

/* ---- engine.c ---- */

/* What the device said when it was lost answers every call that needs it. */
mr_status mr_engine_check_lost(const mr_engine *e, mr_err *err);

/* ---- sequences.c ---- */

uint32_t mr_engine_pending_of(const mr_seq *s);
/* Blocks that are full behind n_done tokens, and were not at n_before, become known. */
void mr_engine_know(mr_engine *e, mr_seq *s, uint32_t n_before, uint32_t n_done);

/* ---- step.c ---- */

mr_status mr_engine_check_items(mr_engine *e, const mr_engine_item *items, size_t n,
                                uint64_t *total, mr_err *err);
/* For the swap: a step that began then is done, if it was waited for. */
void mr_engine_note_time(mr_engine *e, uint32_t n_rows, uint64_t began_us, bool waited);

/* ---- flight.c ---- */

/* A token is drawn behind the item's rows. */
bool mr_engine_draws(const mr_engine *e, const mr_engine_item *it);
/* All rows of the items, in passes; tokens that they draw are on their way to the answers of this
 * ticket. MR_ELIMIT: not here, see backend.h; another error is in e->lost. */
mr_status mr_engine_ask(mr_engine *e, const mr_engine_item *items, size_t n, uint32_t ticket,
                        mr_err *err);

#endif
