/* Goal: what a dispatcher tells of itself agrees with what went through its window: whatever way a
 * job left, it has left; rates are those of the last minute; more tenants than have a place do not
 * mix. Method: a window and a policy filled by hand. */
#include "dispatcher/vitals.h"

#include "tests/test.h"

static mr_window *window;
static mr_policy *policy;
static mr_vitals *vitals;
static mr_err err;

static void world_open(void) {
    const mr_window_conf wc = {.max_wait_ms = 0};
    CHECK_OK(mr_window_open(&window, &wc, &err), err);
    CHECK_OK(mr_policy_open(&policy, "", &err), err);
    CHECK_OK(mr_vitals_open(&vitals, window, policy, &err), err);
}

static void world_close(void) {
    mr_vitals_close(vitals);
    mr_window_close(window);
    mr_policy_close(policy);
}

static uint64_t enter(mr_entry *e, mr_priority lane, const char *model) {
    *e = (mr_entry){.lane = lane, .cost = 10};
    e->job.model = model;
    e->job.tenant = "t";
    CHECK_I64(mr_window_push(window, e, 0), MR_OK);
    return mr_vitals_entered(vitals, lane);
}

TEST(what_left_is_what_entered_and_is_not_there) {
    mr_entry e[4];
    world_open();
    CHECK_I64(enter(&e[0], MR_PRIORITY_LOW, "m"), 1);
    CHECK_I64(enter(&e[1], MR_PRIORITY_LOW, "m"), 2);
    CHECK_I64(enter(&e[2], MR_PRIORITY_LOW, "n"), 3);
    CHECK_I64(enter(&e[3], MR_PRIORITY_HIGH, "m"), 1);
    mr_entry *popped = mr_window_pop(window, "m", MR_LANE_BIT(MR_PRIORITY_LOW), 0);
    CHECK(popped != NULL);
    mr_window_unpop(window, popped); /* it could not be sent: it is there */
    CHECK_I64(mr_vitals_lane(vitals, MR_PRIORITY_LOW, 0).left, 0);
    CHECK(mr_window_pop(window, "m", MR_LANE_BIT(MR_PRIORITY_LOW), 0) != NULL);
    mr_window_remove(window, &e[2]); /* cancelled */
    const mr_beat_lane l = mr_vitals_lane(vitals, MR_PRIORITY_LOW, 0);
    CHECK(l.waiting == 1 && l.queued == 3 && l.left == 2);

    mr_beat b = {.dispatcher = "d"};
    mr_vitals_fill(vitals, &b, 0);
    CHECK_I64(b.lanes[MR_PRIORITY_HIGH].waiting, 1);
    CHECK_I64(b.lanes[MR_PRIORITY_LOW].left, 2);
    CHECK_I64(b.n_models, 1);
    CHECK_STR(b.models[0].name, "m");
    CHECK_I64(b.models[0].waiting, 2);
    world_close();
}

TEST(rates_of_lanes_and_tenants) {
    mr_beat b = {.dispatcher = "d"};
    mr_entry e;
    uint64_t now_ms = 1000;
    mr_job_error why;
    world_open();
    for (int i = 0; i < 240; i++, now_ms += 500) { /* two jobs and 200 tokens a second */
        (void)enter(&e, MR_PRIORITY_NORMAL, "m");
        mr_window_remove(window, &e);
        mr_policy_charge(policy, "acme", true, 100, now_ms);
        mr_vitals_fill(vitals, &b, now_ms);
    }
    CHECK(b.lanes[MR_PRIORITY_NORMAL].per_s > 1.95f && b.lanes[MR_PRIORITY_NORMAL].per_s < 2.05f);
    CHECK(b.lanes[MR_PRIORITY_HIGH].per_s == 0);
    CHECK_I64(b.n_tenants, 1);
    CHECK_STR(b.tenants[0].name, "acme");
    CHECK(b.tenants[0].tokens_per_s > 195 && b.tenants[0].tokens_per_s < 205);
    CHECK(mr_policy_enter(policy, "acme", 1, now_ms, &why));
    mr_vitals_fill(vitals, &b, now_ms);
    CHECK_I64(b.tenants[0].waiting, 1);
    CHECK_I64(b.tenants[0].weight, 1);
    mr_policy_left(policy, "acme");
    world_close();
}

/* More tenants than a beat names, and than have a rate: what is told of one is never another's. */
TEST(many_tenants_do_not_mix) {
    enum { N = 3 * MR_VITALS_TENANTS };
    char name[16];
    world_open();
    for (uint64_t now_ms = 1000; now_ms < 40000; now_ms += 500) {
        mr_beat b = {.dispatcher = "d"};
        for (int i = 0; i < N;
             i++) { /* tenant i: i tokens per half second, so the last have most */
            snprintf(name, sizeof name, "t%d", i);
            mr_policy_charge(policy, name, true, i, now_ms);
        }
        mr_vitals_fill(vitals, &b, now_ms);
        CHECK_I64(b.n_tenants, MR_BEAT_MAX_TENANTS);
        for (size_t i = 0; now_ms > 5000 && i < b.n_tenants; i++) {
            const float want = 2 * strtof(b.tenants[i].name + 1, NULL);
            CHECK(want >= 2 * (N - MR_BEAT_MAX_TENANTS));
            if (b.tenants[i].tokens_per_s < 0.95f * want ||
                b.tenants[i].tokens_per_s > 1.05f * want)
                fail_msg("%s has %g", b.tenants[i].name, (double)b.tenants[i].tokens_per_s);
        }
    }
    world_close();
}

MR_TEST_MAIN
