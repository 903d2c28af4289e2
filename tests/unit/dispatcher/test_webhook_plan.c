/* Goal: tries follow the plan, a receiver that names a later time is obeyed within bounds, and what
 * ends an event ends it. A receiver in trouble is left alone, asked once, and served again; one
 * that is slow gets less. Method: outcomes and times as arguments. */
#include "dispatcher/webhook_hosts.h"
#include "dispatcher/webhook_plan.h"

#include "../../test.h"

static mr_err err;
static mr_webhook_plan plan;
static uint64_t due_ms;
static const char *cause;

static mr_webhook_fate next(uint32_t tries, mr_webhook_outcome o, uint32_t chance) {
    return mr_webhook_plan_next(&plan, tries, &o, 1000000, chance, &due_ms, &cause);
}

static mr_webhook_outcome code(int c, uint64_t after_s) {
    return (mr_webhook_outcome){MR_OK, c, after_s};
}

TEST(the_plan_of_the_standard) {
    static const uint64_t s[] = {0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    CHECK_OK(mr_webhook_plan_read(&plan, "0,5s,5m,30m,2h,5h,10h,14h,20h,24h", &err), err);
    CHECK_I64(plan.n, 10);
    for (uint32_t i = 1; i < 10; i++) {
        CHECK_I64(plan.wait_ms[i], s[i] * 1000);
        CHECK_I64(next(i, code(500, 0), 0), MR_WEBHOOK_AGAIN);
        CHECK_I64(due_ms, 1000000 + s[i] * 1000);
        CHECK_I64(next(i, code(500, 0), UINT32_MAX), MR_WEBHOOK_AGAIN);
        CHECK(due_ms > 1000000 + s[i] * 1000 && due_ms <= 1000000 + s[i] * 1100);
    }
    CHECK_I64(next(10, code(500, 0), 0), MR_WEBHOOK_DEAD);
    CHECK_STR(cause, "webhook_undelivered");
}

TEST(what_ends_an_event) {
    CHECK_OK(mr_webhook_plan_read(&plan, "0,100ms", &err), err);
    CHECK_I64(next(1, code(200, 0), 0), MR_WEBHOOK_DELIVERED);
    CHECK_I64(next(1, code(299, 0), 0), MR_WEBHOOK_DELIVERED);
    CHECK_I64(next(1, code(302, 0), 0), MR_WEBHOOK_AGAIN);
    CHECK_I64(next(1, code(404, 0), 0), MR_WEBHOOK_AGAIN);
    CHECK_I64(next(1, code(410, 0), 0), MR_WEBHOOK_DEAD);
    CHECK_STR(cause, "webhook_gone");
    CHECK_I64(next(1, (mr_webhook_outcome){MR_EUNAVAIL, 200, 0}, 0), MR_WEBHOOK_AGAIN); /* cut */
    CHECK_I64(next(2, (mr_webhook_outcome){MR_ETIMEOUT, 0, 0}, 0), MR_WEBHOOK_DEAD);
}

TEST(a_later_time_is_obeyed_within_a_day) {
    CHECK_OK(mr_webhook_plan_read(&plan, "0,10s,10s", &err), err);
    CHECK_I64(next(1, code(429, 60), 0), MR_WEBHOOK_AGAIN);
    CHECK_I64(due_ms, 1060000);
    next(1, code(503, 1), 0); /* sooner than the plan: the plan counts */
    CHECK_I64(due_ms, 1010000);
    next(1, code(503, UINT64_MAX), 0);
    CHECK_I64(due_ms, 1000000 + MR_WEBHOOK_MAX_WAIT_MS);
}

TEST(a_broken_plan_is_refused) {
    static const char *const bad[] = {
        "", "5", "x", "0,", "1d", "-1s", "25h", "0,,1s", "1 s", "99999999999999999999h", "s"};
    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        CHECK_I64(mr_webhook_plan_read(&plan, bad[i], &err), MR_EINVAL);
        CHECK_ERR(err, "webhook_delays");
    }
    CHECK_I64(mr_webhook_plan_read(&plan, "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", &err),
              MR_EINVAL);
}

/* ---- receivers ---- */

static mr_webhook_hosts *hosts;
static mr_webhook_host *x;

static void start(void) {
    static const uint8_t key[MR_SIPHASH_SECRET];
    CHECK_OK(mr_webhook_hosts_open(&hosts, key, &err), err);
    x = mr_webhook_hosts_get(hosts, "a.example:443");
    CHECK(x && mr_webhook_hosts_get(hosts, "a.example:443") == x);
}

static void call(bool trouble, uint64_t now_ms) {
    mr_webhook_host_begin(x);
    mr_webhook_host_end(x, trouble, 0, now_ms);
}

