/* backend.c - the steps of a pass on a device: what goes into which kernel.
 *
 * Plain C: the device is a table of calls. Host and device meet twice in a pass: begin sends the
 * lists of the pass, head waits for logits. Everything between is put in line and runs on its own.
 *
 * Memory of the device: weights, activations of max_rows rows, records of attention, and the KV
 * cache of its layers. Inputs of products are padded to MR_PAD_ROWS rows: kernels read whole
 * tiles.
 *
 * Limits: MAX_PASS_ROWS rows a pass, HEAD_ROWS rows of logits at a time. */
#include "engine/cuda/backend.h"

#include <stdlib.h>

#include "engine/cuda/plan.h"
#include "engine/cuda/weights.h"

#define MAX_PASS_ROWS  2048u
#define HEAD_ROWS      64u
#define FP8_CAPABILITY 89
#define PLACE_BYTES    256u

typedef struct gpu {
    mr_backend base;
    mr_device *d;
    const mr_model *m;
    mr_dev_weights weights;
    mr_plan plan;
    mr_layers layers; /* of the model, that it has */
    mr_gpu_quant quant;
    void *work, *cache, *plan_host, *logits_host; /* cache: keys, then values, of its layers */
    void *swap;                                   /* host */
    float *hand;                                  /* host: [max_rows, n_embd]; NULL: it is last */
    uint32_t n_blocks, max_head;

    /* In work; rows as in cpu/backend.c, padded. */
    float *x, *h, *q, *att, *k, *v, *gate, *up, *cos, *sin, *top, *logits, *records;
    mr_dev_xblock *narrow, *wide; /* inputs rounded for quantized weights; wide: [n_ff] */
    void *plan_device;

    /* The pass at work. */
    uint32_t n; /* live rows */
    int which;  /* of the plan's runs */
} gpu;

static gpu *of(mr_backend *b) {
    return (gpu *)b; /* its first member */
}

/* ---- the steps ---- */

static bool is_e4m3(const mr_dev_mat *w) {
    return w->type == MR_DEV_E4M3;
}

static bool is_rounded(const mr_dev_mat *w) { /* its input, that is */
    return is_e4m3(w) || mr_type_block(w->type) > 1;
}

/* y[n, rows] = x W^T; x and its rounded form: whichever the weights want. */
static mr_product product_of(const gpu *g, const mr_dev_mat *w, float *y, const float *x,
                             const mr_dev_xblock *blocks) {
    return (mr_product){.w = *w, .x = x, .blocks = blocks, .y = y, .scale = 1, .n_tok = g->n};
}

static void project(const gpu *g, const mr_dev_mat *w, const float *bias, float *y, const float *x,
                    const mr_dev_xblock *blocks) {
    mr_product p = product_of(g, w, y, x, blocks);

    p.bias = bias;
    g->d->calls->product(g->d, &p);
}

/* The same, added to the residual stream. */
static void project_back(const gpu *g, const mr_dev_mat *w, const float *bias, const float *x,
                         const mr_dev_xblock *blocks) {
    mr_product p = product_of(g, w, g->x, x, blocks);

    p.bias = bias;
    p.scale = g->m->hp.residual_scale;
    p.adds = true;
    g->d->calls->product(g->d, &p);
}

/* h = norm(x), as floats, rounded, or both. Of a layer's matrices all are FP8, or none is. */
static void norm(const gpu *g, const float *w, bool floats, bool rounded, bool e4m3) {
    const mr_feed a = {.kind = MR_FEED_NORM,
                       .x = g->x,
                       .w = w,
                       .y = floats ? g->h : NULL,
                       .blocks = rounded ? g->narrow : NULL,
                       .e4m3 = e4m3,
                       .eps = g->m->hp.rms_eps,
                       .cols = g->m->hp.n_embd,
                       .n = g->n};
    g->d->calls->feed(g->d, &a);
}

