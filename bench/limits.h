/* limits.h - what this machine can do at most: bytes read from memory, products per second.
 *
 * The yardstick for the engine's figures, measured on the spot because clocks, neighbours and
 * memory differ from one machine and one minute to the next. Thread: one at a time; it starts its
 * own. */
#ifndef MR_BENCH_LIMITS_H
#define MR_BENCH_LIMITS_H

#include <stddef.h>

#include "millrace/error.h"

typedef enum mr_limit {
    MR_LIMIT_READ, /* bytes from memory, in order */
    MR_LIMIT_F32,  /* f32 multiply-adds, 2 operations each */
    MR_LIMIT_INT8, /* multiply-adds of 8-bit numbers in vectors */
    MR_LIMIT_AMX,  /* the same in tiles */
    MR_LIMIT_N
} mr_limit;

typedef struct mr_limits {
    int n_threads;
    double most[MR_LIMIT_N];   /* 1e9 per second, all threads, of the best round; 0: not here */
    double median[MR_LIMIT_N]; /* of all rounds */
} mr_limits;

/* Takes about a second, and a buffer of up to 256 MiB per thread while it runs. */
mr_status mr_limits_measure(mr_limits *out, int n_threads, mr_err *err);
const char *mr_limit_name(mr_limit limit); /* "read", "f32", "int8", "amx" */
const char *mr_limit_unit(mr_limit limit); /* "GB/s", "GFLOP/s", "GOP/s" */

#endif
