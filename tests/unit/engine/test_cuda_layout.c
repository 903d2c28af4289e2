/* Goal: the CUDA kernels compute what ops.h defines, whatever the cut: products with quantized
 * weights to the bit, everything else within a bound; what they write for one (row, token) has the
 * same bits in any cut, batch and span; and they touch nothing else.
 *
 * Method: every kernel's body runs as plain C (cuda_twin.h) over odd shapes, against ops_ref or
 * sums in f64. Inputs are allocated to the byte, so that ASan sees what reads too far. Where this
 * machine has a GPU, the same checks run there too. */
#include "tests/cuda_devices.h"

#include "engine/cuda/plan.h"
#include "engine/kv.h"
#include "engine/pack.h"
#include "engine/quant.h"
#include "tests/ops/ops_test.h"

/* Of sum |w| |x|: an input has 21 bits, and 256 products are added up before the first rounding to
 * nearest. */
#define FLOAT_TOL 4e-6

/* ---- devices ---- */

static twin twins = {.base = {.calls = &twin_calls, .name = "twin", .n_units = 1},
                     .free_bytes = 1u << 30};

/* The twin, then the GPU if there is one. */
static mr_device *device_at(size_t i) {
    return i == 0 ? &twins.base : the_gpu();
}

/* ---- weights ---- */

typedef struct shape {
    mr_type type;
    uint32_t rows, cols;
} shape;

static const shape shapes[] = {
    {MR_TYPE_F32, 7, 8},     {MR_TYPE_F32, 50, 1032},  {MR_TYPE_F16, 33, 104},
    {MR_TYPE_F16, 100, 264}, {MR_TYPE_BF16, 67, 536},  {MR_TYPE_Q8_0, 1, 32},
    {MR_TYPE_Q8_0, 37, 288}, {MR_TYPE_Q8_0, 100, 96},  {MR_TYPE_Q8_0, 17, 1056},
    {MR_TYPE_Q4_0, 23, 544}, {MR_TYPE_Q4_K, 2, 256},   {MR_TYPE_Q4_K, 83, 768},
    {MR_TYPE_Q5_K, 19, 512}, {MR_TYPE_Q6_K, 22, 1280}, {MR_TYPE_Q6_K, 130, 256},
};
#define MAX_BATCH 70

typedef struct problem {
    mr_mat w;      /* rows as in a file */
    uint8_t *data; /* w.data, to be freed */
    float *x;      /* [MAX_BATCH, cols] */
    bool rounded;
} problem;

/* As in tests/ops/test_matmul.c: mostly of one sign; every seventh row any bytes. */
static void problem_init(problem *p, const shape *s, uint64_t seed) {
    const size_t row_bytes = mr_type_row_bytes(s->type, s->cols);
    float *row = random_floats(s->cols, seed);

    p->w = (mr_mat){.type = s->type, .rows = s->rows, .cols = s->cols, .row_bytes = row_bytes};
    p->rounded = mr_type_block(s->type) > 1;
    p->w.data = p->data = malloc(row_bytes * s->rows);
    p->x = random_floats((size_t)MAX_BATCH * s->cols, seed + 1);
    for (uint32_t r = 0; r < s->rows; r++) {
        for (uint32_t c = 0; c < s->cols; c++) row[c] = random_f32(&seed) + 1;
        CHECK_I64(mr_quantize_row(p->data + r * row_bytes, row, s->type, s->cols), MR_OK);
        for (size_t i = 0; p->rounded && r % 7 == 6 && i < row_bytes; i++)
            p->data[r * row_bytes + i] = (uint8_t)(random_u32(&seed) & 0xbf);
    }
    for (size_t i = 0; i < (size_t)MAX_BATCH * s->cols; i++) p->x[i] += 1;
    free(row);
}

static void problem_deinit(problem *p) {
    free(p->data);
    free(p->x);
}

static mr_dev_mat put_mat(mr_device *d, const mr_mat *w) {
    const size_t tile_bytes = mr_tile_bytes(w->type, w->cols);
    const uint32_t n_tiles = (w->rows + MR_TILE - 1) / MR_TILE;
    uint8_t *tiles = calloc(n_tiles, tile_bytes);

    for (uint32_t i = 0; i < n_tiles; i++) mr_pack_tile(tiles + i * tile_bytes, w, i);
    const mr_dev_mat m = {
        put(d, tiles, n_tiles * tile_bytes), w->type, w->rows, w->cols, tile_bytes,
        mr_tile_scales_at(w->type, w->cols), false};
    free(tiles);
    return m;
}

static size_t padded(size_t n) {
    return (n + MR_PAD_ROWS - 1) / MR_PAD_ROWS * MR_PAD_ROWS;
}

/* x[n, cols] with the padding that products may read; of the padding, all bits set: NaN. */
static float *put_rows(mr_device *d, const float *x, size_t n, size_t cols) {
    float *all = malloc(padded(n) * cols * sizeof *all);

    memset(all, 0xff, padded(n) * cols * sizeof *all);
    memcpy(all, x, n * cols * sizeof *all);
    float *p = put(d, all, padded(n) * cols * sizeof *all);
    free(all);
    return p;
}