static mr_status step_begin(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err) {
    gpu *g = of(b);
    const mr_hparams *hp = &g->m->hp;
    const mr_status st = g->d->calls->wait(g->d, err); /* the lists are free again */

    if (st != MR_OK) return st;
    mr_plan_pass(&g->plan, rows, n);
    g->n = n;
    g->which = 0;
    g->d->calls->copy_in(g->d, g->plan_device, g->plan_host, g->plan.used_bytes);
    const mr_embed a = {.x = g->layers.first == 0 ? g->x : NULL,
                        .cos = g->cos,
                        .sin = g->sin,
                        .token = g->plan.device.token,
                        .pos = g->plan.device.pos,
                        .speed = g->weights.speed,
                        .factor = g->weights.rope_factor,
                        .w = g->weights.tok_embd,
                        .scale = hp->embd_scale,
                        .half = hp->n_rot / 2,
                        .n = n};
    g->d->calls->embed(g->d, &a);
    return MR_OK;
}

static void step_qkv(mr_backend *b, uint32_t layer) {
    const gpu *g = of(b);
    const mr_dev_layer *l = &g->weights.layers[layer];
    const int n_rounded = is_rounded(&l->wq) + is_rounded(&l->wk) + is_rounded(&l->wv);
    const bool any = n_rounded > 0, all = n_rounded == 3;

    norm(g, l->attn_norm, !all, any, is_e4m3(&l->wq));
    project(g, &l->wq, l->bq, g->q, g->h, g->narrow);
    project(g, &l->wk, l->bk, g->k, g->h, g->narrow);
    project(g, &l->wv, l->bv, g->v, g->h, g->narrow);
}

static uint32_t n_layers(const gpu *g) {
    return g->layers.end - g->layers.first;
}

static mr_dev_cache cache_of(const gpu *g, uint32_t layer) {
    const mr_hparams *hp = &g->m->hp;
    const uint32_t pitch = mr_pitch_of(hp->d_head);
    const size_t values = (size_t)g->n_blocks * hp->n_kv_head * MR_KV_BLOCK_LEN * pitch;
    mr_f16 *k = (mr_f16 *)g->cache + (layer - g->layers.first) * values;

    return (mr_dev_cache){k, k + n_layers(g) * values, hp->n_kv_head, pitch};
}

