/* bench_attend.c - attention of all layers of a model for one token behind a long context, one JSON
 * line per type of cache and number of threads.
 *
 *   bench_attend [LEN [THREADS [REPS]]]      8192 positions, 1 and THREADS (2) threads, 20
 *
 * The shape is TinyLlama-1.1B's: 22 layers, 32 heads over 4 of 64. What a step does is done layer
 * after layer: as its pieces, on the pool, from memory, since nothing of the cache is read twice.
 * Wall time; the median of REPS steps behind one that is not counted, and as the best the sum of
 * each layer's best time: a layer takes less than a neighbour's time slice, so on a machine with
 * other work that is nearest to what the code can do. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/attend.h"
#include "engine/threads.h"

#define MAX_REPS 1000

static const mr_hparams hp = {
    .n_layer = 22, .n_head = 32, .n_kv_head = 4, .d_head = 64, .attn_scale = 0.125f};

typedef struct world {
    const mr_ops *ops;
    mr_kv kv;
    mr_attend attend;
    mr_pool *pool;
    int32_t *table;
    uint32_t len, layer;
    float *q, *out, *row; /* row: keys or values of one head and position */
    char *scratch;        /* of each thread */
} world;

static void *checked(void *p) {
    if (p) return p;
    fprintf(stderr, "bench_attend: out of memory\n");
    exit(EXIT_FAILURE);
}

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static float *values(size_t n) {
    float *x = checked(malloc(n * sizeof *x));
    uint32_t state = 1;

    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
    return x;
}

static void fill(world *w) {
    char scratch[2 * 64];

    for (uint32_t layer = 0; layer < hp.n_layer; layer++)
        for (uint32_t pos = 0; pos < w->len; pos++)
            for (uint32_t h = 0; h < hp.n_kv_head; h++)
                mr_kv_put(&w->kv, w->ops, layer, w->table, pos, h, w->row, w->row, scratch);
}

static void check(mr_status st, const mr_err *err) {
    if (st == MR_OK) return;
    fprintf(stderr, "bench_attend: %s\n", err->text);
    exit(EXIT_FAILURE);
}

static void open_world(world *w, mr_kv_type type, uint32_t len, int n_threads) {
    const uint32_t n_blocks = mr_kv_blocks_for(len), width = hp.n_head * hp.d_head;
    const mr_row row = {.pos = len - 1};
    mr_err err;

    *w = (world){.ops = mr_ops_pick(NULL), .len = len};
    check(mr_kv_init(&w->kv, type, hp.n_layer, hp.n_kv_head, hp.d_head, n_blocks, &err), &err);
    w->table = checked(malloc(n_blocks * sizeof *w->table));
    check(mr_kv_take(&w->kv, w->table, n_blocks, &err), &err);
    w->q = values(width);
    w->row = values(hp.d_head);
    w->out = checked(malloc(width * sizeof *w->out));
    w->scratch =
        checked(aligned_alloc(64, (mr_attend_scratch(&hp) + 63) / 64 * 64 * (size_t)n_threads));
    fill(w);
    check(mr_pool_open(&w->pool, n_threads, &err), &err);
    check(mr_attend_init(&w->attend, &hp, w->ops, &w->kv, 1, len, n_threads, &err), &err);
    mr_attend_plan(&w->attend, &(mr_row){.pos = row.pos, .table = w->table}, &(uint32_t){0}, 1);
}

static void close_world(world *w) {
    mr_attend_deinit(&w->attend);
    mr_pool_close(w->pool);
    mr_kv_deinit(&w->kv);
    free(w->scratch);
    free(w->out);
    free(w->row);
    free(w->q);
    free(w->table);
}

static void on_piece(void *arg, uint32_t piece, int ith) {
    world *w = arg;
    const size_t scratch = (mr_attend_scratch(&hp) + 63) / 64 * 64;

    mr_attend_piece(&w->attend, piece, w->layer, w->q, w->out, w->scratch + (size_t)ith * scratch);
}

/* best: of each layer */
static double step_s(world *w, double best[]) {
    const double begin = now_s();

    for (w->layer = 0; w->layer < hp.n_layer; w->layer++) {
        const double start = now_s();

        mr_attend_arm(&w->attend);
        mr_pool_run(w->pool, w->attend.n_pieces, on_piece, w);
        const double s = now_s() - start;
        if (s < best[w->layer]) best[w->layer] = s;
    }
    return now_s() - begin;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bench(mr_kv_type type, uint32_t len, int n_threads, int reps) {
    static double s[MAX_REPS];
    double layers[64], best = 0;
    world w;

    open_world(&w, type, len, n_threads);
    for (uint32_t i = 0; i < hp.n_layer; i++) layers[i] = 1e9;
    step_s(&w, layers);
    for (int i = 0; i < reps; i++) s[i] = step_s(&w, layers);
    for (uint32_t i = 0; i < hp.n_layer; i++) best += layers[i];
    qsort(s, (size_t)reps, sizeof *s, by_value);
    printf("{\"bench\":\"attend\",\"isa\":\"%s\",\"kv_type\":\"%s\",\"len\":%u,\"threads\":%d,"
           "\"mib\":%.0f,\"ms\":%.2f,\"best_ms\":%.2f,\"gbs\":%.1f,\"best_gbs\":%.1f}\n",
           w.ops->name, mr_kv_type_name(type), len, n_threads, (double)w.kv.bytes / (1 << 20),
           1e3 * s[reps / 2], 1e3 * best, (double)w.kv.bytes / s[reps / 2] / 1e9,
           (double)w.kv.bytes / best / 1e9);
    fflush(stdout);
    close_world(&w);
}

static int number(int argc, char **argv, int i, int otherwise, int most) {
    const int n = i < argc ? atoi(argv[i]) : otherwise;

    if (n >= 1 && n <= most) return n;
    fprintf(stderr, "usage: bench_attend [LEN [THREADS [REPS]]]\n");
    exit(64);
}

int main(int argc, char **argv) {
    const int len = number(argc, argv, 1, 8192, 1 << 20);
    const int n_threads = number(argc, argv, 2, 2, 256), reps = number(argc, argv, 3, 20, MAX_REPS);

    for (mr_kv_type type = MR_KV_F16; type <= MR_KV_Q8_0; type++) {
        bench(type, (uint32_t)len, 1, reps);
        if (n_threads > 1) bench(type, (uint32_t)len, n_threads, reps);
    }
    return 0;
}
