/* threads.h - a pool that runs one function on all its threads and is quiet when idle.
 *
 * run() is a fork and a join: the caller works as thread 0. Workers spin for a few microseconds
 * between runs of one step and then sleep on a futex/condition, so an idle engine uses no CPU and a
 * busy neighbour costs its share and no more. Owner: caller. run() from one thread at a time. */
#ifndef MR_ENGINE_THREADS_H
#define MR_ENGINE_THREADS_H

#include <stdbool.h>

#include "millrace/error.h"

typedef struct mr_pool mr_pool;
typedef void mr_pool_fn(void *arg, int ith, int nth);

/* n_threads 0: one per core that this process may use. */
mr_status mr_pool_open(mr_pool **out, int n_threads, mr_err *err);
void mr_pool_close(mr_pool *p);
int mr_pool_size(const mr_pool *p);
void mr_pool_run(mr_pool *p, mr_pool_fn *fn, void *arg);
/* Next piece of work of this run: 0, 1, 2, ... shared by all threads, reset by run(). Lets fast
 * threads take more when a neighbour slows one down. */
int mr_pool_next(mr_pool *p);

#endif
