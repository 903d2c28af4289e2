/* bench_ops.c - speed of the kernels on one thread, one JSON line per case.
 *
 *   bench_ops [--isa auto|ref|avx2|avxvnni|avx512|amx] [--type NAME] [--tokens N] [--mib N]
 *             [--reps N]
 *
 * matmul: N MiB of f32-equivalent weights as a matrix of COLS columns, packed, given to the op in
 * ranges of RANGE_ROWS as a step does, so weights come from memory when N is beyond the caches.
 * gflops counts 2 operations per weight and token; weights_gbs is bytes of packed weights per
 * second. Rounding of the inputs is not part of it.
 * matmul_cached: the same on weights that stay in the second-level cache: what the core can do.
 * round: inputs of COLS columns to 8 bits; gbs is bytes of f32 per second.
 * attn: all heads of one layer, one row (decode) or a block of 16 (prompt), behind len positions of
 * a cache whose blocks lie backwards; kv_gbs is bytes of the cache per second.
 * A case runs once to warm up, then `reps` times; the median and the best are printed. Time is this
 * thread's CPU time: a neighbour that takes the core away does not count, one that takes memory
 * bandwidth does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/memory.h"
#include "engine/pack.h"

#define COLS       4096
#define RANGE_ROWS 64
#define MAX_TOKENS 512
#define MAX_REPS   1000

typedef struct timing {
    double median_s, least_s;
} timing;

typedef void case_fn(void *arg);

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static timing measure(case_fn *fn, void *arg, int reps) {
    static double s[MAX_REPS];
    fn(arg);
    for (int i = 0; i < reps; i++) {
        const double begin = now_s();
        fn(arg);
        s[i] = now_s() - begin;
    }
    qsort(s, (size_t)reps, sizeof *s, by_value);
    return (timing){s[reps / 2], s[0]};
}

static void *alloc_or_die(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (p) return p;
    fprintf(stderr, "bench_ops: no memory for %zu bytes\n", bytes);
    exit(EXIT_FAILURE);
}

static float *values(size_t n) {
    float *x = alloc_or_die(n * sizeof *x);
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
    return x;
}

typedef struct matmul_case {
    const mr_ops *o;
    mr_mat w;
    mr_input in;
    float *y;
    size_t n_tok;
    int repeat;
    void *scratch;
} matmul_case;

static void run_matmul(void *arg) {
    const matmul_case *c = arg;
    for (int i = 0; i < c->repeat; i++)
        for (uint32_t r = 0; r < c->w.rows; r += RANGE_ROWS) {
            const uint32_t end = r + RANGE_ROWS < c->w.rows ? r + RANGE_ROWS : c->w.rows;
            c->o->matmul(c->y, c->w.rows, &c->w, r, end, &c->in, c->n_tok, c->scratch);
        }
}

/* Rows all alike: packing one tile is enough. */
static void pack(mr_mat *w, uint8_t *data, size_t tile_bytes) {
    const uint32_t n_tiles = (w->rows + MR_TILE - 1) / MR_TILE;
    uint8_t *tiles = mr_pages_map(tile_bytes * n_tiles); /* as the engine does: huge pages */

    if (!tiles) {
        fprintf(stderr, "bench_ops: no memory for %u rows\n", w->rows);
        exit(EXIT_FAILURE);
    }
    w->data = data;
    mr_pack_tile(tiles, w, 0);
    for (uint32_t i = 1; i < n_tiles; i++) memcpy(tiles + i * tile_bytes, tiles, tile_bytes);
    w->tiles = tiles;
}

static mr_xblock *round_inputs(const mr_ops *o, const float *x, uint32_t cols, size_t n_tok) {
    const size_t n_blocks = cols / 32;
    mr_xblock *blocks = alloc_or_die(n_tok / MR_TILE * n_blocks * sizeof *blocks);

    for (size_t t = 0; t < n_tok; t += MR_TILE)
        o->round(blocks + t / MR_TILE * n_blocks, x + t * cols, cols, MR_TILE, n_blocks);
    return blocks;
}

