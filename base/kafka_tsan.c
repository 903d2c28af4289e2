/* kafka_tsan.c - C11 threads in terms of POSIX threads, for builds with ThreadSanitizer only.
 *
 * librdkafka makes its threads with thrd_create and locks with mtx_lock, which ThreadSanitizer of
 * GCC 12 and Clang 14 does not know: our callbacks on such a thread crash. The program's own
 * definitions take the place of libc's when librdkafka is loaded, so the sanitizer sees threads and
 * locks, and a race between a callback and the loop is found. glibc's mtx_t and cnd_t have the
 * layout of their POSIX relatives. Any other build: this file is empty. */
#include "base/kafka_internal.h"

#if defined(__SANITIZE_THREAD__)
#define MR_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MR_TSAN 1
#endif
#endif

#ifdef MR_TSAN
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "mtx_t holds a pthread_mutex_t");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "cnd_t holds a pthread_cond_t");

/* They must be seen outside, whatever the library's visibility is. */
#pragma GCC visibility push(default)

typedef struct start {
    thrd_start_t fn;
    void *arg;
} start;

static void *run_start(void *arg) {
    const start s = *(start *)arg;
    free(arg);
    return (void *)(intptr_t)s.fn(s.arg);
}

static int result(int rc) {
    return rc == 0 ? thrd_success : rc == ETIMEDOUT ? thrd_timedout : thrd_error;
}

/* librdkafka itself is not instrumented: its atomic counters look like races. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) {
    return "race:librdkafka.so\n";
}

int thrd_create(thrd_t *thr, thrd_start_t fn, void *arg) {
    start *s = malloc(sizeof *s);
    if (!s) return thrd_nomem;
    *s = (start){fn, arg};
    const int rc = pthread_create(thr, NULL, run_start, s);
    if (rc) free(s);
    return result(rc);
}

int thrd_join(thrd_t thr, int *res) {
    void *value = NULL;
    const int rc = pthread_join(thr, &value);
    if (res) *res = (int)(intptr_t)value;
    return result(rc);
}

int mtx_init(mtx_t *m, int type) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    if (type & mtx_recursive) pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    const int rc = pthread_mutex_init((pthread_mutex_t *)m, &attr);
    pthread_mutexattr_destroy(&attr);
    return result(rc);
}

int mtx_lock(mtx_t *m) {
    return result(pthread_mutex_lock((pthread_mutex_t *)m));
}

int mtx_unlock(mtx_t *m) {
    return result(pthread_mutex_unlock((pthread_mutex_t *)m));
}

void mtx_destroy(mtx_t *m) {
    pthread_mutex_destroy((pthread_mutex_t *)m);
}

int cnd_init(cnd_t *c) {
    return result(pthread_cond_init((pthread_cond_t *)c, NULL));
}

int cnd_signal(cnd_t *c) {
    return result(pthread_cond_signal((pthread_cond_t *)c));
}

int cnd_broadcast(cnd_t *c) {
    return result(pthread_cond_broadcast((pthread_cond_t *)c));
}

int cnd_wait(cnd_t *c, mtx_t *m) {
    return result(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict until) {
    return result(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}

void cnd_destroy(cnd_t *c) {
    pthread_cond_destroy((pthread_cond_t *)c);
}

#pragma GCC visibility pop
#endif

/* Called once, so that the linker takes this file out of its library. */
void mr_kafka_tsan_link(void) {}
