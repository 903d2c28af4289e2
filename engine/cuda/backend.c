/* backend.c - a model's layers on a device: what they need of its memory, open to close, and the
 * blocks of its cache.
 *
 * Plain C: the device is a table of calls. Memory of the device: weights, activations of max_rows
 * rows, records of attention, and the KV cache of its layers. Inputs of products are padded to
 * MR_PAD_ROWS rows: kernels read whole tiles. Only who has all layers draws tokens; a part of a
 * chain (chain.h) hands x on, by way of the host, or has the logits come back.
 *
 * Limits: MAX_PASS_ROWS rows a pass, MR_GPU_HEAD_ROWS rows of logits at a time. */
#include "engine/cuda/backend.h"

#include <stdlib.h>

#include "engine/cuda/backend_internal.h"

#define MAX_PASS_ROWS  2048u
#define FP8_CAPABILITY 89
#define PLACE_BYTES    256u
#define LIBRARY_BYTES  ((size_t)32 << 20) /* NVIDIA's advice for Hopper; others need less */

static bool is_last(const mr_gpu *g) {
    return g->layers.end == g->m->hp.n_layer;
}

static bool is_whole(const mr_gpu *g) {
    return g->layers.first == 0 && is_last(g);
}

/* ---- blocks of the cache ---- */

/* A block of the cache: keys of each layer, then values, all the same distance apart. */
static char *block_at(const mr_gpu *g, int32_t block) {
    return (char *)g->cache + (size_t)block * (g->base.block_bytes / (2 * mr_gpu_n_layers(g)));
}

static void save(mr_backend *b, int32_t block, void *host) {
    const mr_gpu *g = mr_gpu_of(b);
    const size_t n = 2 * mr_gpu_n_layers(g), bytes = b->block_bytes / n;

    g->d->calls->rows_out(g->d, host, block_at(g, block), bytes, g->n_blocks * bytes, n);
}

static void load(mr_backend *b, int32_t block, const void *host) {
    const mr_gpu *g = mr_gpu_of(b);
    const size_t n = 2 * mr_gpu_n_layers(g), bytes = b->block_bytes / n;

    g->d->calls->rows_in(g->d, block_at(g, block), host, bytes, g->n_blocks * bytes, n);
}

static mr_status settle(mr_backend *b, mr_err *err) {
    return mr_gpu_of(b)->d->calls->wait(mr_gpu_of(b)->d, err);
}

static void *reserve_swap(mr_backend *b, size_t bytes, mr_err *err) {
    mr_gpu *g = mr_gpu_of(b);

    return g->d->calls->pin(g->d, &g->swap, bytes, "swapped KV blocks", err) == MR_OK ? g->swap
                                                                                      : NULL;
}

static float *reserve_logits(mr_backend *b, size_t n_rows, mr_err *err) {
    mr_gpu *g = mr_gpu_of(b);
    const size_t bytes = n_rows * g->m->hp.n_vocab * sizeof(float);

    return g->d->calls->pin(g->d, &g->logits_host, bytes, "logits", err) == MR_OK ? g->logits_host
                                                                                  : NULL;
}

/* ---- open and close ---- */

static void gpu_close(mr_backend *b) {
    mr_gpu *g = mr_gpu_of(b);
    mr_device *d = g->d;

    (void)d->calls->wait(d, NULL); /* what is under way is computed for nobody, but in our memory */
    mr_recordings_drop(&g->recordings);
    mr_dev_weights_deinit(&g->weights);
    d->calls->release(d, g->work);
    d->calls->release(d, g->cache);
    for (uint32_t i = 0; i < MR_GPU_STAGES; i++) d->calls->unpin(d, g->stages[i]);
    d->calls->unpin(d, g->answers);
    d->calls->unpin(d, g->logits_host);
    d->calls->unpin(d, g->hand);
    d->calls->unpin(d, g->swap);
    mr_draws_deinit(&g->draws);
    free(g->padded);
    free(g);
}

