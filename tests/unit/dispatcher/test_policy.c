/* Goal: over any time a tenant gets its rate and no more than what its buckets hold beyond it,
 * whatever its jobs cost and however wrong the estimates; a backlog has its bound; other rules
 * count at once and forget nothing; accounts are bounded. Method: a clock of our own. */
#include "dispatcher/policy.h"

#include "dispatcher/window.h"
#include "tests/test.h"

static mr_err err;

static mr_policy *open_policy(const char *yaml) {
    mr_policy *p = NULL;
    CHECK_OK(mr_policy_open(&p, "", &err), err);
    CHECK_OK(mr_policy_parse(p, yaml, strlen(yaml), &err), err);
    return p;
}

static uint32_t next_random(uint64_t *random) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33);
}

TEST(without_rules_everything_goes) {
    mr_policy *p = open_policy("");
    mr_job_error why;
    for (int i = 0; i < 100000; i++) CHECK(mr_policy_enter(p, "a", 1000000, 5, &why));
    for (int i = 0; i < 100000; i++) mr_policy_charge(p, "a", true, 1000000, 5);
    CHECK(mr_policy_ready_ms(p, "a", 5) <= 5);
    CHECK_I64(mr_policy_rule(p, "a")->weight, 1);
    mr_policy_close(p);
}

/* Releases as soon as it may for so long; returns how many went. */
static uint64_t release(mr_policy *p, uint64_t from_ms, uint64_t to_ms, uint32_t cost) {
    uint64_t n = 0, now_ms = from_ms;
    while (now_ms < to_ms) {
        const uint64_t ready_ms = mr_policy_ready_ms(p, "a", now_ms);
        CHECK_I64(mr_policy_ready_ms(p, "a", now_ms), ready_ms); /* the same at the same time */
        if (ready_ms > now_ms + 1) CHECK(mr_policy_ready_ms(p, "a", ready_ms - 1) > ready_ms - 1);
        if (ready_ms > now_ms) {
            now_ms = ready_ms;
            continue;
        }
        mr_policy_charge(p, "a", true, cost, now_ms);
        n++;
    }
    return n;
}

TEST(jobs_per_second) {
    mr_policy *p = open_policy("tenants: {a: {jobs_per_s: 50}}");
    CHECK_I64(release(p, 1000, 11000, 7), 50 + 50 * 10 - 1);
    CHECK_I64(release(p, 100000, 100001, 7), 50); /* it was away: one second is saved, no more */
    mr_policy_close(p);
    p = open_policy("tenants: {a: {jobs_per_s: 0.5}}");
    CHECK_I64(release(p, 0, 60000, 7), 30);
    mr_policy_close(p);
}

TEST(tokens_per_minute) {
    mr_policy *p = open_policy("tenants: {default: {tokens_per_min: 60000}}");
    /* one minute's worth at once, then a token each ms: jobs of 1,000 over ten minutes */
    const uint64_t n = release(p, 0, 600000, 1000);
    CHECK(n >= 659 && n <= 660);
    mr_policy_close(p);
    p = open_policy("tenants: {default: {tokens_per_min: 60000}}");
    CHECK_I64(release(p, 0, 600000, 1000000), 1); /* larger than the bucket: paid off afterwards */
    CHECK_I64(mr_policy_ready_ms(p, "a", 940000), 940001);
    mr_policy_close(p);
}

TEST(what_was_not_used_is_given_back) {
    mr_policy *p = open_policy("tenants: {a: {tokens_per_min: 60000}}");
    mr_policy_charge(p, "a", true, 100000, 0);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 40001);
    mr_policy_charge(p, "a", false, -30000, 0);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 10001);
    mr_policy_charge(p, "a", false, 5000, 0);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 15001);
    mr_policy_charge(p, "a", false, -1000000, 0); /* no more than a full bucket comes of it */
    CHECK_I64(release(p, 0, 1, 1000), 60);
    mr_policy_close(p);
}

/* Goal: the rate holds in what was really used. Method: an hour of jobs of random size whose use is
 * known seconds later and differs by up to half. */
