/* threads.c - fork and join of the pieces of one job over a few threads.
 *
 * A step of a model is some hundreds of runs, each a fraction of a millisecond. So a worker that
 * has finished looks for the next run for POOL_SPIN_US before it sleeps on a condition; waking it
 * would cost more than most runs. The caller joins the same way. Nobody spins when the pool has
 * more threads than the process has cores: the spinner would sit on the core that the work needs.
 *
 * One word holds the state of a run: its number, whether it is open, and how many workers are
 * inside. A worker enters by raising the count of an open run in one exchange, takes pieces from a
 * shared counter and leaves. The caller takes pieces too; when none is left it closes the run and
 * waits for those inside. A worker that slept or had lost its core all the while finds the run
 * closed: nobody waits for it. fn, arg and the counter are written before the word opens and are
 * left alone until the last worker is out.
 *
 * Who sleeps raises a count and looks once more before it does; who has changed the word reads that
 * count afterwards. Both orders are sequentially consistent, so one of the two sees the other.
 *
 * Threads are not pinned: a run waits for the worker that a neighbour has pushed off its core, and
 * the sooner the kernel moves that worker to a core where we sleep the better.
 *
 * Limits: POOL_MAX_THREADS. Thread: open, run, close from one thread at a time. Nothing here
 * allocates after open. */
#include "engine/threads.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POOL_MAX_THREADS 256
#define POOL_SPIN_US     40 /* longer than the serial work between two runs of a step */
#define POOL_SPIN_CHECK  32 /* looks between two readings of the clock */
#define CACHE_LINE       64

/* The word: number of the run << 32 | RUN_OPEN | workers inside. */
#define RUN_OPEN  0x80000000u
#define N_INSIDE  0x7fffffffu
#define RUN_SHIFT 32

typedef struct worker {
    mr_pool *pool;
    pthread_t thread;
    int ith;
} worker;

typedef struct bed { /* where threads sleep */
    pthread_cond_t cond;
    atomic_int n_asleep;
} bed;

struct mr_pool {
    _Alignas(CACHE_LINE) atomic_uint_fast64_t word;
    _Alignas(CACHE_LINE) atomic_uint next; /* piece */
    _Alignas(CACHE_LINE) mr_pool_fn *fn;   /* NULL: workers end */
    void *arg;
    uint32_t n_pieces;
    bool spins;
    int n_threads; /* the caller and the workers */
    int n_started;
    pthread_mutex_t lock;
    bed workers_bed, caller_bed;
    worker workers[POOL_MAX_THREADS];
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- waiting ---- */

typedef bool ready_fn(uint64_t word, uint32_t seen);

static bool run_is_new(uint64_t word, uint32_t seen) {
    return (word & RUN_OPEN) && (uint32_t)(word >> RUN_SHIFT) != seen;
}

static bool all_are_out(uint64_t word, uint32_t unused) {
    (void)unused;
    return (word & N_INSIDE) == 0;
}

/* Looks for ready() for a short while; false: sleep instead. */
static bool spin_until(mr_pool *p, ready_fn *ready, uint32_t seen) {
    if (ready(atomic_load(&p->word), seen)) return true;
    if (!p->spins) return false;
    const int64_t end_us = now_us() + POOL_SPIN_US;
    do {
        for (int i = 0; i < POOL_SPIN_CHECK; i++) {
            if (ready(atomic_load(&p->word), seen)) return true;
            relax();
        }
    } while (now_us() < end_us);
    return false;
}

static void wait_until(mr_pool *p, bed *b, ready_fn *ready, uint32_t seen) {
    if (spin_until(p, ready, seen)) return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&b->n_asleep, 1);
    while (!ready(atomic_load(&p->word), seen)) pthread_cond_wait(&b->cond, &p->lock);
    atomic_fetch_sub(&b->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
}

/* After a change of the word. */
static void wake(mr_pool *p, bed *b) {
    if (atomic_load(&b->n_asleep) == 0) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&b->cond);
    pthread_mutex_unlock(&p->lock);
}

/* ---- a run ---- */

/* False: the run that was seen is closed by now. */
static bool enter(mr_pool *p, uint32_t *seen) {
    uint64_t word = atomic_load(&p->word);

    do {
        if (!run_is_new(word, *seen)) return false;
    } while (!atomic_compare_exchange_weak(&p->word, &word, word + 1));
    *seen = (uint32_t)(word >> RUN_SHIFT);
    return true;
}

