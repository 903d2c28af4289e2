/* fault.h - the n-th allocation of our own code fails.
 *
 * The programs of this folder are linked with --wrap for malloc, calloc, realloc and strdup, so every
 * call in our objects comes here; libraries keep the real ones. A scenario is run again and again,
 * with the first allocation failing, then the second, until none was asked for that failed; then
 * the same with all that follow failing too. Each run must end in MR_OK or in an error with a text,
 * and leave nothing behind (the leak checker of the sanitized build looks at the end). */
#ifndef MR_TESTS_FAULT_H
#define MR_TESTS_FAULT_H

#include <errno.h>
#include <stdbool.h>

#include "millrace/error.h"
#include "tests/test.h"

/* Of the thread that runs the scenario: what others allocate is not counted. */
static _Thread_local unsigned long fault_at, fault_count; /* 0: off */
static _Thread_local bool fault_stays, fault_hit;

static bool fault_now(void) {
    if (!fault_at) return false;
    fault_count++;
    if (fault_count != fault_at && !(fault_stays && fault_count > fault_at)) return false;
    fault_hit = true;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n) { return fault_now() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fault_now() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fault_now() ? NULL : __real_realloc(p, n); }
char *__wrap_strdup(const char *s) { return fault_now() ? NULL : __real_strdup(s); }

/* May allocate as it likes; err has the text when the result is not MR_OK. */
typedef mr_status fault_scenario(mr_err *err);

static inline mr_status fault_run(fault_scenario *scenario, unsigned long at, bool stays, mr_err *err) {
    fault_at = at;
    fault_count = 0;
    fault_stays = stays;
    fault_hit = false;
    *err = (mr_err){0};
    const mr_status st = scenario(err);
    fault_at = 0;
    return st;
}

/* Returns how many allocations the scenario makes when none fails. step 1: each of them fails once;
 * larger steps for scenarios with very many. */
static inline unsigned long fault_each(fault_scenario *scenario, unsigned long step) {
    mr_err err;
    unsigned long n = 1;

    CHECK_OK(fault_run(scenario, 0, false, &err), err);
    for (int stays = 0; stays <= 1; stays++) {
        for (n = 1;; n += step) {
            const mr_status st = fault_run(scenario, n, stays, &err);
            if (!fault_hit) {
                CHECK_OK(st, err);
                break;
            }
            if (st != MR_OK && !err.text[0])
                fail_msg("allocation %lu failed: %s, but no text", n, mr_status_name(st));
        }
    }
    CHECK_OK(fault_run(scenario, 0, false, &err), err); /* nothing was spoiled */
    return n;
}

#endif