static mr_xshort *shorten_inputs(const mr_ops *o, const float *x, uint32_t cols, size_t n_tok) {
    const size_t n_blocks = cols / MR_X_COLS;
    mr_xshort *shorts = alloc_or_die(n_tok / MR_TILE * n_blocks * sizeof *shorts);

    for (size_t t = 0; o->shorten && t < n_tok; t += MR_TILE)
        o->shorten(shorts + t / MR_TILE * n_blocks, x + t * cols, cols, MR_TILE, n_blocks);
    return shorts;
}

static mr_xsplit *split_inputs(const mr_ops *o, const float *x, uint32_t cols, size_t n_tok) {
    const size_t n_blocks = cols / MR_X_COLS;
    mr_xsplit *split = alloc_or_die(n_tok / MR_TILE * n_blocks * sizeof *split);

    for (size_t t = 0; o->split && t < n_tok; t += MR_TILE)
        o->split(split + t / MR_TILE * n_blocks, x + t * cols, cols, MR_TILE, cols);
    return split;
}

static void bench_matmul(const mr_ops *o, const char *name, mr_type type, uint32_t rows,
                         uint32_t cols, const size_t *tokens, size_t n_cases, int repeat,
                         int reps) {
    const size_t row_bytes = mr_type_row_bytes(type, cols);
    const size_t tile_bytes = mr_tile_bytes(type, cols);
    uint8_t *data = alloc_or_die(row_bytes * MR_TILE);
    float *row = values(cols), *x = values((size_t)MAX_TOKENS * cols);
    mr_xblock *blocks = round_inputs(o, x, cols, MAX_TOKENS);
    matmul_case c = {.o = o,
                     .w = {.type = type, .rows = rows, .cols = cols, .row_bytes = row_bytes},
                     .in = {x, cols, blocks, split_inputs(o, x, cols, MAX_TOKENS),
                            shorten_inputs(o, x, cols, MAX_TOKENS), cols / MR_X_COLS},
                     .y = alloc_or_die(sizeof(float) * MAX_TOKENS * rows),
                     .repeat = repeat,
                     .scratch = alloc_or_die(MR_MATMUL_SCRATCH)};

    for (uint32_t r = 0; r < MR_TILE; r++) mr_quantize_row(data + r * row_bytes, row, type, cols);
    pack(&c.w, data, tile_bytes);
    for (size_t i = 0; i < n_cases; i++) {
        c.n_tok = tokens[i];
        const timing t = measure(run_matmul, &c, reps);
        const double flop = 2.0 * rows * cols * (double)c.n_tok * repeat;
        printf("{\"bench\":\"%s\",\"isa\":\"%s\",\"type\":\"%s\",\"rows\":%u,\"cols\":%u,"
               "\"tokens\":%zu,\"gflops\":%.1f,\"best_gflops\":%.1f,\"weights_gbs\":%.2f}\n",
               name, o->name, mr_type_name(type), rows, cols, c.n_tok, flop / t.median_s / 1e9,
               flop / t.least_s / 1e9,
               (double)tile_bytes / MR_TILE * rows * repeat / t.median_s / 1e9);
        fflush(stdout);
    }
    free(data);
    mr_pages_unmap((void *)c.w.tiles, tile_bytes * ((rows + MR_TILE - 1) / MR_TILE));
    free(row);
    free(x);
    free(blocks);
    free((void *)c.in.split);
    free((void *)c.in.shorts);
    free(c.y);
    free(c.scratch);
}

static void run_round(void *arg) {
    const matmul_case *c = arg;
    for (int i = 0; i < c->repeat; i++)
        c->o->round((mr_xblock *)c->in.blocks, c->in.x, COLS, MR_TILE, COLS / 32);
}

