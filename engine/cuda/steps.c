/* steps.c - the steps of a layer, and the head: what goes into which kernel.
 *
 * Everything here is put in line and runs on its own; nobody waits but the head for its logits.
 * Weights say what they want their inputs as: floats, or rounded to bytes, to e4m3 or to their own
 * type. */
#include "engine/cuda/backend_internal.h"

static bool is_e4m3(const mr_dev_mat *w) {
    return w->type == MR_DEV_E4M3;
}

static bool is_rounded(const mr_dev_mat *w) { /* its input, that is */
    return is_e4m3(w) || mr_type_block(w->type) > 1;
}

/* What matrices want of the input that they share. Of a layer's all are FP8, or none is. */
typedef struct wants {
    bool floats, blocks, e4m3, halves, codes;
} wants;

static void want(wants *a, const mr_dev_mat *w) {
    if (w->in_rows && is_e4m3(w))
        a->codes = true;
    else if (w->in_rows)
        a->halves = true;
    else if (is_rounded(w))
        a->blocks = true;
    else
        a->floats = true;
    a->e4m3 = is_e4m3(w);
}

/* a: all but where it goes to. */
static void feed(const mr_gpu *g, mr_feed a, wants to, float *y, mr_dev_xblock *blocks) {
    a.y = to.floats ? y : NULL;
    a.blocks = to.blocks ? blocks : NULL;
    a.e4m3 = to.e4m3;
    a.halves = to.halves ? g->halves : NULL;
    a.half_type = g->half_type;
    a.codes = to.codes ? g->codes : NULL;
    a.code_scales = g->code_scales;
    a.n = g->n;
    g->d->calls->feed(g->d, &a);
}

/* h = norm(x), in all forms that are wanted. */
static void norm(const mr_gpu *g, const float *w, wants to) {
    const mr_feed a = {
        .kind = MR_FEED_NORM, .x = g->x, .w = w, .eps = g->m->hp.rms_eps, .cols = g->m->hp.n_embd};
    feed(g, a, to, g->h, g->narrow);
}

/* y[n, rows] = x W^T; x and its other forms: whichever the weights want. */
static mr_product product_of(const mr_gpu *g, const mr_dev_mat *w, float *y, const float *x,
                             const mr_dev_xblock *blocks) {
    return (mr_product){.w = *w,
                        .x = x,
                        .blocks = blocks,
                        .halves = g->halves,
                        .codes = g->codes,
                        .code_scales = g->code_scales,
                        .raw = y,
                        .y = y,
                        .scale = 1,
                        .n_tok = g->n};
}

static void multiply(const mr_gpu *g, const mr_product *p) {
    (p->w.in_rows ? g->d->calls->matmul : g->d->calls->product)(g->d, p);
}

static void project(const mr_gpu *g, const mr_dev_mat *w, const float *bias, float *y,
                    const float *x, const mr_dev_xblock *blocks) {
    mr_product p = product_of(g, w, y, x, blocks);

    p.bias = bias;
    multiply(g, &p);
}

/* The same, added to the residual stream, or as a part of what will be. */
static void project_back(const mr_gpu *g, const mr_dev_mat *w, const float *bias, const float *x,
                         const mr_dev_xblock *blocks) {
    mr_product p = product_of(g, w, g->x, x, blocks);

    p.bias = bias;
    p.scale = g->m->hp.residual_scale;
    p.adds = !g->parts;
    p.raw = g->h; /* of no use any more, and as wide */
    if (g->parts) p.y = mr_gpu_part(g);
    multiply(g, &p);
}

void mr_gpu_embed(const mr_gpu *g) {
    const mr_hparams *hp = &g->m->hp;
    const mr_embed a = {.x = g->layers.first == 0 ? g->x : NULL,
                        .cos = g->cos,
                        .sin = g->sin,
                        .token = g->plan.device.token,
                        .latest = g->latest,
                        .pos = g->plan.device.pos,
                        .speed = g->weights.speed,
                        .factor = g->weights.rope_factor,
                        .w = g->weights.tok_embd,
                        .scale = hp->embd_scale,
                        .half = hp->n_rot / 2,
                        .n = g->n};
    g->d->calls->embed(g->d, &a);
}

