/* shard.c - see shard.h. What is added once, the bias behind wo, is rank 0's. */
#include "engine/shard.h"

#include <stdlib.h>

typedef struct share { /* of numbers that are dealt out evenly */
    uint32_t rank, n_ranks;
} share;

/* ---- whether it can be ---- */

static mr_status check_counts(const mr_hparams *hp, uint32_t n, mr_err *err) {
    if (n > 0 && hp->n_head % n == 0 && hp->n_kv_head % n == 0 && hp->n_ff % n == 0) return MR_OK;
    return mr_fail(err, MR_EUNSUPPORTED,
                   "tensor_parallel: %u does not divide all of this model's %u heads, %u heads of "
                   "keys and values, and %u values between gate and down",
                   n, hp->n_head, hp->n_kv_head, hp->n_ff);
}

/* Of a matrix whose columns are shared. */
static mr_status check_blocks(const mr_mat *w, const char *name, uint32_t layer, uint32_t n,
                              mr_err *err) {
    const uint32_t cols = w->cols / n, block = (uint32_t)mr_type_block(w->type);

    if (cols % block == 0) return MR_OK;
    return mr_fail(err, MR_EUNSUPPORTED,
                   "tensor_parallel: %u makes %u of the %u columns of %s in layer %u, whose type "
                   "has blocks of %u",
                   n, cols, w->cols, name, layer, block);
}

mr_status mr_shard_check(const mr_model *m, uint32_t n, mr_err *err) {
    mr_status st = check_counts(&m->hp, n, err);

    for (uint32_t i = 0; i < m->hp.n_layer && st == MR_OK; i++) {
        st = check_blocks(&m->layers[i].wo, "attn_output", i, n, err);
        if (st == MR_OK) st = check_blocks(&m->layers[i].down, "ffn_down", i, n, err);
    }
    return st;
}

/* ---- the slices ---- */

static mr_mat rows_of(const mr_mat *w, share s) {
    mr_mat part = *w;

    part.rows = w->rows / s.n_ranks;
    part.data = (const char *)w->data + (size_t)s.rank * part.rows * w->row_bytes;
    return part;
}

static mr_mat cols_of(const mr_mat *w, share s) {
    mr_mat part = *w;

    part.cols = w->cols / s.n_ranks;
    part.data = (const char *)w->data + s.rank * mr_type_row_bytes(w->type, part.cols);
    return part;
}

/* The bias of rows that are shared. */
static const float *bias_of(const float *bias, const mr_mat *w, share s) {
    return bias ? bias + (size_t)s.rank * (w->rows / s.n_ranks) : NULL;
}

static mr_layer layer_of(const mr_layer *y, share s) {
    mr_layer part = *y; /* the norms */

    part.wq = rows_of(&y->wq, s);
    part.wk = rows_of(&y->wk, s);
    part.wv = rows_of(&y->wv, s);
    part.bq = bias_of(y->bq, &y->wq, s);
    part.bk = bias_of(y->bk, &y->wk, s);
    part.bv = bias_of(y->bv, &y->wv, s);
    part.wo = cols_of(&y->wo, s);
    if (s.rank > 0) part.bo = NULL;
    part.gate = rows_of(&y->gate, s);
    part.up = rows_of(&y->up, s);
    part.down = cols_of(&y->down, s);
    return part;
}

mr_status mr_shard_open(mr_model *out, const mr_model *m, uint32_t rank, uint32_t n_ranks,
                        mr_err *err) {
    const share s = {rank, n_ranks};

    MR_CHECK(rank < n_ranks && !m->tiles);
    *out = *m;
    out->hp.n_head /= n_ranks;
    out->hp.n_kv_head /= n_ranks;
    out->hp.n_ff /= n_ranks;
    out->layers = malloc(m->hp.n_layer * sizeof *out->layers);
    if (!out->layers) {
        *out = (mr_model){0};
        return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    }
    for (uint32_t i = 0; i < m->hp.n_layer; i++) out->layers[i] = layer_of(&m->layers[i], s);
    return MR_OK;
}

void mr_shard_close(mr_model *slice) {
    free(slice->layers);
    *slice = (mr_model){0};
}