static void bench_round(const mr_ops *o, int reps) {
    float *x = values((size_t)MR_TILE * COLS);
    mr_xblock *blocks = alloc_or_die(COLS / 32 * sizeof *blocks);
    matmul_case c = {.o = o, .in = {x, COLS, blocks, NULL, NULL, COLS / 32}, .repeat = 100};
    const timing t = measure(run_round, &c, reps);

    printf("{\"bench\":\"round\",\"isa\":\"%s\",\"cols\":%d,\"gbs\":%.2f}\n", o->name, COLS,
           100.0 * MR_TILE * COLS * sizeof *x / t.median_s / 1e9);
    free(x);
    free(blocks);
}

typedef struct attn_case {
    const mr_ops *o;
    mr_attn_args a;
} attn_case;

typedef struct attn_shape {
    uint32_t n_head, n_kv_head, d_head;
} attn_shape;

/* A cache of one layer, every position alike. */
static uint8_t *fill_cache(const mr_ops *o, const attn_shape *s, mr_kv_type type,
                           uint32_t n_blocks) {
    const size_t head_bytes = 2 * mr_kv_half(type, s->d_head), n_heads = n_blocks * s->n_kv_head;
    uint8_t *kv = alloc_or_die(n_heads * head_bytes);
    void *scratch = alloc_or_die(2 * s->d_head);
    float *x = values(s->d_head);

    for (uint32_t i = 0; i < MR_KV_BLOCK_LEN; i++)
        mr_kv_write(kv, type, o, i, x, x, s->d_head, scratch);
    for (size_t i = 1; i < n_heads; i++) memcpy(kv + i * head_bytes, kv, head_bytes);
    free(scratch);
    free(x);
    return kv;
}

static void run_attn(void *arg) {
    attn_case c = *(const attn_case *)arg;
    const uint8_t *kv = c.a.kv;

    for (c.a.kv_head = 0; c.a.kv_head < c.a.n_kv_head; c.a.kv_head++) {
        c.a.kv = kv + 2 * c.a.kv_head * mr_kv_half(c.a.kv_type, c.a.d_head);
        c.o->attn(&c.a);
    }
}