static void step_rotate(mr_backend *b, uint32_t layer) {
    const gpu *g = of(b);
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
static void gather(const gpu *g, float **a, float **spare, uint32_t cols) {
    const mr_gather move = {*spare, *a, g->plan.device.kept, cols, g->plan.n_kept};

    g->d->calls->gather(g->d, &move);
    *spare = *a;
    *a = move.y;
}

static void step_keep_wanted(mr_backend *b) {
    gpu *g = of(b);
    const mr_hparams *hp = &g->m->hp;

    gather(g, &g->x, &g->h, hp->n_embd);
    gather(g, &g->q, &g->att, hp->n_head * hp->d_head);
    g->n = g->plan.n_kept;
    g->which = 1;
}

static void step_attend(mr_backend *b, uint32_t layer) {
    const gpu *g = of(b);
    const mr_hparams *hp = &g->m->hp;
    const mr_attention a = {.out = g->att,
                            .q = g->q,
                            .runs = g->plan.device.runs[g->which],
                            .tables = g->plan.device.tables,
                            .records = g->plan.n_records[g->which] ? g->records : NULL,
                            .cache = cache_of(g, layer),
                            .n_runs = g->plan.n_runs[g->which],
                            .n_items = g->plan.n_items[g->which],
                            .n = g->n,
                            .n_head = hp->n_head,
                            .n_kv_head = hp->n_kv_head,
                            .d_head = hp->d_head,
                            .scale = hp->attn_scale};
    g->d->calls->attend(g->d, &a);
}

static void step_attn_out(mr_backend *b, uint32_t layer) {
    const gpu *g = of(b);
    const mr_dev_layer *l = &g->weights.layers[layer];

    if (is_rounded(&l->wo)) {
        const mr_feed a = {.kind = MR_FEED_SAME,
                           .x = g->att,
                           .blocks = g->narrow,
                           .e4m3 = is_e4m3(&l->wo),
                           .cols = l->wo.cols,
                           .n = g->n};
        g->d->calls->feed(g->d, &a);
    }
    project_back(g, &l->wo, l->bo, g->att, g->narrow);
}

static void step_gate_up(mr_backend *b, uint32_t layer) {
    const gpu *g = of(b);
    const mr_dev_layer *l = &g->weights.layers[layer];
    const bool gate = is_rounded(&l->gate), up = is_rounded(&l->up);
    const bool down = is_rounded(&l->down);

    norm(g, l->ffn_norm, !gate || !up, gate || up, is_e4m3(&l->gate));
    project(g, &l->gate, NULL, g->gate, g->h, g->narrow);
    project(g, &l->up, NULL, g->up, g->h, g->narrow);
    const mr_feed a = {.kind = MR_FEED_GATE,
                       .x = g->gate,
                       .w = g->up,
                       .y = down ? NULL : g->gate,
                       .blocks = down ? g->wide : NULL,
                       .e4m3 = is_e4m3(&l->down),
                       .cols = g->m->hp.n_ff,
                       .n = g->n};
    g->d->calls->feed(g->d, &a);
}

static void step_down(mr_backend *b, uint32_t layer) {
    const gpu *g = of(b);

    project_back(g, &g->weights.layers[layer].down, NULL, g->gate, g->wide);
}

static size_t hand_bytes(const gpu *g, uint32_t n_rows) {
    return sizeof(float) * n_rows * g->m->hp.n_embd;
}

static mr_status hand_out(mr_backend *b, const float **x, mr_err *err) {
    const gpu *g = of(b);

    g->d->calls->copy_out(g->d, g->hand, g->x, hand_bytes(g, g->n));
    *x = g->hand;
    return g->d->calls->wait(g->d, err);
}

static void hand_in(mr_backend *b, const float *x) {
    const gpu *g = of(b);

    g->d->calls->copy_in(g->d, g->x, x, hand_bytes(g, g->n));
}

/* A block of the cache: keys of each layer, then values, all the same distance apart. */
static char *block_at(const gpu *g, int32_t block) {
    return (char *)g->cache + (size_t)block * (g->base.block_bytes / (2 * n_layers(g)));
}

static void save(mr_backend *b, int32_t block, void *host) {
    const gpu *g = of(b);
    const size_t n = 2 * n_layers(g), bytes = b->block_bytes / n;

    g->d->calls->rows_out(g->d, host, block_at(g, block), bytes, g->n_blocks * bytes, n);
}

static void load(mr_backend *b, int32_t block, const void *host) {
    const gpu *g = of(b);
    const size_t n = 2 * n_layers(g), bytes = b->block_bytes / n;

    g->d->calls->rows_in(g->d, block_at(g, block), host, bytes, g->n_blocks * bytes, n);
}

static mr_status settle(mr_backend *b, mr_err *err) {
    return of(b)->d->calls->wait(of(b)->d, err);
}

static void *reserve_swap(mr_backend *b, size_t bytes, mr_err *err) {
    gpu *g = of(b);

    return g->d->calls->pin(g->d, &g->swap, bytes, "swapped KV blocks", err) == MR_OK ? g->swap
                                                                                      : NULL;
}

/* Of n <= HEAD_ROWS rows. */
static void head(const gpu *g, uint32_t first, uint32_t n, float *logits) {
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
    g->d->calls->copy_out(g->d, logits, g->logits, (size_t)n * hp->n_vocab * sizeof *logits);
}

static mr_status step_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err) {
    const gpu *g = of(b);

    MR_CHECK(n > 0 && n <= g->max_head && first + n <= g->n);
    for (uint32_t i = 0; i < n; i += HEAD_ROWS)
        head(g, first + i, n - i < HEAD_ROWS ? n - i : HEAD_ROWS,
             logits + (size_t)i * g->m->hp.n_vocab);
    return g->d->calls->wait(g->d, err);
}

static float *reserve_logits(mr_backend *b, size_t n_rows, mr_err *err) {
    gpu *g = of(b);
    const size_t bytes = n_rows * g->m->hp.n_vocab * sizeof(float);

    return g->d->calls->pin(g->d, &g->logits_host, bytes, "logits", err) == MR_OK ? g->logits_host
                                                                                  : NULL;
}

/* ---- open and close ---- */