TEST(the_rate_holds_however_wrong_the_estimates) {
    enum { RATE = 90000, MINUTES = 60, LATE = 8 };
    mr_policy *p = open_policy("tenants: {a: {tokens_per_min: 90000}}");
    int64_t corrections[LATE] = {0};
    uint64_t random = 5, used = 0, now_ms = 0;
    for (int i = 0; now_ms < MINUTES * 60000; i++) {
        const uint64_t ready_ms = mr_policy_ready_ms(p, "a", now_ms);
        const uint32_t cost = 100 + next_random(&random) % 4000;
        const uint32_t real = cost / 2 + next_random(&random) % cost;
        if (ready_ms > now_ms) now_ms = ready_ms;
        mr_policy_charge(p, "a", true, cost, now_ms);
        mr_policy_charge(p, "a", false, corrections[i % LATE], now_ms);
        corrections[i % LATE] = (int64_t)real - cost;
        used += real;
    }
    CHECK(used > 0.999 * RATE * (MINUTES + 1) && used < 1.005 * RATE * (MINUTES + 1));
    mr_policy_close(p);
}

TEST(over_its_rate_it_is_refused) {
    mr_policy *p = open_policy("tenants: {a: {jobs_per_s: 4, tokens_per_min: 6000, over: reject}}");
    mr_job_error why = {0};
    for (int i = 0; i < 4; i++) CHECK(mr_policy_enter(p, "a", 10, 0, &why));
    CHECK(!mr_policy_enter(p, "a", 10, 0, &why));
    CHECK_STR(why.code, "rate_limited");
    CHECK_STR(why.field, "tenant");
    CHECK(strstr(why.message, "\"a\"") && strstr(why.message, "4 jobs per second"));
    CHECK_I64(why.retry_after_ms, 250);
    CHECK(!mr_policy_enter(p, "a", 10, 249, &why));
    CHECK(mr_policy_enter(p, "a", 10, 250, &why));
    mr_policy_charge(p, "a", true, 10, 250); /* its release draws on nothing */
    CHECK(mr_policy_ready_ms(p, "a", 250) <= 250);
    CHECK(mr_policy_enter(p, "a", 10, 500, &why));
    CHECK(mr_policy_enter(p, "a", 7000, 5000, &why));
    CHECK(!mr_policy_enter(p, "a", 10, 5000, &why));
    CHECK(strstr(why.message, "6000 tokens per minute"));
    CHECK_I64(why.retry_after_ms, 10010);
    mr_policy_close(p);
}

TEST(a_backlog_that_is_full) {
    mr_policy *p = open_policy("tenants: {a: {backlog: 3, jobs_per_s: 0.1}}");
    mr_job_error why = {0};
    for (int i = 0; i < 3; i++) CHECK(mr_policy_enter(p, "a", 1, 0, &why));
    CHECK(!mr_policy_enter(p, "a", 1, 0, &why));
    CHECK_STR(why.code, "backlog_full");
    CHECK(strstr(why.message, "3 waiting jobs") && strstr(why.message, "limited to 3"));
    CHECK_I64(why.retry_after_ms, 1000);
    mr_policy_charge(p, "a", true, 1, 0);
    CHECK(!mr_policy_enter(p, "a", 1, 0, &why));
    CHECK_I64(why.retry_after_ms, 10000); /* the next one leaves then */
    mr_policy_left(p, "a");
    CHECK(mr_policy_enter(p, "a", 1, 0, &why));
    CHECK(mr_policy_enter(p, "b", 1, 0, &why)); /* others are not concerned */
    mr_policy_close(p);
}