/* ---- products ---- */

static mr_dev_xblock *round_on(mr_device *d, const float *x_dev, uint32_t n, uint32_t cols) {
    const size_t bytes = padded(n) / MR_TOKENS * (cols / 32) * sizeof(mr_dev_xblock);
    mr_dev_xblock *blocks = put(d, NULL, bytes);
    const mr_feed a = {.kind = MR_FEED_SAME, .x = x_dev, .blocks = blocks, .cols = cols, .n = n};

    d->calls->feed(d, &a);
    return blocks;
}

/* y[n, rows] of tokens t0 .. of the problem; n_units sets the cut. */
static float *multiply(mr_device *d, const problem *p, uint32_t t0, uint32_t n, uint32_t n_units) {
    const size_t n_y = (size_t)n * p->w.rows;
    float *y = malloc(n_y * sizeof *y),
          *x = put_rows(d, p->x + t0 * (size_t)p->w.cols, n, p->w.cols);
    mr_product a = {.w = put_mat(d, &p->w), .x = x, .scale = 1, .n_tok = n};
    const uint32_t units = d->n_units;

    if (p->rounded) a.blocks = round_on(d, x, n, p->w.cols);
    a.y = put(d, NULL, n_y * sizeof *y);
    d->n_units = n_units;
    d->calls->product(d, &a);
    d->n_units = units;
    get(d, y, a.y, n_y * sizeof *y);
    drop(d, a.w.tiles);
    drop(d, a.blocks);
    drop(d, a.y);
    drop(d, x);
    return y;
}

/* The same by ops_ref: for quantized weights, all bits are defined. */
static float *multiply_ref(const problem *p) {
    const mr_ops *ref = mr_ops_pick("ref");
    const size_t n_blocks = p->w.cols / 32;
    float *y = malloc((size_t)MAX_BATCH * p->w.rows * sizeof *y);
    mr_xblock *blocks = alloc64((MAX_BATCH / MR_TILE + 1) * (n_blocks + 1) * sizeof *blocks);

    memset(blocks, 0, (MAX_BATCH / MR_TILE + 1) * (n_blocks + 1) * sizeof *blocks);
    for (size_t t = 0; p->rounded && t < MAX_BATCH; t += MR_TILE)
        ref->round(blocks + t / MR_TILE * n_blocks, p->x + t * p->w.cols, p->w.cols,
                   MAX_BATCH - t < MR_TILE ? MAX_BATCH - t : MR_TILE, n_blocks);
    const mr_input in = {.x = p->x, .ldx = p->w.cols, .blocks = blocks, .n_blocks = n_blocks};
    ref->matmul(y, p->w.rows, &p->w, 0, p->w.rows, &in, MAX_BATCH, NULL);
    free(blocks);
    return y;
}

/* Sum |w| |x| of a row and token. */
static double size_of(const problem *p, uint32_t row, uint32_t tok) {
    float *w = malloc(p->w.cols * sizeof *w);
    double size = 0;

    mr_dequantize_row(w, p->data + row * p->w.row_bytes, p->w.type, p->w.cols);
    for (uint32_t c = 0; c < p->w.cols; c++)
        size += fabs((double)w[c] * (double)p->x[(size_t)tok * p->w.cols + c]);
    free(w);
    return size;
}

static const struct cut {
    uint32_t t0, n, n_units; /* n_units 1: large blocks, many: small ones */
} cuts[] = {{0, MAX_BATCH, 1}, {0, MAX_BATCH, 100000}, {3, 1, 1},       {60, 8, 1},
            {11, 9, 1},        {20, 33, 100000},       {69, 1, 100000}, {5, 64, 1}};

TEST(products_are_right_and_the_same_bits_in_every_cut) {
    FOR_EACH_DEVICE(d) for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        problem p;
        problem_init(&p, &shapes[k], k);
        float *want = multiply_ref(&p), *first = NULL;
        for (size_t i = 0; i < MR_COUNT(cuts); i++) {
            const struct cut *c = &cuts[i];
            float *got = multiply(d, &p, c->t0, c->n, c->n_units);
            for (uint32_t t = 0; t < c->n; t++)
                for (uint32_t r = 0; r < p.w.rows; r++) {
                    const float *g = &got[(size_t)t * p.w.rows + r];
                    const size_t at = (size_t)(c->t0 + t) * p.w.rows + r;
                    const float *same = p.rounded ? &want[at] : first ? &first[at] : g;
                    if (memcmp(g, same, sizeof *g) != 0)
                        fail_msg("%s, %s: cut %zu, row %u, token %u is %a, not %a", d->name,
                                 mr_type_name(p.w.type), i, r, t, (double)*g, (double)*same);
                    if (!p.rounded && i == 0 && (r + t) % 5 == 0)
                        CHECK_NEAR(*g, want[at], FLOAT_TOL * size_of(&p, r, t), "product");
                }
            if (i == 0)
                first = got;
            else
                free(got);
        }
        free(first);
        free(want);
        problem_deinit(&p);
    }
}

