/* engine_faults.h - an engine that fails on demand, between the runner and the real one.
 *
 * Programs that include this are linked with --wrap for mr_engine_add and mr_engine_step. What
 * fails is what `engine_faults` says at that moment; a call that fails has changed nothing, as the
 * contract of engine.h has it. Any thread may set the fields. */
#ifndef MR_TESTS_ENGINE_FAULTS_H
#define MR_TESTS_ENGINE_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "millrace/engine.h"

#define FAULTS_MAX_SEQS 4096

static struct {
    _Atomic uint32_t most_seqs; /* of one step; larger ones find no memory. 0: no limit */
    _Atomic uint32_t most_rows; /* the same for its rows */
    _Atomic bool no_memory;     /* for no step */
    _Atomic bool no_add;        /* for no further sequence */
    _Atomic int32_t bad_token;  /* steps with a sequence that begins with it fail. 0: none */
    _Atomic bool lost;          /* the device */
    _Atomic uint64_t n_failed;
} engine_faults;

static bool faults_is_bad[FAULTS_MAX_SEQS]; /* engine thread */
static void (*faults_refresh)(void);        /* before each call, if set */

mr_status __real_mr_engine_add(mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                               size_t max_new, uint64_t salt, const mr_sampling *sampling,
                               uint32_t *seq_out, mr_err *err);
mr_status __wrap_mr_engine_add(mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                               size_t max_new, uint64_t salt, const mr_sampling *sampling,
                               uint32_t *seq_out, mr_err *err);
mr_status __real_mr_engine_step(mr_engine *e, const mr_engine_item *items, size_t n,
                                mr_engine_out *outs, mr_err *err);
mr_status __wrap_mr_engine_step(mr_engine *e, const mr_engine_item *items, size_t n,
                                mr_engine_out *outs, mr_err *err);

static mr_status faults_fail(mr_err *err, mr_status st, const char *text) {
    engine_faults.n_failed++;
    return mr_fail(err, st, "%s", text);
}

mr_status __wrap_mr_engine_add(mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                               size_t max_new, uint64_t salt, const mr_sampling *sampling,
                               uint32_t *seq_out, mr_err *err) {
    mr_status st;

    if (faults_refresh) faults_refresh();
    if (engine_faults.lost) return faults_fail(err, MR_EUNAVAIL, "the device has fallen off");
    if (engine_faults.no_add) return faults_fail(err, MR_ENOMEM, "no memory for a sequence");
    st = __real_mr_engine_add(e, tokens, n, n_generated, max_new, salt, sampling, seq_out, err);
    if (st == MR_OK)
        faults_is_bad[*seq_out] = engine_faults.bad_token && tokens[0] == engine_faults.bad_token;
    return st;
}

mr_status __wrap_mr_engine_step(mr_engine *e, const mr_engine_item *items, size_t n,
                                mr_engine_out *outs, mr_err *err) {
    uint32_t rows = 0;
    bool bad = false;

    if (faults_refresh) faults_refresh();
    for (size_t i = 0; i < n; i++) {
        rows += items[i].n_tokens;
        bad = bad || faults_is_bad[items[i].seq];
    }
    if (engine_faults.lost) return faults_fail(err, MR_EUNAVAIL, "the device has fallen off");
    if (engine_faults.no_memory || (engine_faults.most_seqs && n > engine_faults.most_seqs) ||
        (engine_faults.most_rows && rows > engine_faults.most_rows))
        return faults_fail(err, MR_ENOMEM, "no memory for a step");
    if (bad) return faults_fail(err, MR_EINTERNAL, "a sequence that always fails");
    return __real_mr_engine_step(e, items, n, outs, err);
}

#endif