static void gpu_close(mr_backend *b) {
    gpu *g = of(b);
    mr_device *d = g->d;

    mr_dev_weights_deinit(&g->weights);
    d->calls->release(d, g->work);
    d->calls->release(d, g->cache);
    d->calls->unpin(d, g->plan_host);
    d->calls->unpin(d, g->logits_host);
    d->calls->unpin(d, g->hand);
    d->calls->unpin(d, g->swap);
    free(g);
}

static const mr_steps gpu_steps = {
    .begin = step_begin,
    .qkv = step_qkv,
    .rotate = step_rotate,
    .keep_wanted = step_keep_wanted,
    .attend = step_attend,
    .attn_out = step_attn_out,
    .gate_up = step_gate_up,
    .down = step_down,
    .hand_out = hand_out,
    .hand_in = hand_in,
    .save = save,
    .load = load,
    .settle = settle,
    .reserve_swap = reserve_swap,
    .head = step_head,
    .reserve_logits = reserve_logits,
    .close = gpu_close,
};

/* What the kernels take for granted. */
static mr_status check_shape(const mr_model *m, mr_err *err) {
    const mr_hparams *hp = &m->hp;

    if (hp->d_head > MR_MAX_D_HEAD)
        return mr_fail(err, MR_EUNSUPPORTED, "device: heads of %u values; at most %u on a GPU",
                       hp->d_head, MR_MAX_D_HEAD);
    const uint32_t widths[] = {hp->n_embd, hp->n_ff, hp->n_head * hp->d_head};
    for (size_t i = 0; i < MR_COUNT(widths); i++)
        if (widths[i] % 8 || widths[i] > MR_DEV_MAX_COLS)
            return mr_fail(err, MR_EUNSUPPORTED,
                           "device: rows of %u values; a multiple of 8, at most %u, on a GPU",
                           widths[i], MR_DEV_MAX_COLS);
    return MR_OK;
}

static mr_status check_fp8(const mr_device *d, const mr_model *m, mr_err *err) {
    const mr_hparams *hp = &m->hp;
    const uint32_t widths[] = {hp->n_embd, hp->n_ff, hp->n_head * hp->d_head};

    if (d->capability < FP8_CAPABILITY)
        return mr_fail(err, MR_EUNSUPPORTED,
                       "gpu_quant: fp8 needs compute capability 8.9, and %.60s has %u.%u", d->name,
                       d->capability / 10, d->capability % 10);
    for (size_t i = 0; i < MR_COUNT(widths); i++)
        if (widths[i] % 32)
            return mr_fail(err, MR_EUNSUPPORTED,
                           "gpu_quant: fp8 needs rows of a multiple of 32 values, not %u",
                           widths[i]);
    return MR_OK;
}

typedef struct layout { /* offsets into the memory grow as parts are placed */
    char *base;         /* NULL: only count */
    size_t bytes;
} layout;

static void *place(layout *l, size_t bytes) {
    char *p = l->base ? l->base + l->bytes : NULL;

    l->bytes += (bytes + PLACE_BYTES - 1) / PLACE_BYTES * PLACE_BYTES;
    return p;
}

static size_t padded(uint32_t n_rows) {
    return ((size_t)n_rows + MR_PAD_ROWS - 1) / MR_PAD_ROWS * MR_PAD_ROWS;
}

static void place_all(gpu *g, layout *l) {
    const mr_hparams *hp = &g->m->hp;
    const size_t n = padded(g->base.max_rows), row = n * sizeof(float), d_head = hp->d_head;
    const size_t eight = n / MR_TOKENS * sizeof(mr_dev_xblock), d_q = hp->n_head * d_head;
    const size_t n_narrow = hp->n_embd > d_q ? hp->n_embd : d_q;

    g->x = place(l, row * hp->n_embd);
    g->h = place(l, row * hp->n_embd);
    g->q = place(l, row * d_q);
    g->att = place(l, row * d_q);
    g->k = place(l, row * hp->n_kv_head * d_head);
    g->v = place(l, row * hp->n_kv_head * d_head);
    g->gate = place(l, row * hp->n_ff);
    g->up = place(l, row * hp->n_ff);
    g->cos = place(l, row * (hp->n_rot / 2));
    g->sin = place(l, row * (hp->n_rot / 2));
    g->top = place(l, sizeof(float) * padded(HEAD_ROWS) * hp->n_embd);
    g->logits = place(l, sizeof(float) * HEAD_ROWS * hp->n_vocab);
    g->narrow = place(l, eight * (n_narrow / 32));
    g->wide = place(l, eight * (hp->n_ff / 32));
    g->records = place(l, mr_plan_record_bytes(&g->plan));
    g->plan_device = place(l, mr_plan_bytes(&g->plan));
}