/* What follows a product: y (+)= scale * (product + bias); nothing beyond the rows and tokens. */
TEST(products_end_with_bias_scale_and_sum) {
    static const uint32_t counts[] = {3, 20};
    FOR_EACH_DEVICE(d) for (size_t k = 0; k < MR_COUNT(counts); k++) {
        const uint32_t rows = 37, cols = 288, n = counts[k];
        const size_t n_y = (size_t)n * rows + 16;
        problem p;
        problem_init(&p, &(shape){MR_TYPE_Q8_0, rows, cols}, 5);
        float *plain = multiply(d, &p, 0, n, 1), *bias = random_floats(rows, 9);
        float *old = random_floats(n_y, 10), *got = malloc(n_y * sizeof *got);
        float *x = put_rows(d, p.x, n, cols);
        mr_product a = {.w = put_mat(d, &p.w),
                        .blocks = round_on(d, x, n, cols),
                        .y = put(d, old, n_y * sizeof *old),
                        .bias = put(d, bias, rows * sizeof *bias),
                        .scale = 0.75f,
                        .adds = true,
                        .n_tok = n};
        d->calls->product(d, &a);
        get(d, got, a.y, n_y * sizeof *got);
        for (size_t i = 0; i < n_y; i++) {
            const float want =
                i < (size_t)n * rows ? old[i] + (plain[i] + bias[i % rows]) * 0.75f : old[i];
            if (memcmp(&got[i], &want, sizeof want) != 0)
                fail_msg("%s: value %zu is %a, not %a", d->name, i, (double)got[i], (double)want);
        }
        drop(d, a.w.tiles);
        drop(d, a.blocks);
        drop(d, a.y);
        drop(d, a.bias);
        drop(d, x);
        free(got);
        free(old);
        free(bias);
        free(plain);
        problem_deinit(&p);
    }
}

/* ---- rows ---- */

/* Rounded blocks against ops_ref's. */
static void check_blocks(const mr_dev_xblock *got, const float *x, uint32_t n, uint32_t cols) {
    mr_xblock *want = alloc64(cols / 32 * sizeof *want);

    for (uint32_t t = 0; t < n; t++) {
        mr_ops_pick("ref")->round(want, x + (size_t)t * cols, cols, 1, cols / 32);
        for (uint32_t b = 0; b < cols / 32; b++) {
            const mr_dev_xblock *g = &got[t / MR_TOKENS * (cols / 32) + b];
            if (isfinite(want[b].scale[0])) {
                CHECK(g->scale[t % MR_TOKENS] == want[b].scale[0]);
                CHECK(g->sum[t % MR_TOKENS] == want[b].sum[0]);
            } else {
                CHECK(!isfinite(g->scale[t % MR_TOKENS]));
            }
            for (int i = 0; i < 32; i++)
                CHECK_I64(g->q[t % MR_TOKENS][MR_PLACE(i)], want[b].q[0][i]);
        }
    }
    free(want);
}

TEST(rows_are_normed_gated_and_rounded) {
    const uint32_t n = 11, cols = 800;
    const size_t bytes = n * cols * sizeof(float);
    const mr_ops *ref = mr_ops_pick("ref");
    FOR_EACH_DEVICE(d) for (int kind = MR_FEED_NORM; kind <= MR_FEED_SAME; kind++) {
        float *x = random_floats(n * cols, 3), *w = random_floats(n * cols, 4);
        float *want = malloc(bytes), *got = malloc(bytes);
        const size_t n_blocks = padded(n) / MR_TOKENS * (cols / 32);
        mr_dev_xblock *blocks = malloc(n_blocks * sizeof *blocks);
        if (kind == MR_FEED_SAME) {
            x[cols + 40] = NAN;
            x[2 * cols + 77] = -INFINITY;
            memset(x + 3 * cols, 0, cols * sizeof *x);
        }
        for (uint32_t t = 0; t < n; t++) {
            float *y = want + t * cols;
            memcpy(y, x + t * cols, cols * sizeof *y);
            if (kind == MR_FEED_NORM) ref->rmsnorm(y, y, w, cols, 1e-5f);
            if (kind == MR_FEED_GATE) ref->silu_mul(y, y, w + t * cols, cols);
        }
        const mr_feed a = {.kind = (mr_feed_kind)kind,
                           .x = put(d, x, bytes),
                           .w = put(d, w, bytes),
                           .y = put(d, NULL, bytes),
                           .blocks = put(d, NULL, n_blocks * sizeof *blocks),
                           .eps = 1e-5f,
                           .cols = cols,
                           .n = n};
        d->calls->feed(d, &a);
        get(d, got, a.y, bytes);
        get(d, blocks, a.blocks, n_blocks * sizeof *blocks);
        float most = 0;
        for (size_t i = 0; kind != MR_FEED_SAME && i < n * cols; i++)
            most = fmaxf(most, fabsf(want[i]));
        for (size_t i = 0; i < n * cols && kind != MR_FEED_SAME; i++)
            CHECK_NEAR(got[i], want[i], MR_NORM_TOL * most, "row");
        check_blocks(blocks, kind == MR_FEED_SAME ? x : got, n, cols);
        drop(d, a.x);
        drop(d, a.w);
        drop(d, a.y);
        drop(d, a.blocks);
        free(blocks);
        free(got);
        free(want);
        free(w);
        free(x);
    }
}

