/* limits.c - loops that do nothing but reach one limit of the machine.
 *
 * Every thread makes N_ROUNDS rounds of each loop, all threads begin a round together, and the
 * round's figure is the sum of their rates, by the CPU time of each: a neighbour that takes the
 * core away is not the machine. The best round is the limit, because one that takes memory
 * bandwidth is not either. Buffers together are larger than caches of some 100 MiB.
 *
 * Products use as many sums as hide the latency of an instruction; sums stay in registers. They
 * begin differently, or a compiler would see that they are all the same. */
#include "bench/limits.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/memory.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define N_ROUNDS     8
#define MAX_THREADS  256
#define BUFFER_BYTES ((size_t)256 << 20)
#define N_SUMS       16
#define N_LOOPS      (4u << 20) /* some 10 to 40 ms of products */

typedef struct gang gang;

typedef struct runner { /* one thread */
    gang *g;
    pthread_t thread;
    char *buffer;
    double rate[MR_LIMIT_N][N_ROUNDS];
} runner;

struct gang {
    pthread_barrier_t start;
    size_t buffer_bytes;
    bool runs[MR_LIMIT_N];
    int n_threads;
    runner runners[MAX_THREADS];
};

static volatile float sink; /* or a compiler could leave a loop out */

#if defined(__x86_64__)

/* clang-format off */
#define TARGET(isa) __attribute__((target(isa), noinline))
/* clang-format on */

TARGET("avx2") static void read_all(const char *p, size_t bytes) {
    __m256i sum[4] = {0};

    for (const char *end = p + bytes; p < end; p += 128)
        for (int i = 0; i < 4; i++)
            sum[i] = _mm256_xor_si256(sum[i], _mm256_load_si256((const __m256i *)p + i));
    sum[0] = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    sink = (float)_mm256_extract_epi32(sum[0], 0);
}

TARGET("avx512f") static double f32_avx512(void) {
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    __m512 sum[N_SUMS];

    for (int j = 0; j < N_SUMS; j++) sum[j] = _mm512_set1_ps((float)j);
    for (uint32_t i = 0; i < N_LOOPS; i++)
        for (int j = 0; j < N_SUMS; j++) sum[j] = _mm512_fmadd_ps(sum[j], a, b);
    for (int j = 1; j < N_SUMS; j++) sum[0] = _mm512_add_ps(sum[0], sum[j]);
    sink = _mm512_reduce_add_ps(sum[0]);
    return 2.0 * 16 * N_SUMS * N_LOOPS;
}

TARGET("avx2,fma") static double f32_avx2(void) {
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    __m256 sum[12]; /* of 16 registers */

    for (int j = 0; j < 12; j++) sum[j] = _mm256_set1_ps((float)j);
    for (uint32_t i = 0; i < N_LOOPS; i++)
        for (int j = 0; j < 12; j++) sum[j] = _mm256_fmadd_ps(sum[j], a, b);
    for (int j = 1; j < 12; j++) sum[0] = _mm256_add_ps(sum[0], sum[j]);
    sink = _mm256_cvtss_f32(sum[0]);
    return 2.0 * 8 * 12 * N_LOOPS;
}

TARGET("avx512f,avx512vnni") static double int8_vnni(void) {
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
    __m512i sum[N_SUMS];

    for (int j = 0; j < N_SUMS; j++) sum[j] = _mm512_set1_epi32(j);
    for (uint32_t i = 0; i < N_LOOPS; i++)
        for (int j = 0; j < N_SUMS; j++) sum[j] = _mm512_dpbusd_epi32(sum[j], a, b);
    for (int j = 1; j < N_SUMS; j++) sum[0] = _mm512_add_epi32(sum[0], sum[j]);
    sink = (float)_mm512_reduce_add_epi32(sum[0]);
    return 2.0 * 64 * N_SUMS * N_LOOPS;
}

TARGET("avx2") static double int8_avx2(void) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[8] = {0}, a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5);

    for (uint32_t i = 0; i < N_LOOPS; i++)
        for (int j = 0; j < 8; j++) {
            __asm__ volatile("" : "+x"(a), "+x"(b)); /* or the product is made once */
            const __m256i pairs = _mm256_maddubs_epi16(a, b);
            sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(pairs, ones));
        }
    for (int j = 1; j < 8; j++) sum[0] = _mm256_add_epi32(sum[0], sum[j]);
    sink = (float)_mm256_extract_epi32(sum[0], 0);
    return 2.0 * 32 * 8 * N_LOOPS;
}

/* Four sums of 16 x 16 from two tiles of rows and two of columns, 64 deep. */
TARGET("amx-tile,amx-int8") static double int8_amx(void) {
    enum { TILES = 8, ROWS = 16, ROW_BYTES = 64, LOOPS = N_LOOPS / 16 };
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    static const int8_t ones[ROWS * ROW_BYTES] = {1};
    int32_t out[ROWS * ROW_BYTES / 4];

    for (int i = 0; i < TILES; i++) {
        config.row_bytes[i] = ROW_BYTES;
        config.rows[i] = ROWS;
    }
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, ones, ROW_BYTES);
    _tile_loadd(5, ones, ROW_BYTES);
    _tile_loadd(6, ones, ROW_BYTES);
    _tile_loadd(7, ones, ROW_BYTES);
    for (uint32_t i = 0; i < LOOPS; i++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, out, ROW_BYTES);
    _tile_release();
    sink = (float)out[0];
    return 2.0 * ROWS * ROWS * ROW_BYTES * 4 * LOOPS;
}

