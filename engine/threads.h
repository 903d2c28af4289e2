/* threads.h - a pool that does the pieces of one job on all its threads and is quiet when idle.
 *
 * run() is a fork and a join: the caller takes pieces like every worker, and waits at the end only
 * for workers that have begun one. A worker that got no core meanwhile is not missed. Workers spin
 * for a few microseconds between two runs and then sleep, so an idle engine uses no CPU and a busy
 * neighbour costs its share and no more. Owner: caller. run() from one thread at a time. */
#ifndef MR_ENGINE_THREADS_H
#define MR_ENGINE_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include "millrace/error.h"

typedef struct mr_pool mr_pool;
/* One piece; ith, 0 .. mr_pool_size - 1, is the thread that does it: an index of scratch memory. */
typedef void mr_pool_fn(void *arg, uint32_t piece, int ith);

/* n_threads 0: one per core that this process may use. */
mr_status mr_pool_open(mr_pool **out, int n_threads, mr_err *err);
void mr_pool_close(mr_pool *p);
int mr_pool_size(const mr_pool *p);

/* fn for every piece 0 .. n_pieces - 1, each once, begun in that order; returns when all are done.
 * Who does which piece is chance: results must not depend on it. */
void mr_pool_run(mr_pool *p, uint32_t n_pieces, mr_pool_fn *fn, void *arg);

#endif