TEST(embeddings_are_the_rows_of_the_file) {
    enum { HALF = 5 };
    static const int32_t tokens[] = {0, 15, 16, 6, 1};
    static const uint32_t pos[] = {0, 1, 77, 4000, 131071};
    double speed[HALF];
    for (int i = 0; i < HALF; i++) speed[i] = pow(1e4, -0.2 * i);
    FOR_EACH_DEVICE(d) for (size_t k = 0; k < MR_COUNT(shapes); k++) {
        const size_t n = MR_COUNT(tokens), cols = shapes[k].cols;
        problem p;
        problem_init(&p, &(shape){shapes[k].type, 17, shapes[k].cols}, k);
        float *got = malloc(n * cols * sizeof *got), *want = malloc(cols * sizeof *want);
        float angles[2][MR_COUNT(tokens) * HALF];
        const mr_embed a = {.x = put(d, NULL, n * cols * sizeof *got),
                            .cos = put(d, NULL, sizeof angles[0]),
                            .sin = put(d, NULL, sizeof angles[0]),
                            .token = put(d, tokens, sizeof tokens),
                            .pos = put(d, pos, sizeof pos),
                            .speed = put(d, speed, sizeof speed),
                            .factor = 1.25,
                            .w = put_mat(d, &p.w),
                            .scale = 1,
                            .half = HALF,
                            .n = (uint32_t)n};
        d->calls->embed(d, &a);
        get(d, got, a.x, n * cols * sizeof *got);
        get(d, angles[0], a.cos, sizeof angles[0]);
        get(d, angles[1], a.sin, sizeof angles[0]);
        for (size_t t = 0; t < n; t++) {
            mr_dequantize_row(want, p.data + (size_t)tokens[t] * p.w.row_bytes, p.w.type, cols);
            assert_memory_equal(got + t * cols, want, cols * sizeof *want);
            for (size_t i = 0; i < HALF; i++) {
                CHECK_NEAR(angles[0][t * HALF + i], cos(pos[t] * speed[i]) * 1.25, 2e-7, "cos");
                CHECK_NEAR(angles[1][t * HALF + i], sin(pos[t] * speed[i]) * 1.25, 2e-7, "sin");
            }
        }
        drop(d, a.x);
        drop(d, a.cos);
        drop(d, a.sin);
        drop(d, a.token);
        drop(d, a.pos);
        drop(d, a.speed);
        drop(d, a.w.tiles);
        free(want);
        free(got);
        problem_deinit(&p);
    }
}

/* ---- heads, cache, attention ---- */

enum { N_BLOCKS = 64, N_SEQ = 3, MAX_ROWS = 64 };

typedef struct heads {
    uint32_t n_head, n_kv_head, d_head, n_rot;
    bool neox, norms;
} heads;

static const heads kinds[] = {
    {4, 2, 16, 16, false, false}, {4, 4, 12, 12, true, true},   {8, 1, 64, 32, true, false},
    {6, 2, 80, 80, false, true},  {7, 1, 128, 128, true, true}, {2, 1, 256, 256, false, false},
    {17, 1, 24, 24, true, false},
};
/* Lengths of the sequences, and how many of their last positions are rows of the pass. */
static const uint32_t lens[N_SEQ] = {611, 30, 257}, n_last[N_SEQ] = {21, 1, 9};

typedef struct world {
    heads s;
    mr_hparams hp;
    uint32_t pitch, n_rows, n_wanted;
    int32_t tables[N_SEQ][N_BLOCKS];
    mr_row rows[MAX_ROWS];
    float *q, *k, *v;       /* [n_rows, heads, d_head], before the turn */
    float *q_norm, *k_norm; /* [d_head] */
    float *cos, *sin;       /* [n_rows, n_rot / 2] */
    mr_kv_type type;
    uint8_t *keys, *values; /* the cache */
    size_t cache_bytes;     /* of each */
} world;

static mr_dev_cache cache_at(const world *w, uint8_t *k, uint8_t *v) {
    return (mr_dev_cache){k, v, w->type, w->s.n_kv_head, w->pitch};
}

/* A key or value of a position in the cache. */
typedef struct place {
    uint32_t seq, pos, head, d;
    bool key;
} place;