/* n_rows rows behind len positions: one, as in decode, or a block of a prompt. */
static void bench_attn(const mr_ops *o, const attn_shape *s, mr_kv_type type, uint32_t len,
                       uint32_t n_rows, int reps) {
    const uint32_t n_blocks = (len + n_rows + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN;
    const size_t block_bytes = 2 * s->n_kv_head * mr_kv_half(type, s->d_head);
    const size_t n_query = (size_t)n_rows * s->n_head;
    const uint32_t group = s->n_head / s->n_kv_head;
    float *q = values(n_query * s->d_head);
    uint8_t *kv = fill_cache(o, s, type, n_blocks);
    int32_t *table = alloc_or_die(n_blocks * sizeof *table);
    attn_case c = {o,
                   {.part = alloc_or_die(n_query * MR_ATTN_RECORD(s->d_head) * sizeof(float)),
                    .q = q,
                    .kv = kv,
                    .block_bytes = block_bytes,
                    .kv_type = type,
                    .table = table,
                    .pos = len,
                    .n_rows = n_rows,
                    .span0 = 0,
                    .span1 = (len + n_rows - 1) / MR_ATTN_SPAN + 1,
                    .n_head = s->n_head,
                    .n_kv_head = s->n_kv_head,
                    .d_head = s->d_head,
                    .scale = 0.088f,
                    .scratch = alloc_or_die(mr_attn_scratch(n_rows, group, s->d_head) * 4)}};

    for (uint32_t b = 0; b < n_blocks; b++) table[b] = (int32_t)(n_blocks - 1 - b);
    const timing t = measure(run_attn, &c, reps);
    printf(
        "{\"bench\":\"attn\",\"isa\":\"%s\",\"heads\":\"%u/%u x %u\",\"kv_type\":\"%s\",\"len\":%u,"
        "\"rows\":%u,\"us\":%.1f,\"kv_gbs\":%.2f,\"gflops\":%.1f}\n",
        o->name, s->n_head, s->n_kv_head, s->d_head, mr_kv_type_name(type), len, n_rows,
        t.median_s * 1e6, (double)(n_blocks * block_bytes) / t.median_s / 1e9,
        4.0 * len * (double)n_query * s->d_head / t.median_s / 1e9);
    free(q);
    free(kv);
    free(table);
    free(c.a.part);
    free(c.a.scratch);
}

static void bench_all_attn(const mr_ops *o, int reps) {
    static const attn_shape shapes[] = {{32, 4, 64}, {32, 8, 128}, {16, 8, 128}, {16, 16, 64}};
    static const uint32_t lens[] = {64, 1024, 8192};

    for (size_t i = 0; i < MR_COUNT(shapes); i++)
        for (size_t k = 0; k < MR_COUNT(lens); k++)
            for (mr_kv_type type = MR_KV_F16; type <= MR_KV_Q8_0; type++) {
                bench_attn(o, &shapes[i], type, lens[k], 1, reps);
                bench_attn(o, &shapes[i], type, lens[k], 16, reps);
            }
}

/* only: of this type of weights; NULL: everything. n_tok: this batch; 0: several. */
static void bench_all(const mr_ops *o, const mr_type *only, size_t n_tok, size_t mib, int reps) {
    static const mr_type types[] = {MR_TYPE_F32,  MR_TYPE_F16,  MR_TYPE_BF16, MR_TYPE_Q8_0,
                                    MR_TYPE_Q4_0, MR_TYPE_Q4_K, MR_TYPE_Q5_K, MR_TYPE_Q6_K};
    static const size_t tokens[] = {1, 2, 3, 4, 8, 16, 32, 128, 512};
    const uint32_t rows = (uint32_t)(mib * 1024 * 1024 / (COLS * sizeof(float)));

    const size_t *batches = n_tok ? &n_tok : tokens;
    const size_t n_types = MR_COUNT(types), n_batches = n_tok ? 1 : MR_COUNT(tokens);

    for (size_t i = 0; i < n_types; i++) {
        if (only && types[i] != *only) continue;
        bench_matmul(o, "matmul_cached", types[i], RANGE_ROWS, 2048, batches, n_batches, 20, reps);
        bench_matmul(o, "matmul", types[i], rows, COLS, batches, n_batches, 1, reps);
    }
    if (only) return;
    bench_round(o, reps);
    bench_all_attn(o, reps);
}

static long number(const char *text, long lo, long hi) {
    char *end;
    errno = 0;
    const long n = strtol(text, &end, 10);
    if (errno == 0 && *end == '\0' && end != text && n >= lo && n <= hi) return n;
    fprintf(stderr, "bench_ops: %s is not a number from %ld to %ld\n", text, lo, hi);
    exit(64);
}

int main(int argc, char **argv) {
    const char *isa = "auto";
    long mib = 256, reps = 5, n_tok = 0;
    mr_type type;
    const mr_type *only = NULL;

    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--isa") == 0)
            isa = value;
        else if (strcmp(argv[i], "--type") == 0 && mr_type_parse(value, &type))
            only = &type;
        else if (strcmp(argv[i], "--tokens") == 0)
            n_tok = number(value, 1, MAX_TOKENS);
        else if (strcmp(argv[i], "--mib") == 0)
            mib = number(value, 1, 65536);
        else if (strcmp(argv[i], "--reps") == 0)
            reps = number(value, 1, MAX_REPS);
        else {
            fprintf(stderr, "usage: bench_ops [--isa auto|ref|avx2|avxvnni|avx512|amx] "
                            "[--type NAME] "
                            "[--tokens N] [--mib N] [--reps N]\n");
            return 64;
        }
    }
    const mr_ops *o = mr_ops_pick(isa);
    if (!o) {
        fprintf(stderr, "bench_ops: this machine or build has no \"%s\"\n", isa);
        return 69;
    }
    bench_all(o, only, (size_t)n_tok, (size_t)mib, (int)reps);
    return 0;
}
