/* retry.c - see retry.h. A wait doubles with each time; jitter of up to a quarter of it spreads
 * jobs that failed together. */
#include "dispatcher/retry.h"

#include <stdio.h>

enum { OOM_BASE_MS = 250, OOM_MAX_MS = 30000, JITTER_PART = 4 };

/* base * 2^(times-1), at most max. */
static uint64_t doubled(uint64_t base_ms, uint64_t max_ms, uint32_t times) {
    uint64_t wait_ms = base_ms;
    for (uint32_t i = 1; i < times && wait_ms < max_ms; i++) wait_ms *= 2;
    return wait_ms < max_ms ? wait_ms : max_ms;
}

static mr_retry later(uint64_t now_ms, uint64_t wait_ms, uint32_t random) {
    const uint64_t jitter_ms = random % (wait_ms / JITTER_PART + 1);
    return (mr_retry){.verdict = MR_RETRY_LATER, .due_ms = now_ms + wait_ms + jitter_ms};
}

static void count(uint32_t *n) {
    if (*n < UINT32_MAX) ++*n;
}

static mr_retry after_fault(const mr_retry_conf *conf, mr_job_spec *j, const mr_past *last,
                            uint64_t now_ms, uint32_t random) {
    const uint32_t most = j->max_attempts ? j->max_attempts : conf->max_attempts;
    mr_retry r = {.verdict = MR_RETRY_DEAD, .cause = "attempts_exhausted"};

    count(&j->tries);
    if (j->tries < most)
        return later(now_ms, doubled(conf->base_ms, conf->max_ms, j->tries), random);
    snprintf(r.message, sizeof r.message,
             "%u of %u attempts have failed; the last one on worker %s: %s", j->tries, most,
             last->worker, last->message);
    return r;
}

static mr_retry after_oom(const mr_retry_conf *conf, mr_job_spec *j, const mr_past *last,
                          uint64_t now_ms, uint32_t random) {
    mr_retry r = {.verdict = MR_RETRY_DEAD, .cause = "out_of_memory"};

    count(&j->backoffs);
    if (j->backoffs <= conf->max_backoffs)
        return later(now_ms, doubled(OOM_BASE_MS, OOM_MAX_MS, j->backoffs), random);
    snprintf(
        r.message, sizeof r.message,
        "came back %u times for want of memory, at most %u are allowed; the last time from worker "
        "%s: %s",
        j->backoffs, conf->max_backoffs, last->worker, last->message);
    return r;
}

mr_retry mr_retry_decide(const mr_retry_conf *conf, mr_job_spec *j, uint64_t now_ms,
                         uint32_t random) {
    MR_CHECK(j->n_history > 0);
    const mr_past *last = &j->history[j->n_history - 1];

    if (last->outcome == MR_ATTEMPT_OOM) return after_oom(conf, j, last, now_ms, random);
    if (last->outcome == MR_ATTEMPT_NO_FIT) return (mr_retry){.verdict = MR_RETRY_LATER};
    return after_fault(conf, j, last, now_ms, random);
}
