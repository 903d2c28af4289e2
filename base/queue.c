/* queue.c - a ring of values under one mutex.
 *
 * Waits use the monotonic clock, so a change of the wall clock neither cuts nor stretches them. */
#include "base/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

mr_status mr_queue_init(mr_queue *q, size_t cap, size_t item_bytes, mr_err *err) {
    *q = (mr_queue){.item_bytes = item_bytes, .cap = cap};
    if (cap == 0 || item_bytes == 0)
        return mr_fail(err, MR_EINVAL, "queue: %zu places of %zu bytes; both must be at least 1",
                       cap, item_bytes);
    q->items = cap <= SIZE_MAX / item_bytes ? malloc(cap * item_bytes) : NULL;
    if (!q->items)
        return mr_fail(err, MR_ENOMEM, "queue: no memory for %zu places of %zu bytes", cap,
                       item_bytes);

    pthread_condattr_t attr;
    MR_CHECK(pthread_condattr_init(&attr) == 0);
    MR_CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    MR_CHECK(pthread_mutex_init(&q->lock, NULL) == 0);
    MR_CHECK(pthread_cond_init(&q->not_empty, &attr) == 0);
    MR_CHECK(pthread_cond_init(&q->not_full, &attr) == 0);
    pthread_condattr_destroy(&attr);
    return MR_OK;
}

void mr_queue_deinit(mr_queue *q) {
    if (!q->items) return; /* init failed, or called twice */
    pthread_cond_destroy(&q->not_full);
    pthread_cond_destroy(&q->not_empty);
    pthread_mutex_destroy(&q->lock);
    free(q->items);
    q->items = NULL;
}

static bool put(mr_queue *q, const void *item) {
    if (q->closed || q->len == q->cap) return false;
    const size_t at = (q->head + q->len) % q->cap;
    memcpy(q->items + at * q->item_bytes, item, q->item_bytes);
    q->len++;
    pthread_cond_signal(&q->not_empty);
    return true;
}

static bool take(mr_queue *q, void *item) {
    if (q->len == 0) return false;
    memcpy(item, q->items + q->head * q->item_bytes, q->item_bytes);
    q->head = (q->head + 1) % q->cap;
    q->len--;
    pthread_cond_signal(&q->not_full);
    return true;
}

bool mr_queue_push(mr_queue *q, const void *item) {
    pthread_mutex_lock(&q->lock);
    const bool ok = put(q, item);
    pthread_mutex_unlock(&q->lock);
    return ok;
}

bool mr_queue_push_wait(mr_queue *q, const void *item) {
    pthread_mutex_lock(&q->lock);
    while (!q->closed && q->len == q->cap) pthread_cond_wait(&q->not_full, &q->lock);
    const bool ok = put(q, item);
    pthread_mutex_unlock(&q->lock);
    return ok;
}

bool mr_queue_pop(mr_queue *q, void *item) {
    pthread_mutex_lock(&q->lock);
    const bool ok = take(q, item);
    pthread_mutex_unlock(&q->lock);
    return ok;
}

static struct timespec deadline_in(int64_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

bool mr_queue_pop_wait(mr_queue *q, void *item, int64_t timeout_ms) {
    const struct timespec until = deadline_in(timeout_ms > 0 ? timeout_ms : 0);

    pthread_mutex_lock(&q->lock);
    while (q->len == 0 && !q->closed) {
        if (timeout_ms < 0)
            pthread_cond_wait(&q->not_empty, &q->lock);
        else if (pthread_cond_timedwait(&q->not_empty, &q->lock, &until) == ETIMEDOUT)
            break;
    }
    const bool ok = take(q, item);
    pthread_mutex_unlock(&q->lock);
    return ok;
}

void mr_queue_close(mr_queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
    pthread_mutex_unlock(&q->lock);
}

size_t mr_queue_len(mr_queue *q) {
    pthread_mutex_lock(&q->lock);
    const size_t len = q->len;
    pthread_mutex_unlock(&q->lock);
    return len;
}
