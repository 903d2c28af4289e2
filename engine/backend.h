/* backend.h - where a pass is computed: the steps of the transformer, one table per kind of
 * machine.
 *
 * forward.c says which steps there are and in which order; a backend does them, for all live rows
 * at once. It owns all that a step touches: weights in the form that its kernels want, activations,
 * keys and values. x, h, q ... below are its activations, one line per live row.
 *
 * A model may be cut into parts, each with a backend of its own; chain.h makes them one.
 *
 * A step cannot fail by itself: a device that goes wrong says so when it is asked for something,
 * that is by begin, hand_out and head, with MR_EUNAVAIL: it is lost, and so say all later ones.
 * Owner: caller, open (of the kind of backend) to close. Thread: one at a time. */
#ifndef MR_ENGINE_BACKEND_H
#define MR_ENGINE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kv_form.h"
#include "millrace/engine.h"

typedef struct mr_backend mr_backend;

typedef struct mr_row {
    int32_t token; /* or ~s: the one drawn last for sequence s, which only the backend knows */
    uint32_t pos;
    const int32_t *table; /* of the row's sequence, covers pos; borrowed for the pass */
    bool want;            /* its logits will be asked for */
} mr_row;

/* Layers first .. end - 1 of a model. Who has the first one begins with tokens, who has the last
 * one ends with logits. */
typedef struct mr_layers {
    uint32_t first, end;
} mr_layers;
typedef struct mr_ask { /* for a token behind a row; borrowed for the pass */
    const mr_sampling *sampling;
    const int32_t *history; /* [n_history]: all tokens so far, the first n_prompt not generated */
    uint32_t n_history, n_prompt;
    uint32_t seq; /* a small number for the row's sequence */
    bool behind;  /* the last of history is not known yet: it is the token drawn last for seq */
} mr_ask;

typedef struct mr_asks { /* of a pass: for each of its wanted rows, in order */
    const mr_ask *asks;  /* [n] */
    uint32_t n;
    uint32_t ticket, first; /* 0 or 1: which of two sets of answers gets theirs, and where in it */
} mr_asks;

typedef struct mr_room { /* what a backend makes room for */
    uint32_t max_rows;   /* most rows anybody will pass at once; see mr_backend.max_rows */
    uint32_t max_head;   /* most rows of one head */
    uint32_t max_len;    /* longest sequence */
    mr_layers layers;    /* those that it computes */
    uint32_t rank, n_ranks; /* n_ranks > 1: of each layer it has part `rank` (cuda/ranks.h) */
    mr_kv_type kv_type;  /* of the cache */
    const int32_t *eog;  /* [n_eog]: what ban_eog bans; borrowed for good */
    size_t n_eog;
    bool no_recording; /* a pass is put in line step by step, each time */
    bool not_reproducible; /* sums of products may depend on what else is in the pass */
} mr_room;

typedef struct mr_steps {
    /* rows[n] are live, in that order; x = their embeddings, or what hand_in will give. Borrowed
     * until the next begin. Waits for the pass before. */
    mr_status (*begin)(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err);
    /* h = norm(x); q, k, v = h W (+ bias) */
    void (*qkv)(mr_backend *b, uint32_t layer);
    /* q, k: norm of heads (qwen3), rotation; k and v go into the cache */
    void (*rotate)(mr_backend *b, uint32_t layer);
    /* Only the rows that are wanted stay live. Once, in the last layer, behind rotate. */
    void (*keep_wanted)(mr_backend *b);
    /* att = attention of q over the cache, each row up to its own position */
    void (*attend)(mr_backend *b, uint32_t layer);
    /* x += att Wo (+ bias) */
    void (*attn_out)(mr_backend *b, uint32_t layer);
    /* h = norm(x); gate = silu(h Wg) * h Wu */
    void (*gate_up)(mr_backend *b, uint32_t layer);
    /* x += gate Wd */
    void (*down)(mr_backend *b, uint32_t layer);
    /* Behind a part's last layer, and before the next one's first: *x [n, n_embd], in host memory,
     * is what goes on; the backend's, until it hands out again. Waits for it. NULL: it has all
     * layers. */
    mr_status (*hand_out)(mr_backend *b, const float **x, mr_err *err);
    /* x of all rows; has been read when it returns. NULL: it is always first. */
    void (*hand_in)(mr_backend *b, const float *x);
    /* logits[n, n_vocab] = norm(x) Wout of live rows first .. first + n, n <= max_head. */
    mr_status (*head)(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err);
    /* Backends that draw (mr_backend.draws); NULL otherwise.
     * ask: the pass that begins next draws tokens; begin then says MR_ELIMIT if there is no room
     * for what changes their logits. replay, behind begin: true: the whole pass is in line, as it
     * was when a pass like it was recorded; false: its steps are to be called, draw as the last.
     * finish, behind that: false: it could not be recorded, and its steps are to be called again.
     * collect: waits for the answers of all passes with that ticket: the first n of the set. */
    void (*ask)(mr_backend *b, const mr_asks *asks);
    bool (*replay)(mr_backend *b);
    void (*draw)(mr_backend *b);
    bool (*finish)(mr_backend *b);
    mr_status (*collect)(mr_backend *b, uint32_t ticket, mr_engine_out *outs, uint32_t n,
                         mr_err *err);
    /* A block of the cache, all layers, to and from host memory: [block_bytes]. In line behind the
     * passes so far, and before those to come; settle waits for all that is in line. */
    void (*save)(mr_backend *b, int32_t block, void *host);
    void (*load)(mr_backend *b, int32_t block, const void *host);
    mr_status (*settle)(mr_backend *b, mr_err *err);
    /* Host memory that save and load are fastest with; the backend's until close. Called once.
     * NULL: the cache is in host memory. */
    void *(*reserve_swap)(mr_backend *b, size_t bytes, mr_err *err);
    /* Host memory that head fills fastest, zeroed; the backend's until close. Called once. */
    float *(*reserve_logits)(mr_backend *b, size_t n_rows, mr_err *err);
    void (*close)(mr_backend *b);
} mr_steps;

struct mr_backend { /* first member of each kind */
    const mr_steps *steps;
    const char *name;   /* of its kernels: "avx2", "cuda" */
    uint32_t max_rows;  /* of one pass: those that were asked for, or fewer */
    size_t block_bytes; /* of the cache, its layers together, as save writes it */
    bool draws;         /* it can draw tokens itself, and take them for the next pass */
    double busy_ms, idle_ms; /* passes that drew, as collected: at work; between two of them */
};

#endif