void mr_gpu_qkv(mr_backend *b, uint32_t layer) {
    const mr_gpu *g = mr_gpu_of(b);
    const mr_dev_layer *l = &g->weights.layers[layer];
    wants in = {0};

    want(&in, &l->wq);
    want(&in, &l->wk);
    want(&in, &l->wv);
    norm(g, l->attn_norm, in);
    project(g, &l->wq, l->bq, g->q, g->h, g->narrow);
    project(g, &l->wk, l->bk, g->k, g->h, g->narrow);
    project(g, &l->wv, l->bv, g->v, g->h, g->narrow);
}

static mr_dev_cache cache_of(const mr_gpu *g, uint32_t layer) {
    const mr_hparams *hp = &g->m->hp;
    const uint32_t pitch = mr_pitch_of(hp->d_head);
    const size_t bytes = (size_t)g->n_blocks * hp->n_kv_head * mr_cache_half(g->kv_type, pitch);
    uint8_t *k = (uint8_t *)g->cache + (layer - g->layers.first) * bytes;

    return (mr_dev_cache){k, k + mr_gpu_n_layers(g) * bytes, g->kv_type, hp->n_kv_head, pitch};
}

void mr_gpu_rotate(mr_backend *b, uint32_t layer) {
    const mr_gpu *g = mr_gpu_of(b);
    const mr_hparams *hp = &g->m->hp;
    const mr_dev_layer *l = &g->weights.layers[layer];
    const mr_turn a = {.q = g->q,
                       .k = g->k,
                       .v = g->v,
                       .q_norm = l->q_norm,
                       .k_norm = l->k_norm,
                       .cos = g->cos,
                       .sin = g->sin,
                       .pos = g->plan.device.pos,
                       .table = g->plan.device.table,
                       .tables = g->plan.device.tables,
                       .cache = cache_of(g, layer),
                       .n = g->n,
                       .n_head = hp->n_head,
                       .n_kv_head = hp->n_kv_head,
                       .d_head = hp->d_head,
                       .n_rot = hp->n_rot,
                       .eps = hp->rms_eps,
                       .neox = hp->rope_neox};
    g->d->calls->turn(g->d, &a);
}

/* *a's wanted rows into *spare, and the two change places. */
static void gather(const mr_gpu *g, float **a, float **spare, uint32_t cols) {
    const mr_gather move = {*spare, *a, g->plan.device.kept, cols, g->plan.n_kept};

    g->d->calls->gather(g->d, &move);
    *spare = *a;
    *a = move.y;
}

void mr_gpu_keep_wanted(mr_backend *b) {
    mr_gpu *g = mr_gpu_of(b);
    const mr_hparams *hp = &g->m->hp;

    if (g->plan.n_kept == g->n) return;
    gather(g, &g->x, &g->h, hp->n_embd);
    gather(g, &g->q, &g->att, hp->n_head * hp->d_head);
    g->n = g->plan.n_kept;
    g->which = 1;
}

void mr_gpu_attend(mr_backend *b, uint32_t layer) {
    const mr_gpu *g = mr_gpu_of(b);
    const mr_hparams *hp = &g->m->hp;
    const mr_attention a = {.out = g->att,
                            .q = g->q,
                            .runs = g->plan.device.runs[g->which],
                            .tables = g->plan.device.tables,
                            .records = g->plan.n_records[g->which] ? g->records : NULL,
                            .cache = cache_of(g, layer),
                            .counts = &g->plan.device.counts[g->which],
                            .n_items = g->n_items ? g->n_items : g->plan.n_items[g->which],
                            .n = g->n,
                            .n_head = hp->n_head,
                            .n_kv_head = hp->n_kv_head,
                            .d_head = hp->d_head,
                            .scale = hp->attn_scale};
    g->d->calls->attend(g->d, &a);
}