static const mr_steps gpu_steps = {
    .begin = mr_gpu_begin,
    .qkv = mr_gpu_qkv,
    .rotate = mr_gpu_rotate,
    .keep_wanted = mr_gpu_keep_wanted,
    .attend = mr_gpu_attend,
    .attn_out = mr_gpu_attn_out,
    .gate_up = mr_gpu_gate_up,
    .down = mr_gpu_down,
    .hand_out = mr_gpu_hand_out,
    .hand_in = mr_gpu_hand_in,
    .save = save,
    .load = load,
    .settle = settle,
    .reserve_swap = reserve_swap,
    .head = mr_gpu_head,
    .ask = mr_gpu_ask,
    .replay = mr_gpu_replay,
    .draw = mr_gpu_draw,
    .finish = mr_gpu_finish,
    .collect = mr_gpu_collect,
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
    if (d->code < FP8_CAPABILITY) /* the driver made it from older code, which cannot do it */
        return mr_fail(err, MR_EUNSUPPORTED,
                       "gpu_quant: fp8 needs code for compute capability %u.%u, which %.60s has; "
                       "this build has %u.%u for it (MR_CUDA_ARCHS)",
                       d->capability / 10, d->capability % 10, d->name, d->code / 10, d->code % 10);
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

static void place_all(mr_gpu *g, layout *l) {
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
    g->top = place(l, sizeof(float) * padded(MR_GPU_HEAD_ROWS) * hp->n_embd);
    g->logits = place(l, sizeof(float) * MR_GPU_HEAD_ROWS * hp->n_vocab);
    g->narrow = place(l, eight * (n_narrow / 32));
    g->wide = place(l, eight * (hp->n_ff / 32));
    if (g->n_ranks > 1) g->parts = place(l, g->n_ranks * row * hp->n_embd);
    if (g->has_library) {
        const size_t n_wide = hp->n_ff > n_narrow ? hp->n_ff : n_narrow;
        if (g->quant == MR_GPU_QUANT_FP8) {
            g->codes = place(l, n * n_wide);
            g->code_scales = place(l, row);
        } else {
            g->halves = place(l, n * n_wide * sizeof *g->halves);
        }
        g->workspace = place(l, LIBRARY_BYTES);
    }
    g->records = place(l, mr_plan_record_bytes(&g->plan));
    g->plan_device = place(l, mr_plan_bytes(&g->plan));
    g->drawn = place(l, g->max_head * sizeof *g->drawn);
    g->latest = place(l, (g->max_head + 1) * sizeof *g->latest);
}

static uint64_t block_bytes(const mr_hparams *hp, mr_kv_type type) { /* of the cache, one layer */
    return 2ull * hp->n_kv_head * mr_cache_half(type, mr_pitch_of(hp->d_head));
}

/* Inputs are rounded to one type for the library: that of the weights, or e4m3. FP8 weights go in
 * whole 16 rows; columns are whole 32 (check_fp8). */
static bool may_be_library(const mr_gpu *g, const mr_mat *w) {
    return g->quant == MR_GPU_QUANT_FP8 ? w->rows % MR_TILE == 0 : w->type == g->half_type;
}

/* Which products of the range's first layer the library is faster at, measured on a matrix of zeros
 * with the activations that the steps will use. */
static mr_status measure(mr_gpu *g, mr_choice *choice, const uint8_t *zeros, mr_err *err) {
    const mr_layer *y = &g->m->layers[g->layers.first];
    const float scale = g->m->hp.residual_scale;
    const struct {
        const mr_mat *w;
        mr_product like;
    } products[] = {{&y->wq, {.x = g->h, .y = g->q, .scale = 1}},
                    {&y->wk, {.x = g->h, .y = g->k, .scale = 1}},
                    {&y->wo, {.x = g->att, .y = g->x, .scale = scale, .adds = true}},
                    {&y->gate, {.x = g->h, .y = g->gate, .scale = 1}},
                    {&y->down, {.x = g->gate, .y = g->x, .scale = scale, .adds = true}}};
    const bool fp8 = g->quant == MR_GPU_QUANT_FP8;
    const uint32_t max_rows = g->base.max_rows;
    const uint32_t n_toks[] = {1, g->max_head < max_rows ? g->max_head : max_rows, max_rows};
    mr_status st = MR_OK;

    for (size_t i = 0; i < MR_COUNT(products) && st == MR_OK; i++) {
        mr_product tiles = products[i].like, rows;
        if (!may_be_library(g, products[i].w)) continue;
        tiles.w = mr_dev_weights_form(products[i].w, fp8, false);
        tiles.w.tiles = zeros;
        tiles.blocks = products[i].w == &y->down ? g->wide : g->narrow;
        rows = tiles;
        rows.w = mr_dev_weights_form(products[i].w, fp8, true);
        rows.w.tiles = zeros;
        rows.halves = g->halves;
        rows.codes = g->codes;
        rows.code_scales = g->code_scales;
        rows.raw = rows.adds ? g->h : rows.y;
        st = mr_choice_measure(choice, g->d, &tiles, &rows, n_toks, err);
    }
    return st;
}

static mr_status choose(mr_gpu *g, mr_choice *choice, mr_err *err) {
    const mr_device_calls *calls = g->d->calls;
    const mr_hparams *hp = &g->m->hp;
    const size_t d_q = (size_t)hp->n_head * hp->d_head;
    const size_t wide = hp->n_ff > d_q ? hp->n_ff : d_q; /* every matrix has n_embd on one side */
    const size_t bytes = (wide + MR_TILE) * (hp->n_embd + MR_TILE) * sizeof(uint16_t);
    void *zeros = NULL;
    mr_status st = calls->open_library(g->d, g->workspace, LIBRARY_BYTES, err);

    if (st == MR_OK) st = calls->reserve(g->d, &zeros, bytes, "a matrix to measure with", err);
    if (st == MR_OK) st = measure(g, choice, zeros, err);
    calls->release(g->d, zeros);
    return st;
}

static mr_status reserve(mr_gpu *g, mr_pool *pool, mr_err *err) {
    const mr_device_calls *calls = g->d->calls;
    const uint64_t cache = g->n_blocks * block_bytes(&g->m->hp, g->kv_type) * mr_gpu_n_layers(g);
    mr_choice choice = {0};
    layout l = {0};
    mr_status st;

    place_all(g, &l); /* counts */
    if ((st = calls->reserve(g->d, &g->work, l.bytes, "work memory", err)) != MR_OK) return st;
    l = (layout){.base = g->work};
    place_all(g, &l);
    if (g->has_library && (st = choose(g, &choice, err)) != MR_OK) return st;
    st = mr_dev_weights_init(&g->weights, g->d, g->m, g->layers, g->quant, &choice, pool, err);
    if (st != MR_OK) return st;
    if ((st = calls->reserve(g->d, &g->cache, cache, "KV cache", err)) != MR_OK) return st;
    g->plan.device = mr_plan_lists_in(&g->plan, g->plan_device);
    for (uint32_t i = 0; i < MR_GPU_STAGES && st == MR_OK; i++)
        st = calls->pin(g->d, &g->stages[i], mr_plan_bytes(&g->plan), "lists of a pass", err);
    if (st != MR_OK) return st;
    if (!is_last(g))
        return calls->pin(g->d, (void **)&g->hand, mr_gpu_x_bytes(g, g->base.max_rows),
                          "what goes to the next layer", err);
    if (!is_whole(g)) return MR_OK;
    return calls->pin(g->d, (void **)&g->answers, MR_GPU_TICKETS * g->max_head * sizeof *g->answers,
                      "tokens", err);
}

static void init(mr_gpu *g, mr_device *d, const mr_model *m, const mr_room *room,
                 mr_gpu_quant quant) {
    const uint32_t max_rows = room->max_rows < MAX_PASS_ROWS ? room->max_rows : MAX_PASS_ROWS;
    const uint32_t n = room->layers.end - room->layers.first;

    *g = (mr_gpu){.base = {.steps = &gpu_steps,
                           .name = "cuda",
                           .max_rows = max_rows,
                           .block_bytes = n * block_bytes(&m->hp, room->kv_type)},
                  .d = d,
                  .m = m,
                  .layers = room->layers,
                  .quant = quant,
                  .kv_type = room->kv_type,
                  .max_head = room->max_head,
                  .rank = room->rank,
                  .n_ranks = room->n_ranks,
                  .half_type = m->layers[0].wq.type};
    /* Slices that ranks have are not whole rows of the file, so they are kept in tiles. */
    g->has_library =
        room->not_reproducible && room->n_ranks <= 1 &&
        (quant == MR_GPU_QUANT_FP8 || g->half_type == MR_TYPE_F16 || g->half_type == MR_TYPE_BF16);
    mr_plan_init(&g->plan, &m->hp, max_rows, room->max_head, room->max_len, d->n_units);
}

static mr_status prepare_draws(mr_gpu *g, const mr_room *room, mr_err *err) {
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
    mr_gpu g;

    init(&g, d, m, room, quant);
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
    mr_gpu *g;

    *out = NULL;
    if (st == MR_OK && quant == MR_GPU_QUANT_FP8) st = check_fp8(d, m, err);
    if (st != MR_OK) return st;
    if (!(g = malloc(sizeof *g))) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    init(g, d, m, room, quant);
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