static uint64_t block_bytes(const mr_hparams *hp) { /* of the cache, one layer */
    return 2ull * sizeof(mr_f16) * hp->n_kv_head * MR_KV_BLOCK_LEN * mr_pitch_of(hp->d_head);
}

static mr_status reserve(gpu *g, mr_pool *pool, mr_err *err) {
    const mr_device_calls *calls = g->d->calls;
    const uint64_t cache = g->n_blocks * block_bytes(&g->m->hp) * n_layers(g);
    layout l = {0};
    mr_status st;

    st = mr_dev_weights_init(&g->weights, g->d, g->m, g->layers, g->quant, pool, err);
    if (st != MR_OK) return st;
    place_all(g, &l); /* counts */
    if ((st = calls->reserve(g->d, &g->work, l.bytes, "work memory", err)) != MR_OK) return st;
    if ((st = calls->reserve(g->d, &g->cache, cache, "KV cache", err)) != MR_OK) return st;
    l = (layout){.base = g->work};
    place_all(g, &l);
    st = calls->pin(g->d, &g->plan_host, mr_plan_bytes(&g->plan), "lists of a pass", err);
    if (st != MR_OK) return st;
    g->plan.host = mr_plan_lists_in(&g->plan, g->plan_host);
    g->plan.device = mr_plan_lists_in(&g->plan, g->plan_device);
    if (g->layers.end == g->m->hp.n_layer) return MR_OK;
    return calls->pin(g->d, (void **)&g->hand, hand_bytes(g, g->base.max_rows),
                      "what goes to the next layer", err);
}

static void init(gpu *g, mr_device *d, const mr_model *m, const mr_room *room) {
    const uint32_t max_rows = room->max_rows < MAX_PASS_ROWS ? room->max_rows : MAX_PASS_ROWS;
    const uint32_t n = room->layers.end - room->layers.first;

    *g = (gpu){.base = {&gpu_steps, "cuda", max_rows, n * block_bytes(&m->hp)},
               .d = d,
               .m = m,
               .layers = room->layers,
               .max_head = room->max_head};
    mr_plan_init(&g->plan, &m->hp, max_rows, room->max_head, room->max_len, d->n_units);
}

void mr_cuda_backend_sizes(mr_split_place *p, uint64_t *layer_bytes, mr_device *d,
                           const mr_model *m, const mr_room *room, mr_gpu_quant quant) {
    layout l = {0};
    gpu g;

    init(&g, d, m, room);
    place_all(&g, &l);
    p->work =
        l.bytes + mr_dev_weights_sizes(m, quant, layer_bytes, &p->first_bytes, &p->last_bytes);
    p->layer_bytes = layer_bytes;
    p->block_bytes = block_bytes(&m->hp);
    p->tied = m->tied;
}

mr_status mr_cuda_backend_open(mr_backend **out, mr_device *d, const mr_model *m, mr_pool *pool,
                               const mr_room *room, mr_gpu_quant quant, uint32_t n_blocks,
                               mr_err *err) {
    mr_status st = check_shape(m, err);
    gpu *g;

    *out = NULL;
    if (st == MR_OK && quant == MR_GPU_QUANT_FP8) st = check_fp8(d, m, err);
    if (st != MR_OK) return st;
    if (!(g = malloc(sizeof *g))) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    init(g, d, m, room);
    g->quant = quant;
    g->n_blocks = n_blocks;
    if ((st = reserve(g, pool, err)) != MR_OK) {
        gpu_close(&g->base);
        return st;
    }
    *out = &g->base;
    return MR_OK;
}
