/* weights.c - from the file to the device.
 *
 * Matrices go through two pinned buffers: one is filled by the pool's threads, which rearrange rows
 * into tiles (pack.h), while the device copies the other. The device's memory is one piece; a walk
 * over the model gives every weight its place in it. The same walk, without memory, counts.
 *
 * Limits: STAGE_BYTES a buffer, and MR_DEV_MAX_COLS columns, so that a tile fits it. */
#include "engine/cuda/weights.h"

#include <stdlib.h>

#include "engine/cuda/pack_e4m3.h"
#include "engine/pack.h"
#include "engine/rope.h"

#define STAGE_BYTES ((size_t)16 << 20)
#define PLACE_BYTES 256u

_Static_assert(MR_DEV_MAX_COLS *MR_TILE * sizeof(float) <= STAGE_BYTES, "a tile fits a buffer");

typedef struct loader {
    mr_device *d;
    mr_pool *pool;
    const mr_model *m;
    mr_gpu_quant quant;
    const mr_choice *choice; /* NULL: only tiles */
    uint8_t *memory;         /* NULL: only count */
    size_t used;
    void *stage[2];
    int at;    /* the buffer to fill */
    bool e4m3; /* what a matrix is to become */
    mr_status status;
    mr_err *err;
} loader;

static uint8_t *place(loader *l, size_t bytes) {
    uint8_t *p = l->memory ? l->memory + l->used : NULL;

    l->used += (bytes + PLACE_BYTES - 1) / PLACE_BYTES * PLACE_BYTES;
    return p;
}

/* The filled buffer is on its way, and the other one, whose copy was before it, is free. more: of
 * what lies behind `bytes` in the buffer, and goes elsewhere. */
static void send_both(loader *l, void *to, size_t bytes, void *to_more, size_t more) {
    const char *from = l->stage[l->at];

    l->status = l->d->calls->wait(l->d, l->err);
    l->d->calls->copy_in(l->d, to, from, bytes);
    if (more > 0) l->d->calls->copy_in(l->d, to_more, from + bytes, more);
    l->at = !l->at;
}

static void send(loader *l, void *to, size_t bytes) {
    send_both(l, to, bytes, NULL, 0);
}

static const void *place_bytes(loader *l, const void *from, size_t bytes) {
    uint8_t *to = from ? place(l, bytes) : NULL;

    for (size_t i = 0; to && i < bytes && l->status == MR_OK; i += STAGE_BYTES) {
        const size_t n = bytes - i < STAGE_BYTES ? bytes - i : STAGE_BYTES;
        memcpy(l->stage[l->at], (const char *)from + i, n);
        send(l, to + i, n);
    }
    return to;
}

static const float *place_floats(loader *l, const float *from, size_t n) {
    return place_bytes(l, from, n * sizeof *from);
}

typedef struct packing {
    const mr_mat *w;
    const mr_dev_mat *to; /* its form */
    uint8_t *out;
    uint32_t first, n; /* tiles */
} packing;

/* Bytes that 16 rows have behind those of all rows. */
static size_t scale_bytes(const mr_dev_mat *m) {
    return m->in_rows && m->type == MR_DEV_E4M3 ? MR_E4M3_ROW_SCALES : 0;
}

/* In place of the tile's 16 rows, which take as many bytes. */
static void copy_rows(uint8_t *out, const mr_mat *w, uint32_t tile) {
    const uint32_t first = tile * MR_TILE, left = w->rows - first;
    const size_t n = left < MR_TILE ? left : MR_TILE;

    memcpy(out, (const uint8_t *)w->data + first * w->row_bytes, n * w->row_bytes);
}

static void on_tile(void *arg, uint32_t piece, int ith) {
    const packing *p = arg;
    const size_t bytes = p->to->tile_bytes, more = scale_bytes(p->to);
    uint8_t *out = p->out + piece * bytes, *scales = p->out + p->n * bytes + piece * more;
    const bool e4m3 = p->to->type == MR_DEV_E4M3;

    (void)ith;
    memset(out, 0, bytes);
    memset(scales, 0, more);
    if (e4m3 && p->to->in_rows)
        mr_pack_e4m3_rows(out, (float *)(void *)scales, p->w, p->first + piece);
    else
        (p->to->in_rows ? copy_rows
         : e4m3         ? mr_pack_e4m3
                        : mr_pack_tile)(out, p->w, p->first + piece);
}

