/* Goal: each way to come back gets the wait or the end that retry.h says, waits double up to their
 * bound, and jitter never makes one early. Method: decisions over whole lives of a job, with the
 * smallest, the largest and many random numbers. */
#include "dispatcher/retry.h"

#include "tests/test.h"

static const mr_retry_conf conf = {
    .max_attempts = 4, .base_ms = 1000, .max_ms = 1800000, .max_backoffs = 100};
enum { NOW_MS = 1000000 };

static mr_past past;

static mr_job_spec came_back(mr_attempt_outcome outcome) {
    past = (mr_past){.attempt = 1, .outcome = outcome, .worker = "w7", .message = "it broke"};
    return (mr_job_spec){.model = "m", .attempt = 1, .history = &past, .n_history = 1};
}

static uint64_t wait_of(mr_job_spec *j, const mr_retry_conf *c, uint32_t random) {
    const mr_retry r = mr_retry_decide(c, j, NOW_MS, random);
    CHECK_I64(r.verdict, MR_RETRY_LATER);
    CHECK(r.due_ms >= NOW_MS);
    return r.due_ms - NOW_MS;
}

TEST(faults_use_up_attempts_and_double_the_wait) {
    mr_job_spec j = came_back(MR_ATTEMPT_FAULT);
    CHECK_I64(wait_of(&j, &conf, 0), 1000);
    CHECK_I64(wait_of(&j, &conf, 0), 2000);
    CHECK_I64(wait_of(&j, &conf, 0), 4000);
    CHECK_I64(j.tries, 3);
    const mr_retry r = mr_retry_decide(&conf, &j, NOW_MS, 0);
    CHECK_I64(r.verdict, MR_RETRY_DEAD);
    CHECK_STR(r.cause, "attempts_exhausted");
    CHECK_STR(r.message, "4 of 4 attempts have failed; the last one on worker w7: it broke");
    CHECK_I64(j.tries, 4);
    CHECK_I64(j.backoffs, 0);
}

TEST(the_job_may_say_how_many) {
    mr_job_spec once = came_back(MR_ATTEMPT_FAULT);
    once.max_attempts = 1;
    CHECK_I64(mr_retry_decide(&conf, &once, NOW_MS, 0).verdict, MR_RETRY_DEAD);
    mr_job_spec more = came_back(MR_ATTEMPT_FAULT);
    more.max_attempts = 20;
    for (int i = 1; i < 20; i++) (void)wait_of(&more, &conf, 0);
    CHECK_I64(mr_retry_decide(&conf, &more, NOW_MS, 0).verdict, MR_RETRY_DEAD);
}

TEST(a_wait_has_a_bound) {
    const mr_retry_conf small = {.max_attempts = 4, .base_ms = 1000, .max_ms = 3000};
    const mr_retry_conf odd = {.max_attempts = 4, .base_ms = 1000, .max_ms = 500};
    mr_job_spec j = came_back(MR_ATTEMPT_FAULT);
    j.max_attempts = UINT32_MAX;
    j.tries = 1;
    CHECK_I64(wait_of(&j, &small, 0), 2000);
    CHECK_I64(wait_of(&j, &small, 0), 3000);
    CHECK_I64(wait_of(&j, &odd, 0), 500);
    j.tries = UINT32_MAX - 2; /* counters do not wrap, and the doubling ends */
    CHECK_I64(wait_of(&j, &conf, 0), 1800000);
    for (int i = 0; i < 3; i++) (void)mr_retry_decide(&conf, &j, NOW_MS, 0);
    CHECK_I64(j.tries, UINT32_MAX);
}

TEST(jitter_only_adds) {
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t random = 0; random < 5000; random++) {
        mr_job_spec j = came_back(MR_ATTEMPT_FAULT);
        const uint64_t wait_ms = wait_of(&j, &conf, random);
        if (wait_ms < least) least = wait_ms;
        if (wait_ms > most) most = wait_ms;
    }
    CHECK_I64(least, 1000);
    CHECK_I64(most, 1250);
    mr_job_spec j = came_back(MR_ATTEMPT_OOM);
    CHECK(wait_of(&j, &conf, UINT32_MAX) >= 250);
}

TEST(no_memory_uses_up_no_attempt) {
    mr_job_spec j = came_back(MR_ATTEMPT_OOM);
    uint64_t want = 250;
    for (uint32_t i = 1; i <= conf.max_backoffs; i++) {
        CHECK_I64(wait_of(&j, &conf, 0), want);
        want = want * 2 > 30000 ? 30000 : want * 2;
    }
    const mr_retry r = mr_retry_decide(&conf, &j, NOW_MS, 0);
    CHECK_I64(r.verdict, MR_RETRY_DEAD);
    CHECK_STR(r.cause, "out_of_memory");
    CHECK_STR(r.message,
              "came back 101 times for want of memory, at most 100 are allowed; the last "
              "time from worker w7: it broke");
    CHECK_I64(j.tries, 0);
    CHECK_I64(j.backoffs, 101);
}

TEST(too_large_goes_on_at_once) {
    mr_job_spec j = came_back(MR_ATTEMPT_NO_FIT);
    const mr_retry r = mr_retry_decide(&conf, &j, NOW_MS, 12345);
    CHECK_I64(r.verdict, MR_RETRY_LATER);
    CHECK_I64(r.due_ms, 0);
    CHECK_I64(j.tries, 0);
    CHECK_I64(j.backoffs, 0);
}

/* The newest entry decides, whatever came before it. */
TEST(the_last_entry_counts) {
    const mr_past two[] = {
        {.attempt = 1, .outcome = MR_ATTEMPT_FAULT, .worker = "a", .message = ""},
        {.attempt = 2, .outcome = MR_ATTEMPT_OOM, .worker = "b", .message = ""}};
    mr_job_spec j = {.model = "m", .attempt = 2, .tries = 1, .history = two, .n_history = 2};
    CHECK_I64(wait_of(&j, &conf, 0), 250);
    CHECK_I64(j.tries, 1);
    CHECK_I64(j.backoffs, 1);
}

MR_TEST_MAIN