TEST(other_rules_count_at_once_and_forget_nothing) {
    mr_policy *p = open_policy("tenants: {a: {tokens_per_min: 60000}}");
    static const char faster[] = "tenants: {a: {tokens_per_min: 600000, weight: 5}}";
    mr_policy_charge(p, "a", true, 1200000, 0);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 1140001);
    CHECK_I64(mr_policy_parse(p, "tenants: {a: {wait: 1}}", 23, &err), MR_EINVAL);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 1140001); /* nothing has changed */
    CHECK_OK(mr_policy_parse(p, faster, sizeof faster - 1, &err), err);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 60001);
    CHECK_I64(mr_policy_rule(p, "a")->weight, 5);
    CHECK_I64(mr_policy_load(p, "/nowhere/at/all", &err), MR_ENOTFOUND);
    CHECK_I64(mr_policy_rule(p, "a")->weight, 5);
    CHECK_OK(mr_policy_load(p, "", &err), err);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 0);
    CHECK_OK(mr_policy_parse(p, faster, sizeof faster - 1, &err), err);
    CHECK_I64(mr_policy_ready_ms(p, "a", 0), 0); /* who had no limit owes nothing */
    mr_policy_close(p);
}

TEST(who_has_most) {
    mr_policy *p = open_policy("tenants: {c: {weight: 7, jobs_per_s: 1}}");
    mr_policy_row rows[3];
    mr_job_error why;
    for (int i = 0; i < 2; i++) mr_policy_enter(p, "a", 1, 0, &why);
    for (int i = 0; i < 5; i++) mr_policy_enter(p, "c", 1, 0, &why);
    mr_policy_charge(p, "c", true, 100, 0);
    mr_policy_charge(p, "b", true, 900, 0);
    mr_policy_charge(p, "d", true, 500, 0);
    mr_policy_charge(p, "d", false, 700, 0);
    mr_policy_charge(p, "d", false, -50, 0);
    CHECK_I64(mr_policy_top(p, rows, 3, 0), 3);
    CHECK_STR(rows[0].tenant, "c");
    CHECK_I64(rows[0].waiting, 5);
    CHECK_I64(rows[0].weight, 7);
    CHECK(rows[0].limited && !rows[1].limited);
    CHECK_STR(rows[1].tenant, "a");
    CHECK_STR(rows[2].tenant, "d");
    CHECK_I64(rows[2].tokens, 1150);
    CHECK_I64(mr_policy_top(p, rows, 0, 0), 0);
    mr_policy_close(p);
}

static const char *name(int i) {
    static char text[16];
    snprintf(text, sizeof text, "t%d", i);
    return text;
}

TEST(more_tenants_than_accounts) {
    mr_policy *p = open_policy("tenants: {default: {backlog: 2}}");
    mr_policy_row row;
    mr_job_error why;
    for (int i = 0; i < MR_MAX_TENANTS; i++) CHECK(mr_policy_enter(p, name(i), 1, 0, &why));
    CHECK(mr_policy_enter(p, "x", 1, 0, &why)); /* they share an account, and its limits */
    CHECK(mr_policy_enter(p, "y", 1, 0, &why));
    CHECK(!mr_policy_enter(p, "z", 1, 0, &why));
    CHECK_I64(mr_policy_top(p, &row, 1, 0), 1);
    CHECK_STR(row.tenant, "(others)");
    for (int i = 0; i < MR_MAX_TENANTS; i++) mr_policy_left(p, name(i));
    CHECK(!mr_policy_enter(p, "x", 1, 0, &why)); /* there is place now, but x is counted there */
    mr_policy_left(p, "x");
    mr_policy_left(p, "y");
    for (int i = 0; i < 3; i++) CHECK(mr_policy_enter(p, "x", 1, 0, &why) == (i < 2));
    CHECK(mr_policy_enter(p, "z", 1, 0, &why));
    mr_policy_close(p);
}

TEST(an_account_that_owes_is_kept) {
    mr_policy *p = open_policy("tenants: {default: {jobs_per_s: 0.001}}");
    mr_policy_charge(p, "t0", true, 1, 0);
    for (int i = 1; i < MR_MAX_TENANTS; i++) mr_policy_charge(p, name(i), false, 0, 0);
    mr_policy_charge(p, "x", false, 0, 0); /* takes the place of one that owes nothing */
    CHECK_I64(mr_policy_ready_ms(p, "t0", 0), 1000000);
    mr_policy_close(p);
}

MR_TEST_MAIN
