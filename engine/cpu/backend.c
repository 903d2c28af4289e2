/* backend.c - the steps of a pass on the processor's cores.
 *
 * Threads. Each line of forward.c is a phase: cut into pieces that pool threads take from a shared
 * counter (a slowed-down core takes fewer), with a join behind it. What follows a product element
 * by element (bias, silu, residual) is done by the piece that made the slice: it is in cache, and a
 * join is saved. A phase too small to be worth a join runs on the caller alone.
 *
 * Pieces of a product are as large as still lets all threads end together: where few tokens share
 * the weights, these come from memory, and kernels ask for those of the rows behind theirs; at the
 * end of a piece that is another thread's.
 *
 * Bit-identity. An op's result for one (row, token) depends on that row and token alone (ops.h),
 * not on the piece it is in; attention reads the positions of its own sequence in order.
 *
 * Memory. Activations of a pass are bounded by MAX_ACTIVATION_BYTES: the engine makes several
 * passes of a step with more rows. */
#include "engine/cpu/backend.h"

#include <stdlib.h>
#include <string.h>

#include "engine/attend.h"
#include "engine/memory.h"
#include "engine/quant.h"
#include "engine/rope.h"

#define PIECE_ROWS           64u  /* outputs of a matrix per piece, and */
#define MAX_PIECE_ROWS       256u /* for up to FEW_TOKENS, if each thread still has two pieces */
#define FEW_TOKENS           64u
#define MAX_ACTIVATION_BYTES (16u << 20)
#define MIN_PASS_ROWS        16u
#define ALIGN_BYTES          64u
#define MIN_SHARED_WORK      (1u << 18) /* multiplications; fewer cost less than waking a thread */
#define VALUE_WORK           32         /* of them cost what norm, rotation and cache take a value */

typedef struct prepared { /* inputs of a product, in the forms of ops.h that are not x itself */
    mr_xblock *blocks;
    mr_xsplit *split;
    mr_xshort *shorts;
} prepared;

enum { AS_BLOCKS = 1, AS_SPLIT = 2, AS_SHORT = 4 }; /* which of them weights want */

typedef struct cpu {
    mr_backend base;
    const mr_model *m;
    const mr_ops *ops;
    mr_pool *pool;
    mr_kv *kv;
    mr_attend attend;
    uint32_t max_head;
    float *kept_logits;
    size_t kept_bytes;
    double *speed; /* [n_rot/2] */
    double rope_factor;

    /* Activations, [max_rows, ...] in one mapping. */
    char *pages;
    size_t pages_bytes;
    float *x, *h;          /* [n_embd] */
    float *q, *att;        /* [n_head * d_head] */
    float *k, *v;          /* [n_kv_head * d_head] */
    float *gate, *up;      /* [n_ff] */
    float *cos, *sin;      /* [n_rot/2] */
    float *top;            /* [max_head, n_embd] */
    prepared narrow, wide; /* inputs as weights want them; wide: [n_ff] */
    uint32_t *live;        /* rows that still go on: x[i] belongs to rows[live[i]] */
    char *scratch;         /* [n_threads, scratch_bytes] */
    size_t scratch_bytes;

    /* The pass at work; written between phases only. */
    const mr_row *rows;
    uint32_t n, n_top; /* live rows; rows of the head */
    uint32_t first;    /* of the head */
    uint32_t piece_rows;
    const mr_layer *layer;
    uint32_t layer_no;
    const float *norm; /* weights of this norm */
    unsigned forms;    /* what the weights that it feeds want */
    float *logits;
} cpu;

typedef void piece_fn(cpu *f, uint32_t piece, void *scratch);

/* ---- sharing a phase ---- */

typedef struct phase {
    cpu *f;
    piece_fn *fn;
} phase;

static void on_piece(void *arg, uint32_t piece, int ith) {
    const phase *p = arg;

    p->fn(p->f, piece, p->f->scratch + (size_t)ith * p->f->scratch_bytes);
}

