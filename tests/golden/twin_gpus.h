/* twin_gpus.h - the machine's GPUs are twins (tests/cuda_twin.h), late, as many as a test has. */
#ifndef MR_TESTS_TWIN_GPUS_H
#define MR_TESTS_TWIN_GPUS_H

#include "tests/cuda_twin.h"
#include "tests/golden/golden.h"

#define MAX_TWINS 4

static twin gpus[MAX_TWINS];
static int n_gpus;

/* The linker puts it in the place of the real one. */
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err);
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err) {
    *out = NULL;
    if (ordinal >= n_gpus) return mr_fail(err, MR_EUNAVAIL, "cuda:%d: none here", ordinal);
    snprintf(gpus[ordinal].base.name, sizeof gpus[ordinal].base.name, "cuda:%d twin", ordinal);
    *out = &gpus[ordinal].base;
    return MR_OK;
}

static inline void have_gpus(int n) {
    for (int i = 0; i < MAX_TWINS; i++) {
        gpus[i] = twin_of(4);
        gpus[i].late = true;
    }
    n_gpus = n;
}

static inline void check_all_given_back(void) {
    for (int i = 0; i < MAX_TWINS; i++) CHECK_I64(gpus[i].n_reserved, 0);
}

/* A GPU is lost while a token of seq is pending: that is the answer from then on, and seq stays
 * where it was. Closes e. */
static inline void check_lost_engine(mr_engine *e, uint32_t seq, int which) {
    mr_engine_out out;
    mr_err err;

    gpus[which].lost = true;
    for (int i = 0; i < 2; i++) {
        CHECK_I64(mr_engine_step(e, &(mr_engine_item){seq, 1}, 1, &out, &err), MR_EUNAVAIL);
        CHECK_ERR(err, "lost");
        CHECK_I64(mr_engine_pending(e, seq), 1);
        gpus[which].lost = false; /* what a device says later does not count */
    }
    mr_engine_drop(e, seq);
    mr_engine_close(e);
    check_all_given_back();
}

#endif