static void leave(mr_pool *p) {
    if (all_are_out(atomic_fetch_sub(&p->word, 1) - 1, 0)) wake(p, &p->caller_bed);
}

static void take_pieces(mr_pool *p, int ith) {
    for (uint32_t i;
         (i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->n_pieces;)
        p->fn(p->arg, i, ith);
}

static void *worker_main(void *arg) {
    const worker *w = arg;
    mr_pool *p = w->pool;

    leave(p); /* open has counted us in */
    for (uint32_t seen = 0;;) {
        wait_until(p, &p->workers_bed, run_is_new, seen);
        if (!enter(p, &seen)) continue;
        const bool ends = !p->fn;
        if (!ends) take_pieces(p, w->ith);
        leave(p);
        if (ends) return NULL;
    }
}

static void open_run(mr_pool *p, uint32_t n_pieces, mr_pool_fn *fn, void *arg) {
    const uint64_t run = (atomic_load_explicit(&p->word, memory_order_relaxed) >> RUN_SHIFT) + 1;

    p->fn = fn;
    p->arg = arg;
    p->n_pieces = n_pieces;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store(&p->word, run << RUN_SHIFT | RUN_OPEN);
    wake(p, &p->workers_bed);
}

void mr_pool_run(mr_pool *p, uint32_t n_pieces, mr_pool_fn *fn, void *arg) {
    MR_CHECK(fn && n_pieces <= INT32_MAX); /* every thread takes one too many */
    if (p->n_started == 0 || n_pieces <= 1) {
        for (uint32_t i = 0; i < n_pieces; i++) fn(arg, i, 0);
        return;
    }
    open_run(p, n_pieces, fn, arg);
    take_pieces(p, 0);
    atomic_fetch_and(&p->word, ~(uint64_t)RUN_OPEN);
    wait_until(p, &p->caller_bed, all_are_out, 0);
}

/* ---- open and close ---- */

static int usable_cores(void) {
    cpu_set_t set;
    const int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < POOL_MAX_THREADS ? n : POOL_MAX_THREADS;
}

/* Signals are for the program's other threads: a worker that took one would delay a step. */
static int start_workers(mr_pool *p) {
    sigset_t all, old;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 1; i < p->n_threads && rc == 0; i++) {
        worker *w = &p->workers[i];
        char name[24];
        *w = (worker){.pool = p, .ith = i};
        atomic_fetch_add(&p->word, 1);
        rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc != 0) {
            atomic_fetch_sub(&p->word, 1);
            break;
        }
        p->n_started++;
        snprintf(name, sizeof name, "mr-cpu-%d", i);
        pthread_setname_np(w->thread, name);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    wait_until(p, &p->caller_bed, all_are_out, 0); /* what a thread allocates, it has by now */
    return rc;
}

mr_status mr_pool_open(mr_pool **out, int n_threads, mr_err *err) {
    const int cores = usable_cores();
    mr_pool *p;
    int rc;

    *out = NULL;
    if (n_threads < 0 || n_threads > POOL_MAX_THREADS)
        return mr_fail(err, MR_EINVAL, "n_threads is %d; the limits are 0 (all cores) to %d",
                       n_threads, POOL_MAX_THREADS);
    p = aligned_alloc(CACHE_LINE, sizeof *p);
    if (!p) return mr_fail(err, MR_ENOMEM, "thread pool: out of memory");
    memset(p, 0, sizeof *p);
    p->n_threads = n_threads ? n_threads : cores;
    p->spins = p->n_threads <= cores;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->workers_bed.cond, NULL);
    pthread_cond_init(&p->caller_bed.cond, NULL);
    if ((rc = start_workers(p)) != 0) {
        mr_fail(err, MR_ENOMEM, "thread pool: thread %d of %d does not start: %s", p->n_started + 1,
                p->n_threads, strerror(rc));
        mr_pool_close(p);
        return MR_ENOMEM;
    }
    *out = p;
    return MR_OK;
}

void mr_pool_close(mr_pool *p) {
    if (!p) return;
    open_run(p, 0, NULL, NULL); /* stays open: every worker comes in and ends */
    for (int i = 1; i <= p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->caller_bed.cond);
    pthread_cond_destroy(&p->workers_bed.cond);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int mr_pool_size(const mr_pool *p) {
    return p->n_threads;
}