static void share(cpu *f, piece_fn *fn, uint32_t n_pieces, uint64_t work) {
    if (work >= MIN_SHARED_WORK) {
        mr_pool_run(f->pool, n_pieces, on_piece, &(phase){f, fn});
        return;
    }
    for (uint32_t i = 0; i < n_pieces; i++) fn(f, i, f->scratch);
}

static uint32_t piece_rows_for(const cpu *f, uint32_t n_tok) {
    const uint32_t each = f->m->hp.n_embd / (2 * (uint32_t)mr_pool_size(f->pool));

    if (n_tok > FEW_TOKENS || each < 2 * PIECE_ROWS) return PIECE_ROWS;
    return each > MAX_PIECE_ROWS ? MAX_PIECE_ROWS : each / PIECE_ROWS * PIECE_ROWS;
}
static uint32_t n_pieces(const cpu *f, const mr_mat *w) {
    return (w->rows + f->piece_rows - 1) / f->piece_rows;
}
/* Of w, that are in a piece. */
static uint32_t rows_in(const cpu *f, const mr_mat *w, uint32_t piece) {
    const uint32_t left = w->rows - piece * f->piece_rows;

    return left < f->piece_rows ? left : f->piece_rows;
}
static uint64_t n_products(const mr_mat *w) {
    return (uint64_t)w->rows * w->cols;
}

static unsigned form_for(const cpu *f, const mr_mat *w) { /* 0: x itself */
    if (mr_type_block(w->type) > 1) return f->ops->shorten ? AS_SHORT : AS_BLOCKS;
    return f->ops->split && w->type != MR_TYPE_F32 ? AS_SPLIT : 0;
}

static uint32_t n_tiles(uint32_t n) { /* of tokens */
    return (n + MR_TILE - 1) / MR_TILE;
}
static size_t n_blocks(uint32_t cols) {
    return (cols + MR_X_COLS - 1) / MR_X_COLS;
}

/* Columns c .. c + n of rows [row, row + 16) or those that there are of x[n_rows, cols]; c is a
 * multiple of MR_X_COLS, and n too unless it is the last column. */
static void prepare_tile(const cpu *f, unsigned forms, const prepared *to, const float *x,
                         uint32_t cols, uint32_t row, uint32_t n_rows, uint32_t c, uint32_t n) {
    const uint32_t n_tok = n_rows - row < MR_TILE ? n_rows - row : MR_TILE;
    const size_t at = row / MR_TILE * n_blocks(cols) + c / MR_X_COLS;

    x += (size_t)row * cols + c;
    if (forms & AS_BLOCKS) f->ops->round(to->blocks + at, x, cols, n_tok, n / MR_X_COLS);
    if (forms & AS_SHORT) f->ops->shorten(to->shorts + at, x, cols, n_tok, n / MR_X_COLS);
    if (forms & AS_SPLIT) f->ops->split(to->split + at, x, cols, n_tok, n);
}

/* One piece of y[n, rows] = x[n, cols] W^T (+ bias); in: x in the form that w wants. */
static void project(const cpu *f, uint32_t n, const mr_mat *w, const float *bias, float *y,
                    const float *x, const prepared *in, uint32_t piece, void *scratch) {
    const uint32_t r0 = piece * f->piece_rows, r1 = r0 + rows_in(f, w, piece);

    f->ops->matmul(y, w->rows, w, r0, r1,
                   &(mr_input){x, w->cols, in->blocks, in->split, in->shorts, n_blocks(w->cols)}, n,
                   scratch);
    if (!bias) return;
    for (uint32_t t = 0; t < n; t++) f->ops->add(y + (size_t)t * w->rows + r0, bias + r0, r1 - r0);
}