static uint8_t *half_of(const world *w, const place *p) {
    const mr_dev_cache c = cache_at(w, w->keys, w->values);
    return (p->key ? c.k : c.v) +
           mr_cache_at(&c, w->tables[p->seq][p->pos / MR_KV_BLOCK_LEN], p->head);
}

static size_t number_of(const world *w, const place *p) {
    const uint32_t in = p->pos % MR_KV_BLOCK_LEN;
    return p->key ? in * w->pitch + p->d : p->d * MR_KV_BLOCK_LEN + in;
}

static mr_f16 *scale_of(const world *w, const place *p) {
    return (mr_f16 *)(half_of(w, p) + mr_cache_scales_at(w->pitch)) +
           p->d / MR_KV_GROUP * MR_KV_BLOCK_LEN + p->pos % MR_KV_BLOCK_LEN;
}

static float value_at(const world *w, const place *p) {
    const uint8_t *half = half_of(w, p);

    if (w->type == MR_KV_F16) return mr_f16_to_f32(((const mr_f16 *)half)[number_of(w, p)]);
    return (float)((const int8_t *)half)[number_of(w, p)] * mr_f16_to_f32(*scale_of(w, p));
}

/* As f16 and, of bytes, as byte and scale. */
static void set_value(const world *w, const place *p, mr_f16 f16, int8_t byte, mr_f16 scale) {
    uint8_t *half = half_of(w, p);

    if (w->type == MR_KV_F16) {
        ((mr_f16 *)half)[number_of(w, p)] = f16;
        return;
    }
    half[number_of(w, p)] = (uint8_t)byte;
    *scale_of(w, p) = scale;
}

static void set_random(const world *w, const place *p, uint64_t *seed) {
    const float f = random_f32(seed);
    const mr_f16 scale = mr_f32_to_f16(0.008f + 0.004f * (float)((p->pos * 7 + p->d / 32) % 5));

    set_value(w, p, mr_f32_to_f16(f), (int8_t)(127 * f / 2), scale);
}

/* All positions of a cache that nobody has written are NaN; bytes that are not, their scales are.
 * But keys have zeros behind d_head, as the memory is zeroed at first. */
static void spoil(world *w) {
    const size_t half = mr_cache_half(w->type, w->pitch), at = mr_cache_scales_at(w->pitch);
    const uint16_t nan = 0x7e00;

    for (size_t i = 0; i < w->cache_bytes; i += 2) {
        const bool f16 = w->type == MR_KV_F16 || i % half >= at;
        const size_t number = i % half / (w->type == MR_KV_F16 ? 2 : 1);
        const bool behind = number % w->pitch >= w->s.d_head && !(w->type != MR_KV_F16 && f16);
        memcpy(w->values + i, f16 ? &nan : &(uint16_t){0x8181}, 2);
        memcpy(w->keys + i, behind ? &(uint16_t){0} : (const uint16_t *)(w->values + i), 2);
    }
}

/* Positions before the rows of the pass are random. */
static void world_init(world *w, const heads *s, mr_kv_type type) {
    const uint32_t d_head = s->d_head;
    uint64_t seed = d_head;
    int32_t block = N_BLOCKS - 1;

    *w = (world){.s = *s, .pitch = mr_pitch_of(d_head), .type = type};
    w->hp = (mr_hparams){.n_head = s->n_head, .n_kv_head = s->n_kv_head, .d_head = d_head};
    w->cache_bytes = N_BLOCKS * s->n_kv_head * mr_cache_half(type, w->pitch);
    w->keys = malloc(w->cache_bytes);
    w->values = malloc(w->cache_bytes);
    spoil(w);
    for (uint32_t i = 0; i < N_SEQ; i++) {
        const uint32_t first = lens[i] - n_last[i];
        for (uint32_t b = 0; b * MR_KV_BLOCK_LEN < lens[i]; b++) w->tables[i][b] = block--;
        for (uint32_t pos = 0; pos < first; pos++)
            for (uint32_t h = 0; h < s->n_kv_head; h++)
                for (uint32_t d = 0; d < d_head; d++) {
                    set_random(w, &(place){i, pos, h, d, true}, &seed);
                    set_random(w, &(place){i, pos, h, d, false}, &seed);
                }
        for (uint32_t pos = first; pos < lens[i]; pos++)
            w->rows[w->n_rows++] = (mr_row){0, pos, w->tables[i], pos % 3 != 0};
    }
    for (uint32_t i = 0; i < w->n_rows; i++) w->n_wanted += w->rows[i].want;
    w->q = random_floats((size_t)w->n_rows * s->n_head * d_head, seed);
    w->k = random_floats((size_t)w->n_rows * s->n_kv_head * d_head, seed + 1);
    w->v = random_floats((size_t)w->n_rows * s->n_kv_head * d_head, seed + 2);
    w->q_norm = random_floats(d_head, seed + 3);
    w->k_norm = random_floats(d_head, seed + 4);
    w->cos = random_floats((size_t)w->n_rows * s->n_rot / 2, seed + 5);
    w->sin = random_floats((size_t)w->n_rows * s->n_rot / 2, seed + 6);
}

