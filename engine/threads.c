/* threads.c - fork and join of one function over a few threads.
 *
 * A step of a model is some hundreds of runs, each a fraction of a millisecond, so a worker that
 * has finished looks for the next run for POOL_SPIN_US before it sleeps on a condition; waking it
 * would cost more than most runs. The caller joins the same way. Nobody spins when the pool has
 * more threads than the process has cores: the spinner would sit on the core that the work needs.
 *
 * A run is published by raising `round` under the lock. A worker reads it without the lock while it
 * spins and with the lock before it sleeps, so a wake-up cannot be lost. fn, arg and the counter of
 * pieces are written before `round` and read after it.
 *
 * Limits: POOL_MAX_THREADS. Thread: open, run, close from one thread at a time. Nothing here
 * allocates after open. */
#include "engine/threads.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POOL_MAX_THREADS 256
#define POOL_SPIN_US     40 /* longer than the serial work between two runs of a step */
#define POOL_SPIN_CHECK  32 /* looks between two readings of the clock */
#define CACHE_LINE       64

typedef struct worker {
    mr_pool *pool;
    pthread_t thread;
    int ith;
} worker;

struct mr_pool {
    _Alignas(CACHE_LINE) atomic_uint round;  /* number of the current run */
    _Alignas(CACHE_LINE) atomic_int running; /* workers that have not finished it */
    _Alignas(CACHE_LINE) atomic_int piece;   /* next answer of mr_pool_next */
    _Alignas(CACHE_LINE) mr_pool_fn *fn;     /* NULL: workers end */
    void *arg;
    bool spins;
    int n_threads; /* the caller and the workers */
    int n_started;
    pthread_mutex_t lock;
    pthread_cond_t start, done;
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

static bool round_is_new(mr_pool *p, unsigned seen) {
    return atomic_load_explicit(&p->round, memory_order_acquire) != seen;
}

static bool all_done(mr_pool *p, unsigned unused) {
    (void)unused;
    return atomic_load_explicit(&p->running, memory_order_acquire) == 0;
}

/* Looks for ready() for a short while; false: sleep instead. */
static bool spin_until(mr_pool *p, bool (*ready)(mr_pool *, unsigned), unsigned seen) {
    if (!p->spins) return ready(p, seen);
    const int64_t end_us = now_us() + POOL_SPIN_US;
    do {
        for (int i = 0; i < POOL_SPIN_CHECK; i++) {
            if (ready(p, seen)) return true;
            relax();
        }
    } while (now_us() < end_us);
    return false;
}

static void wait_until(mr_pool *p, pthread_cond_t *cond, bool (*ready)(mr_pool *, unsigned),
                       unsigned seen) {
    if (spin_until(p, ready, seen)) return;
    pthread_mutex_lock(&p->lock);
    while (!ready(p, seen)) pthread_cond_wait(cond, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
    const worker *w = arg;
    mr_pool *p = w->pool;

    for (unsigned seen = 0;; seen++) {
        wait_until(p, &p->start, round_is_new, seen);
        if (!p->fn) return NULL;
        p->fn(p->arg, w->ith, p->n_threads);
        if (atomic_fetch_sub_explicit(&p->running, 1, memory_order_acq_rel) > 1) continue;
        /* Last one. The lock orders this signal behind a caller that is about to sleep. */
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->lock);
    }
}

static void publish(mr_pool *p, mr_pool_fn *fn, void *arg) {
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->running, p->n_started, memory_order_relaxed);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
}

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
        rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc != 0) break;
        p->n_started++;
        snprintf(name, sizeof name, "mr-cpu-%d", i);
        pthread_setname_np(w->thread, name);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
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
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->done, NULL);
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
    publish(p, NULL, NULL);
    for (int i = 1; i <= p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int mr_pool_size(const mr_pool *p) {
    return p->n_threads;
}

void mr_pool_run(mr_pool *p, mr_pool_fn *fn, void *arg) {
    MR_CHECK(fn);
    atomic_store_explicit(&p->piece, 0, memory_order_relaxed);
    if (p->n_started > 0) publish(p, fn, arg);
    fn(arg, 0, p->n_threads);
    if (p->n_started > 0) wait_until(p, &p->done, all_done, 0);
}

int mr_pool_next(mr_pool *p) {
    return atomic_fetch_add_explicit(&p->piece, 1, memory_order_relaxed);
}
