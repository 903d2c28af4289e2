/* Goal: every piece of a run is done once and before run() returns, for any pool size and any
 * rhythm; a worker that gets no core is not waited for; an idle pool uses no CPU.
 *
 * Method: many short runs, some behind pauses long enough for the workers to fall asleep; more
 * threads than cores; a worker kept inside one piece while the caller does the rest; the process's
 * CPU clock over an idle stretch. Run it under TSan. */
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
    int done[N_PIECES]; /* plain ints: only run() orders them, and TSan sees if it does not */
    int on_thread[MAX_THREADS];
} shared;

static double cpu_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return 1e3 * (double)ts.tv_sec + 1e-6 * (double)ts.tv_nsec;
}

static void count_piece(void *arg, uint32_t piece, int ith) {
    shared *s = arg;
    if (piece >= N_PIECES || ith < 0 || ith >= s->n_threads) abort();
    s->done[piece]++;
    s->on_thread[ith]++;
}

static void open_pool(shared *s, int n_threads) {
    mr_err err = {0};
    memset(s, 0, sizeof *s);
    s->n_threads = n_threads;
    CHECK_OK(mr_pool_open(&s->pool, n_threads, &err), err);
    CHECK_I64(mr_pool_size(s->pool), n_threads);
}

TEST(every_piece_is_done_once_in_every_run) {
    static const int sizes[] = {1, 2, 3, MAX_THREADS};
    static const uint32_t pieces[] = {0, 1, 2, 7, N_PIECES};
    for (size_t k = 0; k < MR_COUNT(sizes); k++) {
        for (size_t n = 0; n < MR_COUNT(pieces); n++) {
            const int runs = sizes[k] > 3 ? 50 : 300;
            shared s;
            open_pool(&s, sizes[k]);
            for (int run = 1; run <= runs; run++) {
                mr_pool_run(s.pool, pieces[n], count_piece, &s);
                for (uint32_t i = 0; i < N_PIECES; i++)
                    CHECK_I64(s.done[i], i < pieces[n] ? run : 0);
                if (run % 50 == 0) usleep(2000); /* workers sleep by now */
            }
            mr_pool_close(s.pool);
        }
    }
}

/* ---- a worker that is held up ---- */

typedef struct hold_up {
    atomic_int n_done, held;
    atomic_bool go;
} hold_up;

/* The first worker to come stays in its piece until all others are done. */
static void hold_first_worker(void *arg, uint32_t piece, int ith) {
    hold_up *h = arg;
    (void)piece;
    if (ith > 0 && atomic_exchange(&h->held, 1) == 0)
        while (!atomic_load(&h->go)) usleep(100);
    else if (ith == 0)
        usleep(100); /* leave something to the workers */
    if (atomic_fetch_add(&h->n_done, 1) == N_PIECES - 2) atomic_store(&h->go, true);
}

TEST(the_others_do_the_work_of_a_worker_that_is_held_up) {
    shared s;
    hold_up h = {0};
    open_pool(&s, 2);
    for (int i = 0; i < 1000 && !atomic_load(&h.held); i++) { /* until the worker gets a core */
        atomic_store(&h.n_done, 0);
        mr_pool_run(s.pool, N_PIECES, hold_first_worker, &h);
        CHECK_I64(atomic_load(&h.n_done), N_PIECES);
    }
    CHECK(atomic_load(&h.held));
    mr_pool_close(s.pool);
}

/* One run is over before a sleeping worker can wake and enter: the run is closed to it then, and
 * the next one reaches it all the same. */
static void note_thread(void *arg, uint32_t piece, int ith) {
    shared *s = arg;
    (void)piece;
    s->on_thread[ith]++;
}

TEST(a_worker_that_comes_late_is_not_missed) {
    shared s;
    int alone = 0;
    open_pool(&s, 2);
    for (int i = 0; i < 200; i++) {
        if (i % 2 == 0) usleep(300); /* asleep */
        memset(s.on_thread, 0, sizeof s.on_thread);
        mr_pool_run(s.pool, 2, note_thread, &s);
        CHECK_I64(s.on_thread[0] + s.on_thread[1], 2);
        alone += s.on_thread[0] == 2;
    }
    CHECK(alone > 0);
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
    mr_pool_run(s.pool, N_PIECES, count_piece, &s);
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
    mr_pool_run(s.pool, N_PIECES, count_piece, &s);
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