static void world_deinit(world *w) {
    free(w->q);
    free(w->k);
    free(w->v);
    free(w->q_norm);
    free(w->k_norm);
    free(w->cos);
    free(w->sin);
    free(w->keys);
    free(w->values);
}

typedef struct on_device { /* a world on a device, with the plan of its rows */
    mr_device *d;
    mr_plan plan;
    void *plan_host, *plan_device;
    mr_turn turn;
    mr_attention attention;
} on_device;

static void plan_rows(on_device *o, const world *w, const mr_row *rows, uint32_t n,
                      uint32_t n_units) {
    mr_plan_init(&o->plan, &w->hp, MAX_ROWS, N_SEQ, 1024, n_units);
    o->plan_host = calloc(1, mr_plan_bytes(&o->plan));
    o->plan.host = mr_plan_lists_in(&o->plan, o->plan_host);
    mr_plan_pass(&o->plan, rows, n);
    CHECK(o->plan.used_bytes <= mr_plan_bytes(&o->plan));
    o->plan_device = put(o->d, o->plan_host, mr_plan_bytes(&o->plan));
    o->plan.device = mr_plan_lists_in(&o->plan, o->plan_device);
}

/* Rows first .. first + n of the world, alone; cut as n_units says. */
static void open_on(on_device *o, mr_device *d, const world *w, uint32_t first, uint32_t n,
                    uint32_t n_units) {
    const heads *s = &w->s;
    const size_t row = s->d_head * sizeof(float), angles = s->n_rot / 2;

    *o = (on_device){.d = d};
    plan_rows(o, w, w->rows + first, n, n_units);
    o->turn = (mr_turn){
        .q = put(d, w->q + (size_t)first * s->n_head * s->d_head, n * s->n_head * row),
        .k = put(d, w->k + (size_t)first * s->n_kv_head * s->d_head, n * s->n_kv_head * row),
        .v = put(d, w->v + (size_t)first * s->n_kv_head * s->d_head, n * s->n_kv_head * row),
        .q_norm = s->norms ? put(d, w->q_norm, row) : NULL,
        .k_norm = s->norms ? put(d, w->k_norm, row) : NULL,
        .cos = put(d, w->cos + first * angles, n * angles * sizeof(float)),
        .sin = put(d, w->sin + first * angles, n * angles * sizeof(float)),
        .pos = o->plan.device.pos,
        .table = o->plan.device.table,
        .tables = o->plan.device.tables,
        .cache = cache_at(w, put(d, w->keys, w->cache_bytes), put(d, w->values, w->cache_bytes)),
        .n = n,
        .n_head = s->n_head,
        .n_kv_head = s->n_kv_head,
        .d_head = s->d_head,
        .n_rot = s->n_rot,
        .eps = 1e-6f,
        .neox = s->neox};
    o->attention = (mr_attention){
        .out = put(d, NULL, n * s->n_head * row),
        .q = o->turn.q,
        .runs = o->plan.device.runs[0],
        .tables = o->plan.device.tables,
        .records = o->plan.n_records[0] ? put(d, NULL, mr_plan_record_bytes(&o->plan)) : NULL,
        .cache = o->turn.cache,
        .counts = &o->plan.device.counts[0],
        .n_items = o->plan.n_items[0] + 3, /* more than there are */
        .n = n,
        .n_head = s->n_head,
        .n_kv_head = s->n_kv_head,
        .d_head = s->d_head,
        .scale = 0.3f};
}

static void close_on(on_device *o) {
    const void *const all[] = {o->turn.q,      o->turn.k,        o->turn.v,
                               o->turn.q_norm, o->turn.k_norm,   o->turn.cos,
                               o->turn.sin,    o->turn.cache.k,  o->turn.cache.v,
                               o->plan_device, o->attention.out, o->attention.records};
    for (size_t i = 0; i < MR_COUNT(all); i++) drop(o->d, all[i]);
    free(o->plan_host);
}

/* out[n, n_head, d_head] of these rows. */
static float *attend(mr_device *d, const world *w, uint32_t first, uint32_t n, uint32_t n_units) {
    const size_t bytes = (size_t)n * w->s.n_head * w->s.d_head * sizeof(float);
    float *out = malloc(bytes);
    on_device o;

    open_on(&o, d, w, first, n, n_units);
    d->calls->turn(d, &o.turn);
    d->calls->attend(d, &o.attention);
    get(d, out, o.attention.out, bytes);
    close_on(&o);
    return out;
}