static uint32_t n_tiles(const mr_mat *w) {
    return (w->rows + MR_TILE - 1) / MR_TILE;
}

mr_dev_mat mr_dev_weights_form(const mr_mat *w, bool e4m3, bool in_rows) {
    mr_dev_mat m = {
        .type = e4m3 ? MR_DEV_E4M3 : w->type, .rows = w->rows, .cols = w->cols, .in_rows = in_rows};

    m.tile_bytes = !e4m3     ? mr_tile_bytes(w->type, w->cols)
                   : in_rows ? mr_e4m3_rows_bytes(w->cols)
                             : mr_e4m3_tile_bytes(w->cols);
    m.scales_at = !e4m3     ? mr_tile_scales_at(w->type, w->cols)
                  : in_rows ? n_tiles(w) * m.tile_bytes
                            : mr_e4m3_scales_at(w->cols);
    return m;
}

/* From its first number to its last; rows may lie further apart than they are long (shard.h). */
static size_t bytes_from(const mr_mat *w) {
    return (w->rows - 1) * w->row_bytes + mr_type_row_bytes(w->type, w->cols);
}

static mr_dev_mat place_as(loader *l, const mr_mat *w, bool in_rows) {
    mr_dev_mat m = mr_dev_weights_form(w, l->e4m3, in_rows);
    const size_t bytes = m.tile_bytes, more = scale_bytes(&m);
    const uint32_t n_all = n_tiles(w), most = (uint32_t)(STAGE_BYTES / (bytes + more));
    uint8_t *to = place(l, n_all * (bytes + more));

    for (uint32_t i = 0, n; to && i < n_all && l->status == MR_OK; i += n) {
        n = n_all - i < most ? n_all - i : most;
        packing p = {w, &m, l->stage[l->at], i, n};
        mr_pool_run(l->pool, n, on_tile, &p);
        send_both(l, to + i * bytes, n * bytes, to + m.scales_at + i * more, n * more);
    }
    if (to) mr_gguf_give_back(l->m->gguf, w->data, bytes_from(w));
    m.tiles = to;
    return m;
}

static mr_dev_mat place_mat(loader *l, const mr_mat *w) {
    return place_as(l, w, false);
}

/* One of a layer. bias: of its product, which is multiplied by scale afterwards; the library can
 * have only one of the two. */
static mr_dev_mat place_chosen(loader *l, const mr_mat *w, const float *bias, float scale) {
    const bool may = l->choice && !(bias && scale != 1);
    const mr_type type = l->e4m3 ? MR_DEV_E4M3 : w->type;

    return place_as(l, w, may && mr_choice_is_library(l->choice, type, w->rows, w->cols));
}

static mr_dev_layer place_layer(loader *l, const mr_layer *y) {
    const mr_hparams *hp = &l->m->hp;
    const size_t d_kv = (size_t)hp->n_kv_head * hp->d_head;

    l->e4m3 = l->quant == MR_GPU_QUANT_FP8;
    const mr_dev_layer placed = {
        .wq = place_chosen(l, &y->wq, y->bq, 1),
        .wk = place_chosen(l, &y->wk, y->bk, 1),
        .wv = place_chosen(l, &y->wv, y->bv, 1),
        .wo = place_chosen(l, &y->wo, y->bo, hp->residual_scale),
        .gate = place_chosen(l, &y->gate, NULL, 1),
        .up = place_chosen(l, &y->up, NULL, 1),
        .down = place_chosen(l, &y->down, NULL, hp->residual_scale),
        .attn_norm = place_floats(l, y->attn_norm, hp->n_embd),
        .ffn_norm = place_floats(l, y->ffn_norm, hp->n_embd),
        .q_norm = place_floats(l, y->q_norm, hp->d_head),
        .k_norm = place_floats(l, y->k_norm, hp->d_head),
        .bq = place_floats(l, y->bq, (size_t)hp->n_head * hp->d_head),
        .bk = place_floats(l, y->bk, d_kv),
        .bv = place_floats(l, y->bv, d_kv),
        .bo = place_floats(l, y->bo, hp->n_embd),
    };
    l->e4m3 = false;
    return placed;
}