/* The same, then x[n, rows] += that slice. */
static void project_back(const cpu *f, const mr_mat *w, const float *bias, const float *x,
                         const prepared *in, uint32_t piece, void *scratch) {
    const uint32_t r0 = piece * f->piece_rows, n = rows_in(f, w, piece);
    const float scale = f->m->hp.residual_scale;

    project(f, f->n, w, bias, f->h, x, in, piece, scratch);
    for (uint32_t t = 0; t < f->n; t++) {
        float *y = f->h + (size_t)t * w->rows + r0;

        if (scale != 1)
            for (uint32_t i = 0; i < n; i++) y[i] *= scale;
        f->ops->add(f->x + (size_t)t * w->rows + r0, y, n);
    }
}

/* ---- phases ---- */

static void on_embed(cpu *f, uint32_t row, void *scratch) {
    const mr_hparams *hp = &f->m->hp;
    const mr_mat *w = &f->m->tok_embd;
    const char *weights = (const char *)w->data + (size_t)f->rows[row].token * w->row_bytes;
    float *x = f->x + (size_t)row * hp->n_embd;
    const uint32_t half = hp->n_rot / 2;

    (void)scratch;
    mr_dequantize_row(x, weights, w->type, hp->n_embd);
    if (hp->embd_scale != 1)
        for (uint32_t i = 0; i < hp->n_embd; i++) x[i] *= hp->embd_scale;
    mr_rope_angles(f->speed, f->rope_factor, half, f->rows[row].pos, f->cos + (size_t)row * half,
                   f->sin + (size_t)row * half);
}

/* A piece is a tile of rows: they are prepared in blocks that they share. */
static void on_norm(cpu *f, uint32_t tile, void *scratch) {
    const uint32_t d = f->m->hp.n_embd, first = tile * MR_TILE;

    (void)scratch;
    for (uint32_t i = first; i < f->n && i < first + MR_TILE; i++)
        f->ops->rmsnorm(f->h + (size_t)i * d, f->x + (size_t)i * d, f->norm, d, f->m->hp.rms_eps);
    prepare_tile(f, f->forms, &f->narrow, f->h, d, first, f->n, 0, d);
}

static void on_qkv(cpu *f, uint32_t piece, void *scratch) {
    const mr_layer *l = f->layer;
    const uint32_t n_q = n_pieces(f, &l->wq), n_k = n_pieces(f, &l->wk);

    if (piece < n_q)
        project(f, f->n, &l->wq, l->bq, f->q, f->h, &f->narrow, piece, scratch);
    else if (piece < n_q + n_k)
        project(f, f->n, &l->wk, l->bk, f->k, f->h, &f->narrow, piece - n_q, scratch);
    else
        project(f, f->n, &l->wv, l->bv, f->v, f->h, &f->narrow, piece - n_q - n_k, scratch);
}

/* Heads of one row: norm (qwen3) and rotation, in place. */
static void turn(const cpu *f, float *heads, uint32_t n, const float *norm, uint32_t row) {
    const mr_hparams *hp = &f->m->hp;
    const size_t half = hp->n_rot / 2;

    for (uint32_t i = 0; i < n; i++, heads += hp->d_head) {
        if (norm) f->ops->rmsnorm(heads, heads, norm, hp->d_head, hp->rms_eps);
        f->ops->rope(heads, f->cos + row * half, f->sin + row * half, hp->n_rot, hp->rope_neox);
    }
}

/* What of a block's rows has to do with one key head; its keys and values go into the cache. */
static void turn_head(void *arg, const mr_attend_block *b, uint32_t kv_head, void *scratch) {
    cpu *f = arg;
    const mr_hparams *hp = &f->m->hp;
    const uint32_t group = hp->n_head / hp->n_kv_head;

    for (uint32_t row = b->first; row < b->first + b->n_rows; row++) {
        const size_t kv = ((size_t)row * hp->n_kv_head + kv_head) * hp->d_head;

        turn(f, f->q + kv * group, group, f->layer->q_norm, row);
        turn(f, f->k + kv, 1, f->layer->k_norm, row);
        mr_kv_put(f->kv, f->ops, f->layer_no, b->table, f->rows[row].pos, kv_head, f->k + kv,
                  f->v + kv, scratch);
    }
}