/* Queries and keys behind the turn, by ops_ref. */
static void turn_by_ref(world *w) {
    const mr_ops *ref = mr_ops_pick("ref");
    const heads *s = &w->s;
    uint32_t row = 0;

    for (uint32_t i = 0; i < N_SEQ; i++)
        for (uint32_t pos = lens[i] - n_last[i]; pos < lens[i]; pos++, row++)
            for (uint32_t h = 0; h < s->n_head + s->n_kv_head; h++) {
                const bool is_q = h < s->n_head;
                const uint32_t kv = h - s->n_head;
                float *x = is_q ? w->q + ((size_t)row * s->n_head + h) * s->d_head
                                : w->k + ((size_t)row * s->n_kv_head + kv) * s->d_head;
                if (s->norms) ref->rmsnorm(x, x, is_q ? w->q_norm : w->k_norm, s->d_head, 1e-6f);
                ref->rope(x, w->cos + (size_t)row * (s->n_rot / 2),
                          w->sin + (size_t)row * (s->n_rot / 2), s->n_rot, s->neox);
            }
}

/* Keys and values of the rows into the world's cache, as the processor rounds them. */
static void put_by_cpu(world *w) {
    const uint32_t d_head = w->s.d_head, n_kv = w->s.n_kv_head;
    const size_t half = mr_kv_half(w->type, d_head);
    uint8_t *block = alloc64((2 * half + 63) / 64 * 64), scratch[2 * MR_MAX_D_HEAD];
    uint32_t row = 0;

    for (uint32_t i = 0; i < N_SEQ; i++)
        for (uint32_t pos = lens[i] - n_last[i]; pos < lens[i]; pos++, row++)
            for (uint32_t h = 0; h < n_kv; h++) {
                const size_t at = ((size_t)row * n_kv + h) * d_head;
                mr_kv_write(block, w->type, mr_ops_pick("ref"), 0, w->k + at, w->v + at, d_head,
                            scratch);
                for (uint32_t d = 0; d < 2 * d_head; d++) {
                    const bool key = d < d_head;
                    const place p = {i, pos, h, d % d_head, key};
                    const uint8_t *from = block + (key ? 0 : half);
                    const size_t n = key ? mr_kv_key_at(d_head, 0, d) : d - d_head;
                    const mr_f16 *scales = (const mr_f16 *)(from + mr_kv_scales_at(d_head));
                    if (w->type == MR_KV_F16)
                        set_value(w, &p, ((const mr_f16 *)from)[n], 0, 0);
                    else
                        set_value(w, &p, 0, (int8_t)from[n],
                                  scales[p.d / MR_KV_GROUP * MR_KV_BLOCK_LEN]);
                }
            }
    free(block);
}

/* Softmax in f64 over the world's cache. */
static void plain_head(const world *w, uint32_t seq, uint32_t row, uint32_t head, double *out) {
    const uint32_t d_head = w->s.d_head, kv = head / (w->s.n_head / w->s.n_kv_head);
    const float *q = w->q + ((size_t)row * w->s.n_head + head) * d_head;
    double total = 0, score[1024], max = -INFINITY;

    for (uint32_t i = 0; i <= w->rows[row].pos; i++) {
        score[i] = 0;
        for (uint32_t d = 0; d < d_head; d++)
            score[i] += (double)q[d] * (double)value_at(w, &(place){seq, i, kv, d, true});
        score[i] *= (double)0.3f;
        max = fmax(max, score[i]);
    }
    for (uint32_t d = 0; d < d_head; d++) out[d] = 0;
    for (uint32_t i = 0; i <= w->rows[row].pos; i++) {
        const double p = exp(score[i] - max);
        total += p;
        for (uint32_t d = 0; d < d_head; d++)
            out[d] += p * (double)value_at(w, &(place){seq, i, kv, d, false});
    }
    for (uint32_t d = 0; d < d_head; d++) out[d] /= total;
}

/* A last bit of a key may differ, and with it, rarely, a byte. */
static void check_keys(const world *got, const world *want) {
    size_t n = 0, n_off = 0;

    for (uint32_t i = 0; i < N_SEQ; i++)
        for (uint32_t pos = 0; pos < lens[i]; pos++)
            for (uint32_t h = 0; h < got->s.n_kv_head; h++)
                for (uint32_t d = 0; d < got->s.d_head; d++, n++) {
                    const place p = {i, pos, h, d, true};
                    const float a = value_at(got, &p), b = value_at(want, &p);
                    if (a == b) continue;
                    const float step = got->type == MR_KV_F16
                                           ? 1e-3f * fabsf(b) + 1e-6f
                                           : 1.01f * mr_f16_to_f32(*scale_of(want, &p));
                    CHECK_NEAR(a, b, step, "key");
                    n_off++;
                }
    CHECK(100 * n_off < n);
}

