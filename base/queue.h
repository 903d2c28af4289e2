/* queue.h - bounded queue of equal-sized values between two threads.
 *
 * One mutex, two condition variables: a push or pop costs well under a microsecond, and a step of
 * the engine takes milliseconds. Values are copied in and out. Owner: who calls init. */
#ifndef MR_BASE_QUEUE_H
#define MR_BASE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

typedef struct mr_queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    unsigned char *items;
    size_t item_bytes, cap, head, len;
    bool closed;
} mr_queue;

mr_status mr_queue_init(mr_queue *q, size_t cap, size_t item_bytes, mr_err *err);
void mr_queue_deinit(mr_queue *q);

/* False: full or closed; nothing was taken. */
bool mr_queue_push(mr_queue *q, const void *item);
/* Waits while full. False: closed. */
bool mr_queue_push_wait(mr_queue *q, const void *item);
/* False: empty. */
bool mr_queue_pop(mr_queue *q, void *item);
/* Waits while empty, at most timeout_ms (-1: for ever). False: closed and empty, or time over. */
bool mr_queue_pop_wait(mr_queue *q, void *item, int64_t timeout_ms);
/* No push succeeds any more; what is inside can still be popped. */
void mr_queue_close(mr_queue *q);
size_t mr_queue_len(mr_queue *q);

#endif
