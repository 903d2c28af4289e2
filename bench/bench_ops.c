/* bench_ops.c - speed of the kernels on one thread, one JSON line per case.
 *
 *   bench_ops [--isa auto|ref|avx2|avx512] [--mib N] [--reps N]
 *
 * matmul: N MiB of f32-equivalent weights as a matrix of COLS columns, given to the op in ranges of
 * RANGE_ROWS as a step does, so weights come from memory when N is beyond the caches. gflops counts
 * 2 operations per weight and token; weights_gbs is bytes of the weights as stored, per second.
 * matmul_cached: the same on weights that stay in the first-level cache: near the peak of the core.
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

#include "engine/ops.h"

#define COLS       4096
#define RANGE_ROWS 64
#define MAX_TOKENS 128
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
    float *x, *y;
    size_t n_tok;
    int repeat;
    void *scratch;
} matmul_case;

static void run_matmul(void *arg) {
    const matmul_case *c = arg;
    for (int i = 0; i < c->repeat; i++)
        for (uint32_t r = 0; r < c->w.rows; r += RANGE_ROWS) {
            const uint32_t end = r + RANGE_ROWS < c->w.rows ? r + RANGE_ROWS : c->w.rows;
            c->o->matmul(c->y, c->w.rows, &c->w, r, end, c->x, c->w.cols, c->n_tok, c->scratch);
        }
}

static void bench_matmul(const mr_ops *o, const char *name, mr_type type, uint32_t rows,
                         uint32_t cols, const size_t *tokens, size_t n_cases, int repeat,
                         int reps) {
    const size_t row_bytes = mr_type_row_bytes(type, cols);
    uint8_t *data = alloc_or_die(row_bytes * rows);
    float *row = values(cols);
    matmul_case c = {.o = o,
                     .w = {data, type, rows, cols, row_bytes},
                     .x = values((size_t)MAX_TOKENS * cols),
                     .y = alloc_or_die(sizeof(float) * MAX_TOKENS * rows),
                     .repeat = repeat,
                     .scratch = alloc_or_die(mr_matmul_scratch(cols))};

    mr_quantize_row(data, row, type, cols);
    for (uint32_t r = 1; r < rows; r++) memcpy(data + r * row_bytes, data, row_bytes);
    for (size_t i = 0; i < n_cases; i++) {
        c.n_tok = tokens[i];
        const timing t = measure(run_matmul, &c, reps);
        const double flop = 2.0 * rows * cols * (double)c.n_tok * repeat;
        printf("{\"bench\":\"%s\",\"isa\":\"%s\",\"type\":\"%s\",\"rows\":%u,\"cols\":%u,"
               "\"tokens\":%zu,\"gflops\":%.1f,\"best_gflops\":%.1f,\"weights_gbs\":%.2f}\n",
               name, o->name, mr_type_name(type), rows, cols, c.n_tok, flop / t.median_s / 1e9,
               flop / t.least_s / 1e9, (double)row_bytes * rows * repeat / t.median_s / 1e9);
        fflush(stdout);
    }
    free(data);
    free(row);
    free(c.x);
    free(c.y);
    free(c.scratch);
}

typedef struct attn_case {
    const mr_ops *o;
    mr_attn_args a;
} attn_case;

static void run_attn(void *arg) {
    attn_case c = *(const attn_case *)arg;
    for (c.a.kv_head = 0; c.a.kv_head < c.a.n_kv_head; c.a.kv_head++) c.o->attn(&c.a);
}

typedef struct attn_shape {
    uint32_t n_head, n_kv_head, d_head;
} attn_shape;

/* n_rows rows behind len positions: one, as in decode, or a block of a prompt. */
static void bench_attn(const mr_ops *o, const attn_shape *s, uint32_t len, uint32_t n_rows,
                       int reps) {
    const uint32_t n_blocks = (len + n_rows + MR_KV_BLOCK_LEN - 1) / MR_KV_BLOCK_LEN;
    const size_t n = (size_t)n_blocks * s->n_kv_head * MR_KV_BLOCK_LEN * s->d_head;
    const size_t n_query = (size_t)n_rows * s->n_head;
    const uint32_t group = s->n_head / s->n_kv_head;
    float *x = values(n), *q = values(n_query * s->d_head);
    mr_f16 *kv = alloc_or_die(2 * n * sizeof *kv);
    int32_t *table = alloc_or_die(n_blocks * sizeof *table);
    attn_case c = {o,
                   {.part = alloc_or_die(n_query * MR_ATTN_RECORD(s->d_head) * sizeof(float)),
                    .q = q,
                    .k = kv,
                    .v = kv + n,
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

    o->to_f16(kv, x, n);
    o->to_f16(kv + n, x, n);
    for (uint32_t b = 0; b < n_blocks; b++) table[b] = (int32_t)(n_blocks - 1 - b);
    const timing t = measure(run_attn, &c, reps);
    printf("{\"bench\":\"attn\",\"isa\":\"%s\",\"heads\":\"%u/%u x %u\",\"len\":%u,\"rows\":%u,"
           "\"us\":%.1f,\"kv_gbs\":%.2f,\"gflops\":%.1f}\n",
           o->name, s->n_head, s->n_kv_head, s->d_head, len, n_rows, t.median_s * 1e6,
           2.0 * (double)n * sizeof *kv / t.median_s / 1e9,
           4.0 * len * (double)n_query * s->d_head / t.median_s / 1e9);
    free(x);
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
        for (size_t k = 0; k < MR_COUNT(lens); k++) {
            bench_attn(o, &shapes[i], lens[k], 1, reps);
            bench_attn(o, &shapes[i], lens[k], 16, reps);
        }
}

static void bench_all(const mr_ops *o, size_t mib, int reps) {
    static const mr_type types[] = {MR_TYPE_F32,  MR_TYPE_F16,  MR_TYPE_BF16, MR_TYPE_Q8_0,
                                    MR_TYPE_Q4_0, MR_TYPE_Q4_K, MR_TYPE_Q5_K, MR_TYPE_Q6_K};
    static const size_t tokens[] = {1, 2, 3, 4, 8, 16, 32, 128}, full_tile[] = {24};
    const uint32_t rows = (uint32_t)(mib * 1024 * 1024 / (COLS * sizeof(float)));

    bench_matmul(o, "matmul_cached", MR_TYPE_F32, 8, 512, full_tile, 1, 1000, reps);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        bench_matmul(o, "matmul", types[i], rows, COLS, tokens, sizeof tokens / sizeof *tokens, 1,
                     reps);
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
    long mib = 256, reps = 5;

    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--isa") == 0)
            isa = value;
        else if (strcmp(argv[i], "--mib") == 0)
            mib = number(value, 1, 65536);
        else if (strcmp(argv[i], "--reps") == 0)
            reps = number(value, 1, MAX_REPS);
        else {
            fprintf(stderr, "usage: bench_ops [--isa auto|ref|avx2|avx512] [--mib N] [--reps N]\n");
            return 64;
        }
    }
    const mr_ops *o = mr_ops_pick(isa);
    if (!o) {
        fprintf(stderr, "bench_ops: this machine or build has no \"%s\"\n", isa);
        return 69;
    }
    bench_all(o, (size_t)mib, (int)reps);
    return 0;
}