static void check_turn(mr_device *d, const heads *s, mr_kv_type type) {
    on_device o;
    world w;

    world_init(&w, s, type);
    const size_t n_q = (size_t)w.n_rows * s->n_head * s->d_head;
    float *q = malloc(n_q * sizeof *q);
    world got = w;
    got.keys = malloc(w.cache_bytes);
    got.values = malloc(w.cache_bytes);
    open_on(&o, d, &w, 0, w.n_rows, 1);
    d->calls->turn(d, &o.turn);
    get(d, q, o.turn.q, n_q * sizeof *q);
    get(d, got.keys, o.turn.cache.k, w.cache_bytes);
    get(d, got.values, o.turn.cache.v, w.cache_bytes);
    turn_by_ref(&w);
    put_by_cpu(&w);
    for (size_t i = 0; i < n_q; i++) CHECK_NEAR(q[i], w.q[i], 4e-6 * 20, "query");
    assert_memory_equal(got.values, w.values, w.cache_bytes);
    check_keys(&got, &w);
    close_on(&o);
    free(got.values);
    free(got.keys);
    free(q);
    world_deinit(&w);
}

#define FOR_EACH_KIND(k, type)                                                                     \
    for (size_t k = 0; k < MR_COUNT(kinds); k++)                                                   \
        for (mr_kv_type type = MR_KV_F16; type <= MR_KV_Q8_0; type++)

TEST(heads_turn_and_fill_the_cache) {
    FOR_EACH_DEVICE(d) FOR_EACH_KIND(k, type) check_turn(d, &kinds[k], type);
}

/* The world's cache becomes what the device's turn makes of it. */
static void fill_cache(mr_device *d, world *w) {
    on_device o;

    open_on(&o, d, w, 0, w->n_rows, 1);
    d->calls->turn(d, &o.turn);
    get(d, w->keys, o.turn.cache.k, w->cache_bytes);
    get(d, w->values, o.turn.cache.v, w->cache_bytes);
    close_on(&o);
}

static void check_same(const world *w, const float *got, const float *all, uint32_t first,
                       uint32_t n, const char *how) {
    const size_t width = (size_t)w->s.n_head * w->s.d_head;

    for (size_t i = 0; i < n * width; i++)
        if (memcmp(&got[i], &all[first * width + i], sizeof *got) != 0)
            fail_msg("d_head %u, rows %u .. %u %s: value %zu is %a, not %a", w->s.d_head, first,
                     first + n, how, i, (double)got[i], (double)all[first * width + i]);
}

TEST(attention_is_the_same_bits_in_any_company_and_cut) {
    static const uint32_t parts[][2] = {{0, 1}, {20, 1}, {21, 1}, {3, 17}, {17, 14}, {30, 1}};
    FOR_EACH_DEVICE(d) FOR_EACH_KIND(k, type) {
        world w;
        world_init(&w, &kinds[k], type);
        float *all = attend(d, &w, 0, w.n_rows, 1);
        float *cut = attend(d, &w, 0, w.n_rows, 100000);
        check_same(&w, cut, all, 0, w.n_rows, "cut into spans");
        fill_cache(d, &w);
        for (size_t i = 0; i < MR_COUNT(parts); i++) {
            float *some = attend(d, &w, parts[i][0], parts[i][1], (i + k) % 2 ? 1 : 100000);
            check_same(&w, some, all, parts[i][0], parts[i][1], "alone");
            free(some);
        }
        free(cut);
        free(all);
        world_deinit(&w);
    }
}

/* Scores of 12 and more make weights of one; a query has 21 bits, and a weight as many, or, where
 * it multiplies bytes, 17. */
#define ATTENTION_TOL 1e-4

TEST(attention_is_the_softmax_in_f64) {
    FOR_EACH_DEVICE(d) FOR_EACH_KIND(k, type) {
        world w;
        world_init(&w, &kinds[k], type);
        const size_t width = (size_t)w.s.n_head * w.s.d_head;
        float *got = attend(d, &w, 0, w.n_rows, 1);
        double want[MR_MAX_D_HEAD];
        uint32_t row = 0;
        fill_cache(d, &w);
        turn_by_ref(&w);
        for (uint32_t i = 0; i < N_SEQ; i++)
            for (uint32_t j = 0; j < n_last[i]; j++, row++)
                for (uint32_t h = row % 3; h < w.s.n_head; h += 3) {
                    plain_head(&w, i, row, h, want);
                    for (uint32_t x = 0; x < w.s.d_head; x++)
                        CHECK_NEAR(got[row * width + h * w.s.d_head + x], want[x], ATTENTION_TOL,
                                   "attention");
                }
        free(got);
        world_deinit(&w);
    }
}

/* Of bytes, a value that is not finite makes its whole group NaN, and no other. */
TEST(a_value_that_is_not_finite_shows_in_its_group) {
    FOR_EACH_DEVICE(d) {
        const heads s = {2, 1, 80, 80, false, false};
        world w;
        world_init(&w, &s, MR_KV_Q8_0);
        w.v[33] = INFINITY; /* of row 0 */
        float *got = attend(d, &w, 0, 1, 1);
        for (uint32_t i = 0; i < 2 * s.d_head; i++)
            CHECK(isfinite(got[i]) == (i % s.d_head / MR_KV_GROUP != 1));
        free(got);
        world_deinit(&w);
    }
}

MR_TEST_MAIN
