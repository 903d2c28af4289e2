/* backend.c - the steps of a pass on a device: what goes into which kernel.
 *
 * Plain C: the device is a table of calls. Host and device meet twice in a pass: begin sends the
 * lists of the pass, head or collect wait for its results. Everything between is put in line and
 * runs on its own. The lists have two places on the host: while one is on its way, or its pass at
 * work, the next pass fills the other.
 *
 * A pass whose rows are all asked for tokens, a decode step, is recorded (recordings.h) and from
 * then on put in line as a whole; padding rows read and write a block of the cache that no sequence
 * has. Only who has all layers draws tokens; a part of a chain (chain.h) hands x on, by way of the
 * host, or has the logits come back.
 *
 * Memory of the device: weights, activations of max_rows rows, records of attention, and the KV
 * cache of its layers. Inputs of products are padded to MR_PAD_ROWS rows: kernels read whole
 * tiles.
 *
 * Limits: MAX_PASS_ROWS rows a pass, HEAD_ROWS rows of logits at a time. */
#include "engine/cuda/backend.h"

#include <stdlib.h>

#include "engine/cuda/draws.h"
#include "engine/cuda/plan.h"
#include "engine/cuda/recordings.h"
#include "engine/cuda/weights.h"

#define MAX_PASS_ROWS  2048u
#define HEAD_ROWS      64u
#define FP8_CAPABILITY 89
#define PLACE_BYTES    256u
#define N_STAGES       2u
#define N_TICKETS      2u
#define N_TIMED        4u

/* Marks of the device: the lists in a stage are sent; a pass that draws begins, ends. */
#define STAGE_MARK 0u
#define START_MARK N_STAGES
#define END_MARK   (START_MARK + N_TIMED)
_Static_assert(END_MARK + N_TIMED <= MR_DEV_MARKS, "marks");

typedef struct gpu {
    mr_backend base;
    mr_device *d;
    const mr_model *m;
    mr_dev_weights weights;
    mr_plan plan;
    mr_layers layers; /* of the model, that it has */
    mr_gpu_quant quant;
    mr_kv_type kv_type;
    void *work, *cache, *logits_host; /* cache: keys, then values, of its layers */
    void *stages[N_STAGES];           /* lists of a pass */
    void *swap;                       /* host */
    float *hand;                      /* host: [max_rows, n_embd]; NULL: it is last */
    mr_drawn *answers;                /* [N_TICKETS, max_head], on the host */
    mr_row *padded;                   /* [max_head] */
    mr_draws_list draws;
    mr_recordings recordings;
    uint32_t n_blocks, max_head;

    /* In work; rows as in cpu/backend.c, padded. */
    float *x, *h, *q, *att, *k, *v, *gate, *up, *cos, *sin, *top, *logits, *records;
    mr_dev_xblock *narrow, *wide; /* inputs rounded for quantized weights; wide: [n_ff] */
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

    /* Passes that drew: pass i has marks i % N_TIMED. */
    uint64_t n_drew, last_of[N_TICKETS];
    bool follows[N_TIMED]; /* the pass before it drew, too */
} gpu;

static gpu *of(mr_backend *b) {
    return (gpu *)b; /* its first member */
}

static bool is_last(const gpu *g) {
    return g->layers.end == g->m->hp.n_layer;
}

