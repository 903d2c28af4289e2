/* worker_faulty.c - millrace-worker over an engine that fails as a file says, for
 * tests/integration.
 *
 *     MR_FAULTS=/path/of/file worker_faulty --model-path=...
 *
 * The file has one line: most_seqs most_rows no_memory bad_token lost (engine_faults.h). It is read
 * again at every call of the engine; as long as it is not there nothing fails. */
#include "tests/fault/worker/engine_faults.h"

#include <stdio.h>
#include <stdlib.h>

static const char *path;

static void read_faults(void) {
    unsigned seqs = 0, rows = 0, none = 0, lost = 0;
    int bad = 0;
    FILE *f = fopen(path, "r");

    if (f && fscanf(f, "%u %u %u %d %u", &seqs, &rows, &none, &bad, &lost) != 5)
        fprintf(stderr, "worker_faulty: %s is not understood\n", path);
    if (f) fclose(f);
    engine_faults.most_seqs = seqs;
    engine_faults.most_rows = rows;
    engine_faults.no_memory = none != 0;
    engine_faults.bad_token = bad;
    engine_faults.lost = lost != 0;
}

__attribute__((constructor)) static void read_orders(void) {
    path = getenv("MR_FAULTS");
    if (path) faults_refresh = read_faults;
}