/* The kernel must be asked before the first tile is touched. */
static bool has_amx(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && (d >> 25 & 1) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f");
}

static bool has_vnni(void) {
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

static bool has(mr_limit limit) {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return false;
    return limit != MR_LIMIT_AMX || has_amx();
}

/* One round; returns what was done, in bytes or operations. */
static double work(mr_limit limit, const char *buffer, size_t bytes) {
    switch (limit) {
    case MR_LIMIT_READ:
        read_all(buffer, bytes);
        return (double)bytes;
    case MR_LIMIT_F32:
        return has_avx512() ? f32_avx512() : f32_avx2();
    case MR_LIMIT_INT8:
        return has_vnni() ? int8_vnni() : int8_avx2();
    default:
        return int8_amx();
    }
}

#else /* reading is the same everywhere */

static bool has(mr_limit limit) {
    return limit == MR_LIMIT_READ;
}

static double work(mr_limit limit, const char *buffer, size_t bytes) {
    uint64_t sum = 0, word;

    (void)limit;
    for (size_t i = 0; i + sizeof word <= bytes; i += sizeof word) {
        memcpy(&word, buffer + i, sizeof word);
        sum += word;
    }
    sink = (float)sum;
    return (double)bytes;
}

#endif

/* ---- rounds ---- */

static double now_s(void) {
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *run(void *arg) {
    runner *r = arg;

    memset(r->buffer, 1, r->g->buffer_bytes); /* pages exist, and near this thread */
    for (int limit = 0; limit < MR_LIMIT_N; limit++)
        for (int round = 0; round < N_ROUNDS && r->g->runs[limit]; round++) {
            pthread_barrier_wait(&r->g->start);
            const double begin = now_s(), done = work(limit, r->buffer, r->g->buffer_bytes);
            r->rate[limit][round] = done / (now_s() - begin);
        }
    return NULL;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sum_up(const gang *g, mr_limits *out) {
    double all[N_ROUNDS];

    for (int limit = 0; limit < MR_LIMIT_N; limit++) {
        for (int round = 0; round < N_ROUNDS; round++) {
            all[round] = 0;
            for (int i = 0; i < g->n_threads; i++)
                all[round] += g->runners[i].rate[limit][round] / 1e9;
        }
        qsort(all, N_ROUNDS, sizeof *all, by_value);
        out->most[limit] = all[N_ROUNDS - 1];
        out->median[limit] = (all[N_ROUNDS / 2 - 1] + all[N_ROUNDS / 2]) / 2;
    }
}

/* Threads wait for each other: either all of them start or the process cannot go on. */
static mr_status start_all(gang *g, mr_err *err) {
    for (int i = 0; i < g->n_threads; i++) {
        g->runners[i].g = g;
        g->runners[i].buffer = mr_pages_map(g->buffer_bytes);
        if (!g->runners[i].buffer)
            return mr_fail(err, MR_ENOMEM, "limits: no memory for %d buffers of %zu MiB",
                           g->n_threads, g->buffer_bytes >> 20);
    }
    for (int i = 0; i < g->n_threads; i++)
        MR_CHECK(pthread_create(&g->runners[i].thread, NULL, run, &g->runners[i]) == 0);
    return MR_OK;
}

mr_status mr_limits_measure(mr_limits *out, int n_threads, mr_err *err) {
    gang *g = calloc(1, sizeof *g);
    mr_status st;

    *out = (mr_limits){.n_threads = n_threads};
    if (!g) return mr_fail(err, MR_ENOMEM, "limits: out of memory");
    MR_CHECK(n_threads > 0 && n_threads <= MAX_THREADS);
    g->n_threads = n_threads;
    g->buffer_bytes = BUFFER_BYTES;
    while (g->buffer_bytes * (size_t)n_threads > mr_memory_available() / 4) g->buffer_bytes /= 2;
    for (int limit = 0; limit < MR_LIMIT_N; limit++) g->runs[limit] = has(limit);
    pthread_barrier_init(&g->start, NULL, (unsigned)n_threads);
    st = start_all(g, err);
    for (int i = 0; i < n_threads; i++) {
        if (st == MR_OK) pthread_join(g->runners[i].thread, NULL);
        mr_pages_unmap(g->runners[i].buffer, g->buffer_bytes);
    }
    if (st == MR_OK) sum_up(g, out);
    pthread_barrier_destroy(&g->start);
    free(g);
    return st;
}

static const struct description {
    const char *name, *unit;
} descriptions[MR_LIMIT_N] = {
    [MR_LIMIT_READ] = {"read", "GB/s"},
    [MR_LIMIT_F32] = {"f32", "GFLOP/s"},
    [MR_LIMIT_INT8] = {"int8", "GOP/s"},
    [MR_LIMIT_AMX] = {"amx", "GOP/s"},
};

const char *mr_limit_name(mr_limit limit) {
    return descriptions[limit].name;
}

const char *mr_limit_unit(mr_limit limit) {
    return descriptions[limit].unit;
}
