/* roofline.c - the limits of this machine, one JSON line per limit and number of threads.
 *
 *   roofline [THREADS ...]      without: 1, and one per core
 *
 * most: the best of some rounds, median: of all of them, in units of 1e9 per second. A median far
 * below the best means that somebody else is at work here. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench/limits.h"

static int measure(int n_threads) {
    mr_limits l;
    mr_err err;

    if (mr_limits_measure(&l, n_threads, &err) != MR_OK) {
        fprintf(stderr, "roofline: %s\n", err.text);
        return EX_OSERR;
    }
    for (int i = 0; i < MR_LIMIT_N; i++)
        if (l.most[i] > 0)
            printf("{\"bench\":\"roofline\",\"limit\":\"%s\",\"unit\":\"%s\",\"threads\":%d,"
                   "\"most\":%.1f,\"median\":%.1f}\n",
                   mr_limit_name(i), mr_limit_unit(i), n_threads, l.most[i], l.median[i]);
    fflush(stdout);
    return EX_OK;
}

int main(int argc, char **argv) {
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int rc = EX_OK;

    for (int i = 1; i < argc && rc == EX_OK; i++) {
        const int n = atoi(argv[i]);

        if (n < 1 || n > 256) {
            fprintf(stderr, "usage: roofline [THREADS ...], each from 1 to 256\n");
            return EX_USAGE;
        }
        rc = measure(n);
    }
    if (argc > 1) return rc;
    rc = measure(1);
    return rc != EX_OK || cores < 2 ? rc : measure(cores < 256 ? (int)cores : 256);
}