void mr_gpu_attn_out(mr_backend *b, uint32_t layer) {
    const mr_gpu *g = mr_gpu_of(b);
    const mr_dev_layer *l = &g->weights.layers[layer];
    const mr_feed a = {.kind = MR_FEED_SAME, .x = g->att, .cols = l->wo.cols};
    wants in = {0};

    want(&in, &l->wo);
    if (!in.floats) feed(g, a, in, NULL, g->narrow); /* those it has */
    project_back(g, &l->wo, l->bo, g->att, g->narrow);
}

void mr_gpu_gate_up(mr_backend *b, uint32_t layer) {
    const mr_gpu *g = mr_gpu_of(b);
    const mr_dev_layer *l = &g->weights.layers[layer];
    const mr_feed a = {.kind = MR_FEED_GATE, .x = g->gate, .w = g->up, .cols = g->m->hp.n_ff};
    wants in = {0}, out = {0};

    want(&in, &l->gate);
    want(&in, &l->up);
    want(&out, &l->down);
    norm(g, l->ffn_norm, in);
    project(g, &l->gate, NULL, g->gate, g->h, g->narrow);
    project(g, &l->up, NULL, g->up, g->h, g->narrow);
    feed(g, a, out, g->gate, g->wide);
}

void mr_gpu_down(mr_backend *b, uint32_t layer) {
    const mr_gpu *g = mr_gpu_of(b);

    project_back(g, &g->weights.layers[layer].down, NULL, g->gate, g->wide);
}

void mr_gpu_total(const mr_gpu *g) {
    const mr_total a = {g->x, g->parts, g->n_ranks, g->m->hp.n_embd, g->n};

    g->d->calls->total(g->d, &a);
}

/* ---- logits ---- */

/* g->logits of n <= MR_GPU_HEAD_ROWS rows. */
static void head(const mr_gpu *g, uint32_t first, uint32_t n) {
    const mr_hparams *hp = &g->m->hp;
    const mr_dev_mat *w = &g->weights.output;
    const bool rounded = is_rounded(w);
    const mr_feed a = {.kind = MR_FEED_NORM,
                       .x = g->x + (size_t)first * hp->n_embd,
                       .w = g->weights.out_norm,
                       .y = rounded ? NULL : g->top,
                       .blocks = rounded ? g->narrow : NULL,
                       .eps = hp->rms_eps,
                       .cols = hp->n_embd,
                       .n = n};
    const mr_product p = {.w = *w,
                          .x = g->top,
                          .blocks = g->narrow,
                          .y = g->logits,
                          .scale = hp->logit_scale,
                          .n_tok = n};

    g->d->calls->feed(g->d, &a);
    g->d->calls->product(g->d, &p);
}

static uint32_t head_rows(uint32_t n_left) {
    return n_left < MR_GPU_HEAD_ROWS ? n_left : MR_GPU_HEAD_ROWS;
}

void mr_gpu_send_head(const mr_gpu *g, uint32_t first, uint32_t n, float *logits) {
    const size_t n_vocab = g->m->hp.n_vocab;

    MR_CHECK(n > 0 && n <= g->max_head && first + n <= g->n);
    for (uint32_t i = 0; i < n; i += MR_GPU_HEAD_ROWS) {
        const uint32_t n_here = head_rows(n - i);
        head(g, first + i, n_here);
        g->d->calls->copy_out(g->d, logits + i * n_vocab, g->logits,
                              n_here * n_vocab * sizeof *logits);
    }
}

mr_status mr_gpu_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err) {
    const mr_gpu *g = mr_gpu_of(b);

    mr_gpu_send_head(g, first, n, logits);
    return g->d->calls->wait(g->d, err);
}

void mr_gpu_draw(mr_backend *b) {
    const mr_gpu *g = mr_gpu_of(b);

    MR_CHECK(g->draws.n == g->n);
    for (uint32_t i = 0; i < g->n; i += MR_GPU_HEAD_ROWS) {
        const mr_draws a = {.draws = g->plan.device.draws + i,
                            .edits = g->plan.device.edits,
                            .logits = g->logits,
                            .latest = g->latest,
                            .out = g->drawn + i,
                            .n_vocab = g->m->hp.n_vocab,
                            .n = head_rows(g->n - i)};
        head(g, i, a.n);
        g->d->calls->draw(g->d, &a);
    }
}