static bool is_whole(const gpu *g) {
    return g->layers.first == 0 && is_last(g);
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

static void step_ask(mr_backend *b, const mr_asks *asks) {
    of(b)->asks = *asks;
}

/* Every row draws: it is filled up with rows that nobody looks at. */
static const mr_row *pad_rows(gpu *g, const mr_row *rows, uint32_t *n) {
    const uint32_t most = g->base.max_rows < g->max_head ? g->base.max_rows : g->max_head;

    if (!g->may_record || g->asks.n != *n || *n > most) return rows;
    const uint32_t n_padded = mr_rows_padded(*n, most);
    memcpy(g->padded, rows, *n * sizeof *rows);
    for (uint32_t i = *n; i < n_padded; i++) g->padded[i] = (mr_row){0, 0, &g->spare, true};
    *n = n_padded;
    return g->padded;
}

/* False: no room. */
static bool list_draws(gpu *g) {
    const mr_plan_lists *to = &g->plan.host;

    mr_draws_start(&g->draws, to->draws, to->edits, mr_plan_first_edit(&g->plan),
                   mr_plan_end_edit(&g->plan));
    for (uint32_t i = 0; i < g->asks.n; i++)
        if (!mr_draws_add(&g->draws, &g->asks.asks[i])) return false;
    while (g->draws.n < g->plan.n_kept) mr_draws_pad(&g->draws, g->max_head);
    mr_plan_send_edits(&g->plan, g->draws.n_edits);
    return true;
}

static void embed(const gpu *g) {
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

/* What the pass is, as far as a recording fixes it. */
static void note_kind(gpu *g, bool is_padded) {
    const mr_pass_kind kind = {g->plan.n, mr_items_padded(g->plan.n_items[0]),
                               g->plan.n_records[0] > 0};
    bool is_new = true;

    g->kind = is_padded ? mr_recordings_find(&g->recordings, kind, &is_new) : NULL;
    g->recording = g->kind && !is_new && !g->kind->made;
    g->n_items = g->kind ? kind.n_items : 0;
}

static void note_time(gpu *g) {
    const uint64_t i = g->n_drew++;

    g->last_of[g->asks.ticket] = i;
    g->d->calls->mark(g->d, (uint32_t)(START_MARK + i % N_TIMED));
}

static mr_status step_begin(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err) {
    gpu *g = of(b);
    const mr_device_calls *calls = g->d->calls;
    const bool follows = g->draws.n > 0;
    mr_status st;

    g->turn = (g->turn + 1) % N_STAGES;
    if ((st = calls->reach(g->d, STAGE_MARK + g->turn, err)) != MR_OK) return st;
    const mr_row *padded = pad_rows(g, rows, &n);
    g->plan.host = mr_plan_lists_in(&g->plan, g->stages[g->turn]);
    mr_plan_pass(&g->plan, padded, n);
    g->draws.n = 0;
    if (g->asks.n > 0 && !list_draws(g)) {
        g->asks.n = g->draws.n = 0;
        return mr_fail(err, MR_ELIMIT, "step: too many changes of logits for the device");
    }
    g->n = n;
    g->which = 0;
    note_kind(g, padded == g->padded);
    g->follows[g->n_drew % N_TIMED] = follows;
    if (g->asks.n > 0) note_time(g);
    calls->copy_in(g->d, g->plan_device, g->stages[g->turn], g->plan.used_bytes);
    calls->mark(g->d, STAGE_MARK + g->turn);
    if (g->asks.n == 0) embed(g);
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
    const size_t bytes = (size_t)g->n_blocks * hp->n_kv_head * mr_cache_half(g->kv_type, pitch);
    uint8_t *k = (uint8_t *)g->cache + (layer - g->layers.first) * bytes;

    return (mr_dev_cache){k, k + n_layers(g) * bytes, g->kv_type, hp->n_kv_head, pitch};
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

    if (g->plan.n_kept == g->n) return;
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
                            .counts = &g->plan.device.counts[g->which],
                            .n_items = g->n_items ? g->n_items : g->plan.n_items[g->which],
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
    (void)g->d->calls->wait(g->d, NULL); /* a failure is said by the next wait */
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

/* g->logits of n <= HEAD_ROWS rows. */
static void head(const gpu *g, uint32_t first, uint32_t n) {
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
    return n_left < HEAD_ROWS ? n_left : HEAD_ROWS;
}

static mr_status step_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err) {
    const gpu *g = of(b);
    const size_t n_vocab = g->m->hp.n_vocab;

    MR_CHECK(n > 0 && n <= g->max_head && first + n <= g->n);
    for (uint32_t i = 0; i < n; i += HEAD_ROWS) {
        const uint32_t n_here = head_rows(n - i);
        head(g, first + i, n_here);
        g->d->calls->copy_out(g->d, logits + i * n_vocab, g->logits,
                              n_here * n_vocab * sizeof *logits);
    }
    return g->d->calls->wait(g->d, err);
}

/* ---- passes that draw ---- */

static void step_draw(mr_backend *b) {
    const gpu *g = of(b);

    MR_CHECK(g->draws.n == g->n);
    for (uint32_t i = 0; i < g->n; i += HEAD_ROWS) {
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

/* The pass is in line; behind it, its answers. */
static bool answer(gpu *g) {
    const mr_asks *asks = &g->asks;
    mr_drawn *to = g->answers + asks->ticket * g->max_head + asks->first;

    g->d->calls->copy_out(g->d, to, g->drawn, asks->n * sizeof *to);
    g->d->calls->mark(g->d, (uint32_t)(END_MARK + g->last_of[asks->ticket] % N_TIMED));
    g->asks.n = 0;
    return true;
}

static bool step_replay(mr_backend *b) {
    gpu *g = of(b);

    if (g->kind && g->kind->made) {
        g->d->calls->replay(g->d, g->kind->made);
        return answer(g);
    }
    if (g->recording) g->d->calls->record(g->d);
    embed(g);
    return false;
}

static bool step_finish(mr_backend *b) {
    gpu *g = of(b);

    if (!g->recording) return answer(g);
    g->recording = false;
    g->kind->made = g->d->calls->recorded(g->d);
    if (g->kind->made) {
        g->d->calls->replay(g->d, g->kind->made);
        return answer(g);
    }
    g->may_record = false; /* it would come to nothing again */
    embed(g);
    return false;
}

static mr_status step_collect(mr_backend *b, uint32_t ticket, mr_engine_out *outs, uint32_t n,
                              mr_err *err) {
    gpu *g = of(b);
    const mr_device_calls *calls = g->d->calls;
    const uint32_t at = g->last_of[ticket] % N_TIMED, before = (at + N_TIMED - 1) % N_TIMED;
    const mr_status st = n > 0 ? calls->reach(g->d, END_MARK + at, err) : MR_OK;

    if (st != MR_OK || n == 0) return st;
    b->busy_ms += (double)calls->between(g->d, START_MARK + at, END_MARK + at);
    if (g->follows[at])
        b->idle_ms += (double)calls->between(g->d, END_MARK + before, START_MARK + at);
    for (uint32_t i = 0; i < n; i++) mr_drawn_read(&g->answers[ticket * g->max_head + i], &outs[i]);
    return MR_OK;
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

    (void)d->calls->wait(d, NULL); /* what is under way is computed for nobody, but in our memory */
    mr_recordings_drop(&g->recordings);
    mr_dev_weights_deinit(&g->weights);
    d->calls->release(d, g->work);
    d->calls->release(d, g->cache);
    for (uint32_t i = 0; i < N_STAGES; i++) d->calls->unpin(d, g->stages[i]);
    d->calls->unpin(d, g->answers);
    d->calls->unpin(d, g->logits_host);
    d->calls->unpin(d, g->hand);
    d->calls->unpin(d, g->swap);
    mr_draws_deinit(&g->draws);
    free(g->padded);
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
    .ask = step_ask,
    .replay = step_replay,
    .draw = step_draw,
    .finish = step_finish,
    .collect = step_collect,
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
    g->drawn = place(l, g->max_head * sizeof *g->drawn);
    g->latest = place(l, (g->max_head + 1) * sizeof *g->latest);
}

static uint64_t block_bytes(const mr_hparams *hp, mr_kv_type type) { /* of the cache, one layer */
    return 2ull * hp->n_kv_head * mr_cache_half(type, mr_pitch_of(hp->d_head));
}

static mr_status reserve(gpu *g, mr_pool *pool, mr_err *err) {
    const mr_device_calls *calls = g->d->calls;
    const uint64_t cache = g->n_blocks * block_bytes(&g->m->hp, g->kv_type) * n_layers(g);
    layout l = {0};
    mr_status st;

    st = mr_dev_weights_init(&g->weights, g->d, g->m, g->layers, g->quant, pool, err);
    if (st != MR_OK) return st;
    place_all(g, &l); /* counts */
    if ((st = calls->reserve(g->d, &g->work, l.bytes, "work memory", err)) != MR_OK) return st;
    if ((st = calls->reserve(g->d, &g->cache, cache, "KV cache", err)) != MR_OK) return st;
    l = (layout){.base = g->work};
    place_all(g, &l);
    g->plan.device = mr_plan_lists_in(&g->plan, g->plan_device);
    for (uint32_t i = 0; i < N_STAGES && st == MR_OK; i++)
        st = calls->pin(g->d, &g->stages[i], mr_plan_bytes(&g->plan), "lists of a pass", err);
    if (st != MR_OK) return st;
    if (!is_last(g))
        return calls->pin(g->d, (void **)&g->hand, hand_bytes(g, g->base.max_rows),
                          "what goes to the next layer", err);
    if (!is_whole(g)) return MR_OK;
    return calls->pin(g->d, (void **)&g->answers, N_TICKETS * g->max_head * sizeof *g->answers,
                      "tokens", err);
}

static void init(gpu *g, mr_device *d, const mr_model *m, const mr_room *room) {
    const uint32_t max_rows = room->max_rows < MAX_PASS_ROWS ? room->max_rows : MAX_PASS_ROWS;
    const uint32_t n = room->layers.end - room->layers.first;

    *g = (gpu){.base = {.steps = &gpu_steps,
                        .name = "cuda",
                        .max_rows = max_rows,
                        .block_bytes = n * block_bytes(&m->hp, room->kv_type)},
               .d = d,
               .m = m,
               .layers = room->layers,
               .kv_type = room->kv_type,
               .max_head = room->max_head};
    mr_plan_init(&g->plan, &m->hp, max_rows, room->max_head, room->max_len, d->n_units);
}

static mr_status prepare_draws(gpu *g, const mr_room *room, mr_err *err) {
    g->base.draws = g->m->hp.n_vocab <= MR_DRAW_MAX_VOCAB;
    g->may_record = !room->no_recording;
    g->recordings.d = g->d;
    g->padded = calloc(g->max_head, sizeof *g->padded);
    if (!g->padded) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    return mr_draws_init(&g->draws, g->m->hp.n_vocab, room->eog, room->n_eog, err);
}

void mr_cuda_backend_sizes(mr_split_place *p, uint64_t *layer_bytes, mr_device *d,
                           const mr_model *m, const mr_room *room, mr_gpu_quant quant) {
    layout l = {0};
    gpu g;

    init(&g, d, m, room);
    place_all(&g, &l);
    p->work = l.bytes + g.base.block_bytes + /* the spare block */
              mr_dev_weights_sizes(m, quant, layer_bytes, &p->first_bytes, &p->last_bytes);
    p->layer_bytes = layer_bytes;
    p->block_bytes = block_bytes(&m->hp, room->kv_type);
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
    g->spare = (int32_t)n_blocks;
    g->n_blocks = n_blocks + 1;
    st = is_whole(g) ? prepare_draws(g, room, err) : MR_OK;
    if (st == MR_OK) st = reserve(g, pool, err);
    if (st != MR_OK) {
        gpu_close(&g->base);
        return st;
    }
    *out = &g->base;
    return MR_OK;
}