static const double *place_speed(loader *l, const double *speed) { /* rope's, on the host */
    return place_bytes(l, speed, l->m->hp.n_rot / 2 * sizeof *speed);
}

static void place_head(loader *l, mr_dev_weights *w) {
    w->output = place_mat(l, &l->m->output);
    w->out_norm = place_floats(l, l->m->out_norm, l->m->hp.n_embd);
}

/* w->layers: NULL when only counting. */
static void walk(loader *l, mr_dev_weights *w, mr_layers range, const double *speed) {
    const bool first = range.first == 0, last = range.end == l->m->hp.n_layer;

    if (last) place_head(l, w);
    if (first) w->tok_embd = last && l->m->tied ? w->output : place_mat(l, &l->m->tok_embd);
    w->speed = place_speed(l, speed);
    for (uint32_t i = range.first; i < range.end; i++) {
        const mr_dev_layer y = place_layer(l, &l->m->layers[i]);
        if (w->layers) w->layers[i] = y;
    }
}

size_t mr_dev_weights_sizes(const mr_model *m, mr_gpu_quant quant, uint64_t *layers,
                            uint64_t *first, uint64_t *last) {
    const double speed = 0; /* only its being there counts */
    mr_dev_weights w = {0};
    loader l = {.m = m, .quant = quant};

    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        l.used = 0;
        place_layer(&l, &m->layers[i]);
        layers[i] = l.used;
    }
    l.used = 0;
    place_mat(&l, &m->tok_embd);
    *first = l.used;
    l.used = 0;
    place_head(&l, &w);
    *last = l.used;
    l.used = 0;
    place_speed(&l, &speed);
    return l.used;
}

static size_t bytes_of(const mr_model *m, mr_layers range, mr_gpu_quant quant) {
    const double speed = 0;
    mr_dev_weights w = {0};
    loader l = {.m = m, .quant = quant};

    walk(&l, &w, range, &speed);
    return l.used;
}

static mr_status load(mr_dev_weights *w, loader *l, mr_layers range, const double *speed) {
    mr_status st;

    for (int i = 0; i < 2; i++)
        if ((st = l->d->calls->pin(l->d, &l->stage[i], STAGE_BYTES, "loading weights", l->err)) !=
            MR_OK)
            return st;
    l->memory = w->memory;
    walk(l, w, range, speed);
    return l->status == MR_OK ? l->d->calls->wait(l->d, l->err) : l->status;
}

mr_status mr_dev_weights_init(mr_dev_weights *w, mr_device *d, const mr_model *m, mr_layers range,
                              mr_gpu_quant quant, const mr_choice *choice, mr_pool *pool,
                              mr_err *err) {
    loader l = {.d = d, .pool = pool, .m = m, .quant = quant, .choice = choice, .err = err};
    double *speed = calloc(m->hp.n_rot / 2 + 1, sizeof *speed); /* + 1: never a calloc of 0 */
    mr_status st;

    *w = (mr_dev_weights){.d = d};
    w->layers = calloc(m->hp.n_layer, sizeof *w->layers);
    if (!w->layers || !speed) {
        st = mr_fail(err, MR_ENOMEM, "engine: out of memory");
    } else {
        w->rope_factor = mr_rope_speeds(&m->hp, speed);
        st = d->calls->reserve(d, &w->memory, bytes_of(m, range, quant), "weights", err);
        if (st == MR_OK) st = load(w, &l, range, speed);
    }
    for (int i = 0; i < 2; i++) d->calls->unpin(d, l.stage[i]);
    free(speed);
    if (st != MR_OK) mr_dev_weights_deinit(w);
    return st;
}

void mr_dev_weights_deinit(mr_dev_weights *w) {
    if (w->d) w->d->calls->release(w->d, w->memory);
    free(w->layers);
    *w = (mr_dev_weights){0};
}