static void on_rotate(cpu *f, uint32_t block, void *scratch) {
    const mr_attend_block *b = &f->attend.blocks[block];

    if (f->attend.due && b->alone) return;
    for (uint32_t h = 0; h < f->m->hp.n_kv_head; h++) turn_head(f, b, h, scratch);
}

static void on_attend(cpu *f, uint32_t piece, void *scratch) {
    mr_attend_piece(&f->attend, piece, f->layer_no, f->q, f->att, scratch);
}

static void on_prepare_att(cpu *f, uint32_t tile, void *scratch) {
    const mr_mat *w = &f->layer->wo;

    (void)scratch;
    prepare_tile(f, form_for(f, w), &f->narrow, f->att, w->cols, tile * MR_TILE, f->n, 0, w->cols);
}

static void on_attn_out(cpu *f, uint32_t piece, void *scratch) {
    project_back(f, &f->layer->wo, f->layer->bo, f->att, &f->narrow, piece, scratch);
}

static void on_gate_up(cpu *f, uint32_t piece, void *scratch) {
    const mr_mat *w = &f->layer->gate;
    const uint32_t r0 = piece * f->piece_rows, n = rows_in(f, w, piece);

    project(f, f->n, w, NULL, f->gate, f->h, &f->narrow, piece, scratch);
    project(f, f->n, &f->layer->up, NULL, f->up, f->h, &f->narrow, piece, scratch);
    for (uint32_t t = 0; t < f->n; t++) {
        float *gate = f->gate + (size_t)t * w->rows + r0;

        f->ops->silu_mul(gate, gate, f->up + (size_t)t * w->rows + r0, n);
    }
    for (uint32_t t = 0; t < f->n; t += MR_TILE)
        prepare_tile(f, form_for(f, &f->layer->down), &f->wide, f->gate, w->rows, t, f->n, r0, n);
}

static void on_down(cpu *f, uint32_t piece, void *scratch) {
    project_back(f, &f->layer->down, NULL, f->gate, &f->wide, piece, scratch);
}

static void on_top_norm(cpu *f, uint32_t tile, void *scratch) {
    const uint32_t d = f->m->hp.n_embd, first = tile * MR_TILE;

    (void)scratch;
    for (uint32_t i = first; i < f->n_top && i < first + MR_TILE; i++)
        f->ops->rmsnorm(f->top + (size_t)i * d, f->x + (size_t)(f->first + i) * d, f->m->out_norm,
                        d, f->m->hp.rms_eps);
    prepare_tile(f, form_for(f, &f->m->output), &f->narrow, f->top, d, first, f->n_top, 0, d);
}

static void on_head(cpu *f, uint32_t piece, void *scratch) {
    const mr_mat *w = &f->m->output;
    const float scale = f->m->hp.logit_scale;

    project(f, f->n_top, w, NULL, f->logits, f->top, &f->narrow, piece, scratch);
    if (scale == 1) return;
    const uint32_t r0 = piece * f->piece_rows, n = rows_in(f, w, piece);
    for (uint32_t t = 0; t < f->n_top; t++)
        for (uint32_t r = r0; r < r0 + n; r++) f->logits[(size_t)t * w->rows + r] *= scale;
}

/* ---- the steps ---- */

static cpu *of(mr_backend *b) {
    return (cpu *)b; /* its first member */
}

static mr_status step_begin(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err) {
    cpu *f = of(b);
    const mr_hparams *hp = &f->m->hp;

    (void)err;
    f->rows = rows;
    f->n = n;
    f->piece_rows = piece_rows_for(f, n);
    for (uint32_t i = 0; i < n; i++) f->live[i] = i;
    mr_attend_plan(&f->attend, rows, f->live, n);
    share(f, on_embed, n, (uint64_t)n * (hp->n_embd + 32 * hp->n_rot)); /* a sine costs some 30 */
    return MR_OK;
}

