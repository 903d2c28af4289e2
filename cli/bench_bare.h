/* bench_bare.h - bench/bare.c in a process of its own, to be measured like the dispatcher's.
 *
 * A process that has threads of librdkafka cannot be forked safely, so each is forked first of all
 * and waits until it is started. Thread: loop. */
#ifndef MR_CLI_BENCH_BARE_H
#define MR_CLI_BENCH_BARE_H

#include <sys/types.h>

#include "bench/bare.h"

typedef struct mr_bench_bare {
    pid_t pid; /* 0: none */
    int go;    /* the number of records, written here, starts it */
} mr_bench_bare;

/* conf is copied by the fork; its n is that of mr_bench_bare_start(). */
mr_status mr_bench_bare_fork(mr_bench_bare *b, const mr_bare_conf *conf, mr_err *err);
/* Moves n records. It stays until it is ended, so that its CPU time can be read. */
mr_status mr_bench_bare_start(mr_bench_bare *b, uint64_t n, mr_err *err);
void mr_bench_bare_end(mr_bench_bare *b); /* also one that was never forked */

#endif
