/* Goal: a run reaches every thread once and returns after the last, for any pool size and any
 * rhythm; mr_pool_next hands out each piece once; an idle pool uses no CPU.
 *
 * Method: many short runs, some behind pauses long enough for the workers to fall asleep; more
 * threads than cores; the process's CPU clock over an idle stretch. Run it under TSan. */
#include "engine/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

#define MAX_THREADS 16
#define N_PIECES    1000

typedef struct shared {
    mr_pool *pool;
    int n_threads;
    int runs_of[MAX_THREADS]; /* plain ints: only run() orders them, and TSan sees if it does not */
    int taken[N_PIECES];
} shared;

static double cpu_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return 1e3 * (double)ts.tv_sec + 1e-6 * (double)ts.tv_nsec;
}

static void count_run(void *arg, int ith, int nth) {
    shared *s = arg;
    if (nth != s->n_threads || ith < 0 || ith >= nth) abort();
    s->runs_of[ith]++;
}

static void take_pieces(void *arg, int ith, int nth) {
    shared *s = arg;
    (void)ith;
    (void)nth;
    for (int i = mr_pool_next(s->pool); i < N_PIECES; i = mr_pool_next(s->pool)) s->taken[i]++;
}

static void open_pool(shared *s, int n_threads) {
    mr_err err = {0};
    memset(s, 0, sizeof *s);
    s->n_threads = n_threads;
    CHECK_OK(mr_pool_open(&s->pool, n_threads, &err), err);
    CHECK_I64(mr_pool_size(s->pool), n_threads);
}

TEST(a_run_reaches_every_thread_once) {
    static const int sizes[] = {1, 2, 3, MAX_THREADS};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int runs = sizes[k] > 3 ? 50 : 300;
        shared s;
        open_pool(&s, sizes[k]);
        for (int run = 1; run <= runs; run++) {
            mr_pool_run(s.pool, count_run, &s);
            for (int i = 0; i < sizes[k]; i++) CHECK_I64(s.runs_of[i], run);
            if (run % 50 == 0) usleep(2000); /* workers sleep by now */
        }
        mr_pool_close(s.pool);
    }
}

TEST(every_piece_is_taken_once_and_the_count_starts_anew) {
    shared s;
    open_pool(&s, 4);
    for (int run = 1; run <= 20; run++) {
        mr_pool_run(s.pool, take_pieces, &s);
        for (int i = 0; i < N_PIECES; i++) CHECK_I64(s.taken[i], run);
    }
    mr_pool_close(s.pool);
}

TEST(pools_open_and_close_without_a_run) {
    for (int i = 0; i < 20; i++) {
        shared s;
        open_pool(&s, 1 + i % 5);
        mr_pool_close(s.pool);
    }
    mr_pool_close(NULL);
}

/* A tenth of a second after a run all is asleep; nothing may be used in the stretch behind it. */
TEST(an_idle_pool_uses_no_cpu) {
    shared s;
    mr_pool *all;
    CHECK_I64(mr_pool_open(&all, 0, NULL), MR_OK); /* no more threads than cores: workers spin */
    const int n_cores = mr_pool_size(all);
    mr_pool_close(all);
    open_pool(&s, n_cores < MAX_THREADS ? n_cores : MAX_THREADS);
    mr_pool_run(s.pool, count_run, &s);
    usleep(100000);
    const double before = cpu_ms();
    usleep(500000);
    CHECK(cpu_ms() - before < 5);
    mr_pool_close(s.pool);
}

static atomic_int on_worker;

static void on_signal(int sig) {
    char name[16] = "";
    (void)sig;
    if (pthread_getname_np(pthread_self(), name, sizeof name) == 0 &&
        strncmp(name, "mr-cpu-", 7) == 0)
        atomic_store(&on_worker, 1);
}

TEST(workers_take_no_signals) {
    shared s;
    struct sigaction old, act = {.sa_handler = on_signal};
    open_pool(&s, 8);
    sigaction(SIGUSR1, &act, &old);
    for (int i = 0; i < 20; i++) kill(getpid(), SIGUSR1);
    mr_pool_run(s.pool, count_run, &s);
    sigaction(SIGUSR1, &old, NULL);
    CHECK_I64(atomic_load(&on_worker), 0);
    mr_pool_close(s.pool);
}

TEST(bad_sizes_are_refused_by_name) {
    static const int bad[] = {-1, 257};
    mr_pool *p;
    for (int i = 0; i < 2; i++) {
        mr_err err = {0};
        CHECK_I64(mr_pool_open(&p, bad[i], &err), MR_EINVAL);
        CHECK(p == NULL);
        CHECK_ERR(err, "n_threads");
        CHECK_ERR(err, "256");
    }
    CHECK_I64(mr_pool_open(&p, 0, NULL), MR_OK); /* 0: all cores */
    CHECK(mr_pool_size(p) >= 1);
    mr_pool_close(p);
}

MR_TEST_MAIN