static void set_layer(cpu *f, uint32_t layer) {
    f->layer_no = layer;
    f->layer = &f->m->layers[layer];
}

static uint64_t d_qkv(const mr_hparams *hp) {
    return (uint64_t)(hp->n_head + 2 * hp->n_kv_head) * hp->d_head;
}

static void step_qkv(mr_backend *b, uint32_t layer) {
    cpu *f = of(b);
    const mr_hparams *hp = &f->m->hp;

    set_layer(f, layer);
    const mr_layer *l = f->layer;
    f->norm = l->attn_norm;
    f->forms = form_for(f, &l->wq) | form_for(f, &l->wk) | form_for(f, &l->wv);
    share(f, on_norm, n_tiles(f->n), (uint64_t)f->n * hp->n_embd);
    share(f, on_qkv, n_pieces(f, &l->wq) + n_pieces(f, &l->wk) + n_pieces(f, &l->wv),
          f->n * d_qkv(hp) * hp->n_embd);
}

/* Blocks that are alone wait for their attention, but in the last layer: there some rows do not
 * attend. */
static void step_rotate(mr_backend *b, uint32_t layer) {
    cpu *f = of(b);
    mr_attend *a = &f->attend;

    set_layer(f, layer);
    a->due = layer + 1 < f->m->hp.n_layer ? turn_head : NULL;
    a->due_arg = f;
    if (a->due && a->n_alone == a->n_blocks) return;
    share(f, on_rotate, a->n_blocks, f->n * d_qkv(&f->m->hp) * VALUE_WORK);
}

/* Drops the other rows from x and q. */
static void step_keep_wanted(mr_backend *b) {
    cpu *f = of(b);
    const mr_hparams *hp = &f->m->hp;
    const size_t d = hp->n_embd, dq = (size_t)hp->n_head * hp->d_head;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < f->n; i++) {
        if (!f->rows[i].want) continue;
        if (kept != i) {
            memcpy(f->x + kept * d, f->x + i * d, d * sizeof *f->x);
            memcpy(f->q + kept * dq, f->q + i * dq, dq * sizeof *f->q);
        }
        f->live[kept++] = i;
    }
    f->n = kept;
    mr_attend_plan(&f->attend, f->rows, f->live, kept);
}

static void step_attend(mr_backend *b, uint32_t layer) {
    cpu *f = of(b);
    const mr_hparams *hp = &f->m->hp;
    uint64_t n_scores = 0, work = f->attend.due ? f->n * d_qkv(hp) * VALUE_WORK : 0;

    set_layer(f, layer);
    for (uint32_t i = 0; i < f->n; i++) n_scores += f->rows[f->live[i]].pos + 1;
    mr_attend_arm(&f->attend);
    work += 2 * n_scores * hp->n_head * hp->d_head;
    share(f, on_attend, f->attend.n_pieces, work);
}

static void step_attn_out(mr_backend *b, uint32_t layer) {
    cpu *f = of(b);

    set_layer(f, layer);
    const mr_mat *w = &f->layer->wo;
    if (form_for(f, w)) share(f, on_prepare_att, n_tiles(f->n), (uint64_t)f->n * w->cols);
    share(f, on_attn_out, n_pieces(f, w), f->n * n_products(w));
}

static void step_gate_up(mr_backend *b, uint32_t layer) {
    cpu *f = of(b);

    set_layer(f, layer);
    const mr_layer *l = f->layer;
    f->norm = l->ffn_norm;
    f->forms = form_for(f, &l->gate) | form_for(f, &l->up);
    share(f, on_norm, n_tiles(f->n), (uint64_t)f->n * f->m->hp.n_embd);
    share(f, on_gate_up, n_pieces(f, &l->gate), 2 * f->n * n_products(&l->gate));
}