TEST(trouble_opens_the_breaker_and_one_answer_closes_it) {
    start();
    for (int i = 0; i < MR_WEBHOOK_TROUBLES - 1; i++) call(true, 0);
    CHECK_I64(mr_webhook_host_gate(x, 4, 0), MR_WEBHOOK_GO);
    call(true, 0);
    CHECK_I64(mr_webhook_host_gate(x, 4, MR_WEBHOOK_OPEN_MS - 1), MR_WEBHOOK_OPEN);
    CHECK_I64(mr_webhook_host_gate(x, 4, MR_WEBHOOK_OPEN_MS), MR_WEBHOOK_GO);
    mr_webhook_host_begin(x);
    CHECK_I64(mr_webhook_host_gate(x, 4, MR_WEBHOOK_OPEN_MS), MR_WEBHOOK_FULL); /* one probe */
    mr_webhook_host_end(x, true, 0, MR_WEBHOOK_OPEN_MS);
    CHECK_I64(mr_webhook_host_gate(x, 4, 3 * MR_WEBHOOK_OPEN_MS - 1), MR_WEBHOOK_OPEN); /* twice */
    call(false, 3 * MR_WEBHOOK_OPEN_MS);
    CHECK_I64(mr_webhook_host_gate(x, 4, 3 * MR_WEBHOOK_OPEN_MS), MR_WEBHOOK_GO);
    CHECK_I64(mr_webhook_hosts_counted(hosts, 0).open, 0);
    mr_webhook_hosts_close(hosts);
}

TEST(calls_that_were_under_way_do_not_open_it_for_longer) {
    start();
    for (int i = 0; i < 2 * MR_WEBHOOK_TROUBLES; i++) mr_webhook_host_begin(x);
    for (int i = 0; i < 2 * MR_WEBHOOK_TROUBLES; i++) mr_webhook_host_end(x, true, 0, 0);
    CHECK_I64(x->open_until_ms, MR_WEBHOOK_OPEN_MS);
    mr_webhook_hosts_close(hosts);
}

TEST(a_slow_receiver_gets_less_and_a_short_line) {
    start();
    CHECK_I64(mr_webhook_host_line_ms(x, 16), 0); /* unknown */
    x->calls = 4;
    CHECK_I64(mr_webhook_host_gate(x, 16, 0), MR_WEBHOOK_FULL);
    x->calls = 0;
    x->waiting = MR_WEBHOOK_LINE;
    CHECK(mr_webhook_host_line_ms(x, 16) == UINT64_MAX);
    for (int i = 0; i < 100; i++) mr_webhook_host_took(x, 5);
    CHECK(mr_webhook_host_line_ms(x, 16) < 200); /* 512 calls, 16 at a time, 5 ms each */
    for (int i = 0; i < 100; i++) mr_webhook_host_took(x, 10000);
    CHECK(mr_webhook_host_line_ms(x, 16) > 1000000);
    for (int i = 0; i < 4; i++) {
        CHECK_I64(mr_webhook_host_gate(x, 16, 0), MR_WEBHOOK_GO);
        mr_webhook_host_begin(x);
    }
    CHECK_I64(mr_webhook_host_gate(x, 16, 0), MR_WEBHOOK_FULL);
    for (int i = 0; i < 8; i++) mr_webhook_host_took(x, 5); /* it got better */
    CHECK(mr_webhook_host_line_ms(x, 16) < 2000);
    CHECK_I64(mr_webhook_host_gate(x, 16, 0), MR_WEBHOOK_GO);
    mr_webhook_hosts_close(hosts);
}

TEST(idle_hosts_are_forgotten_and_busy_ones_are_not) {
    char origin[32];
    start();
    mr_webhook_host_begin(x);
    for (int i = 0; i < 2 * MR_WEBHOOK_HOSTS; i++) {
        snprintf(origin, sizeof origin, "h%d.example:443", i);
        CHECK(mr_webhook_hosts_get(hosts, origin));
    }
    CHECK_I64(mr_webhook_hosts_counted(hosts, 0).hosts, MR_WEBHOOK_HOSTS);
    CHECK(mr_webhook_hosts_get(hosts, "a.example:443") == x);
    CHECK_I64(x->calls, 1);
    mr_webhook_hosts_close(hosts);
}

TEST(what_is_gone_comes_back_with_time_or_by_an_answer) {
    char url[64];
    start();
    mr_webhook_gone_add(hosts, "https://a.example/x", 1000);
    CHECK(mr_webhook_is_gone(hosts, "https://a.example/x", 999));
    CHECK(!mr_webhook_is_gone(hosts, "https://a.example/y", 999));
    CHECK(!mr_webhook_is_gone(hosts, "https://a.example/x", 1000));
    mr_webhook_gone_add(hosts, "https://a.example/x", 5000);
    mr_webhook_gone_drop(hosts, "https://a.example/x");
    CHECK(!mr_webhook_is_gone(hosts, "https://a.example/x", 1000));
    for (int i = 0; i < MR_WEBHOOK_GONE + 10; i++) {
        snprintf(url, sizeof url, "https://a.example/%d", i);
        mr_webhook_gone_add(hosts, url, 5000);
    }
    CHECK_I64(mr_webhook_hosts_counted(hosts, 0).gone, MR_WEBHOOK_GONE);
    CHECK(mr_webhook_is_gone(hosts, url, 0));
    mr_webhook_hosts_close(hosts);
}

MR_TEST_MAIN