static void step_down(mr_backend *b, uint32_t layer) {
    cpu *f = of(b);

    set_layer(f, layer);
    share(f, on_down, n_pieces(f, &f->layer->down), f->n * n_products(&f->layer->down));
}

static mr_status hand_out(mr_backend *b, const float **x, mr_err *err) {
    (void)err;
    *x = of(b)->x;
    return MR_OK;
}

static mr_status step_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err) {
    cpu *f = of(b);
    const mr_mat *w = &f->m->output;

    (void)err;
    MR_CHECK(n > 0 && n <= f->max_head && first + n <= f->n);
    f->first = first;
    f->n_top = n;
    f->logits = logits;
    share(f, on_top_norm, n_tiles(n), (uint64_t)n * w->cols);
    share(f, on_head, n_pieces(f, w), n * n_products(w));
    return MR_OK;
}

static void save(mr_backend *b, int32_t block, void *host) {
    const mr_kv *kv = of(b)->kv;

    for (uint32_t i = 0; i < kv->n_layer; i++)
        memcpy((uint8_t *)host + i * kv->block_bytes, mr_kv_at(kv, i, block, 0), kv->block_bytes);
}

static void load(mr_backend *b, int32_t block, const void *host) {
    const mr_kv *kv = of(b)->kv;

    for (uint32_t i = 0; i < kv->n_layer; i++)
        memcpy(mr_kv_at(kv, i, block, 0), (const uint8_t *)host + i * kv->block_bytes,
               kv->block_bytes);
}

static mr_status settle(mr_backend *b, mr_err *err) {
    (void)b;
    (void)err;
    return MR_OK; /* nothing is ever in line */
}

static float *reserve_logits(mr_backend *b, size_t n_rows, mr_err *err) {
    cpu *f = of(b);

    f->kept_bytes = n_rows * f->m->hp.n_vocab * sizeof(float);
    f->kept_logits = mr_pages_map(f->kept_bytes);
    if (!f->kept_logits)
        mr_fail(err, MR_ENOMEM, "engine: no memory for %zu rows of logits", n_rows);
    return f->kept_logits;
}

/* ---- open and close ---- */

typedef struct layout { /* offsets into the mapping grow as parts are placed */
    char *base;         /* NULL: only count */
    size_t bytes;
} layout;

static void *place(layout *l, size_t bytes) {
    char *p = l->base ? l->base + l->bytes : NULL;

    l->bytes += (bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
    return p;
}

static uint32_t pass_rows(const mr_hparams *hp, uint32_t max_rows) {
    const size_t values = 2 * (size_t)hp->n_embd +
                          2 * (size_t)hp->d_head * (hp->n_head + hp->n_kv_head) +
                          2 * (size_t)hp->n_ff + hp->n_rot;
    size_t rows = MAX_ACTIVATION_BYTES / (values * sizeof(float));

    if (rows < MIN_PASS_ROWS) rows = MIN_PASS_ROWS;
    return rows < max_rows ? (uint32_t)rows : max_rows;
}

static size_t thread_bytes(const mr_hparams *hp) {
    const size_t matmul = MR_MATMUL_SCRATCH, attn = mr_attend_scratch(hp);
    const size_t most = matmul > attn ? matmul : attn;

    return (most + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
}

/* Inputs of that many columns. */
static prepared place_inputs(layout *l, uint32_t n_rows, uint32_t cols) {
    const size_t n = n_tiles(n_rows) * n_blocks(cols);
    prepared p;

    p.blocks = place(l, n * sizeof *p.blocks);
    p.split = place(l, n * sizeof *p.split);
    p.shorts = place(l, n * sizeof *p.shorts);
    return p;
}

static void place_all(cpu *f, layout *l, int n_threads) {
    const mr_hparams *hp = &f->m->hp;
    const uint32_t max_rows = f->base.max_rows;
    const size_t row = max_rows * sizeof(float), d_head = hp->d_head;
    const uint32_t d_q = hp->n_head * hp->d_head;

    f->x = place(l, row * hp->n_embd);
    f->h = place(l, row * hp->n_embd);
    f->q = place(l, row * hp->n_head * d_head);
    f->att = place(l, row * hp->n_head * d_head);
    f->k = place(l, row * hp->n_kv_head * d_head);
    f->v = place(l, row * hp->n_kv_head * d_head);
    f->gate = place(l, row * hp->n_ff);
    f->up = place(l, row * hp->n_ff);
    f->cos = place(l, row * (hp->n_rot / 2));
    f->sin = place(l, row * (hp->n_rot / 2));
    f->top = place(l, sizeof(float) * f->max_head * hp->n_embd);
    f->narrow = place_inputs(l, max_rows, hp->n_embd > d_q ? hp->n_embd : d_q);
    f->wide = place_inputs(l, max_rows, hp->n_ff);
    f->live = place(l, max_rows * sizeof *f->live);
    f->speed = place(l, hp->n_rot / 2 * sizeof *f->speed);
    f->scratch_bytes = thread_bytes(hp);
    f->scratch = place(l, f->scratch_bytes * (size_t)n_threads);
}

size_t mr_cpu_backend_bytes(const mr_model *m, const mr_room *room, int n_threads) {
    cpu f = {
        .m = m, .base.max_rows = pass_rows(&m->hp, room->max_rows), .max_head = room->max_head};
    layout l = {0};

    place_all(&f, &l, n_threads);
    return l.bytes + mr_attend_bytes_for(&m->hp, room->max_len);
}

static void cpu_close(mr_backend *b) {
    cpu *f = of(b);

    mr_attend_deinit(&f->attend);
    mr_pages_unmap(f->kept_logits, f->kept_bytes);
    mr_pages_unmap(f->pages, f->pages_bytes);
    free(f);
}

static const mr_steps cpu_steps = {
    .begin = step_begin,
    .qkv = step_qkv,
    .rotate = step_rotate,
    .keep_wanted = step_keep_wanted,
    .attend = step_attend,
    .attn_out = step_attn_out,
    .gate_up = step_gate_up,
    .down = step_down,
    .hand_out = hand_out,
    .save = save,
    .load = load,
    .settle = settle,
    .head = step_head,
    .reserve_logits = reserve_logits,
    .close = cpu_close,
};

static mr_status reserve(cpu *f, const mr_room *room, int n_threads, mr_err *err) {
    layout l = {0};

    place_all(f, &l, n_threads); /* counts */
    f->pages_bytes = l.bytes;
    f->pages = l.base = mr_pages_map(f->pages_bytes);
    if (!f->pages)
        return mr_fail(err, MR_ENOMEM, "engine: cannot reserve %zu MiB of work memory",
                       f->pages_bytes >> 20);
    l.bytes = 0;
    place_all(f, &l, n_threads);
    return mr_attend_init(&f->attend, &f->m->hp, f->ops, f->kv, f->base.max_rows, room->max_len,
                          n_threads, err);
}

mr_status mr_cpu_backend_open(mr_backend **out, const mr_model *m, const mr_ops *ops, mr_pool *pool,
                              mr_kv *kv, const mr_room *room, mr_err *err) {
    cpu *f = calloc(1, sizeof *f);

    *out = NULL;
    if (!f) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    f->base = (mr_backend){.steps = &cpu_steps,
                           .name = ops->name,
                           .max_rows = pass_rows(&m->hp, room->max_rows),
                           .block_bytes = kv->n_layer * kv->block_bytes};
    f->m = m;
    f->ops = ops;
    f->pool = pool;
    f->kv = kv;
    f->max_head = room->max_head;
    const mr_status st = reserve(f, room, mr_pool_size(pool), err);
    if (st != MR_OK) {
        cpu_close(&f->base);
        return st;
    }
    f->rope_factor = mr_rope_speeds(&m->hp, f->speed);
    *out = &f->base;
    return MR_OK;
}
