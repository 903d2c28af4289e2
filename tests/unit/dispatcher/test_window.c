/* Goal: the order of window.h. Lanes share by weight and the lowest moves; tenants of a lane share
 * tokens by weight, whatever their jobs' sizes and however wrong the estimates; a tenant's jobs go
 * by deadline, then arrival; nothing waits for ever; who has used up its rate costs nobody
 * anything; what is put back keeps its place. Method: entries in arrays, pops compared or counted.
 */
#include "dispatcher/window.h"

#include "tests/test.h"

enum { ACE = 0, BEE = 1, CAT = 2, N_TENANTS = 4 };

static const char *const names[N_TENANTS] = {"ace", "bee", "cat", "dog"};

typedef struct rules { /* what the tenants of a test may have */
    uint32_t weight[N_TENANTS];
    uint64_t ready_ms[N_TENANTS];
    uint64_t ready_others; /* tenants of other names */
    unsigned asked;
} rules;

static int number_of(const char *tenant) {
    for (int i = 0; i < N_TENANTS; i++)
        if (strcmp(names[i], tenant) == 0) return i;
    return -1;
}

static uint32_t weight_of(void *owner, const char *tenant) {
    const rules *r = owner;
    const int i = number_of(tenant);
    return i >= 0 && r->weight[i] ? r->weight[i] : 1;
}

static uint64_t ready_of(void *owner, const char *tenant, uint64_t now_ms) {
    rules *r = owner;
    const int i = number_of(tenant);
    (void)now_ms;
    r->asked++;
    return i >= 0 ? r->ready_ms[i] : r->ready_others;
}

static mr_window *open_window(rules *r, uint64_t max_wait_ms) {
    const mr_window_conf conf = {.max_wait_ms = max_wait_ms,
                                 .owner = r,
                                 .weight = r ? weight_of : NULL,
                                 .ready_ms = r ? ready_of : NULL};
    mr_window *w = NULL;
    CHECK_I64(mr_window_open(&w, &conf, NULL), MR_OK);
    return w;
}

static mr_entry make(const char *model, mr_priority lane, const char *tenant, int64_t offset) {
    mr_entry e = {.lane = lane, .at.offset = offset, .cost = 100};
    e.job.model = model;
    e.job.tenant = tenant;
    return e;
}

static void push(mr_window *w, mr_entry *e, uint64_t now_ms) {
    CHECK_I64(mr_window_push(w, e, now_ms), MR_OK);
    CHECK_I64(e->place, MR_PLACE_WINDOW);
}

static int64_t pop(mr_window *w, uint64_t now_ms) { /* -1: none */
    const mr_entry *e = mr_window_pop(w, "m", MR_LANES_ALL, now_ms);
    return e ? e->at.offset : -1;
}

static uint32_t next_random(uint64_t *random) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33);
}

/* ---- lanes ---- */

TEST(arrival_order_within_a_lane) {
    mr_window *w = open_window(NULL, 0);
    mr_entry e[50];
    for (int i = 0; i < 50; i++) {
        e[i] = make("m", MR_PRIORITY_NORMAL, "ace", i);
        push(w, &e[i], 0);
    }
    for (int i = 0; i < 50; i++) CHECK_I64(pop(w, 0), i);
    CHECK_I64(pop(w, 0), -1);
    mr_window_close(w);
}

TEST(lanes_share_by_weight_and_low_moves) {
    enum { N = 240 };
    mr_window *w = open_window(NULL, 0);
    static mr_entry e[MR_PRIORITY_N][N];
    int got[MR_PRIORITY_N] = {0}, since_low = 0, longest = 0;
    for (int l = 0; l < MR_PRIORITY_N; l++)
        for (int i = 0; i < N; i++) {
            e[l][i] = make("m", (mr_priority)l, "ace", i);
            push(w, &e[l][i], 0);
        }
    for (int i = 0; i < 120; i++) { /* ten full turns of 8 + 3 + 1 */
        const mr_priority lane = mr_window_pop(w, "m", MR_LANES_ALL, 0)->lane;
        got[lane]++;
        since_low = lane == MR_PRIORITY_LOW ? 0 : since_low + 1;
        if (since_low > longest) longest = since_low;
    }
    CHECK_I64(got[MR_PRIORITY_HIGH], 80);
    CHECK_I64(got[MR_PRIORITY_NORMAL], 30);
    CHECK_I64(got[MR_PRIORITY_LOW], 10);
    CHECK(longest <= 12);
    mr_window_close(w);
}

TEST(a_lane_alone_gets_everything) {
    mr_window *w = open_window(NULL, 0);
    mr_entry low[5], high;
    for (int i = 0; i < 5; i++) {
        low[i] = make("m", MR_PRIORITY_LOW, "ace", i);
        push(w, &low[i], 0);
    }
    for (int i = 0; i < 4; i++) CHECK_I64(pop(w, 0), i);
    high = make("m", MR_PRIORITY_HIGH, "ace", 100);
    push(w, &high, 0);
    CHECK_I64(pop(w, 0), 100); /* overtakes: no debt was piled up */
    CHECK_I64(pop(w, 0), 4);
    mr_window_close(w);
}

TEST(only_lanes_that_are_asked_for) {
    mr_window *w = open_window(NULL, 0);
    mr_entry high[20], low[20];
    for (int i = 0; i < 20; i++) {
        high[i] = make("m", MR_PRIORITY_HIGH, "ace", i);
        low[i] = make("m", MR_PRIORITY_LOW, "ace", 100 + i);
        push(w, &high[i], 0);
        push(w, &low[i], 0);
    }
    CHECK(!mr_window_pop(w, "m", MR_LANE_BIT(MR_PRIORITY_NORMAL), 0));
    for (int i = 0; i < 12; i++) /* takes no turn from the others, as these could not go */
        CHECK_I64(mr_window_pop(w, "m", MR_LANE_BIT(MR_PRIORITY_HIGH), 0)->at.offset, i);
    int got_low = 0;
    for (int i = 0; i < 9; i++) got_low += pop(w, 0) >= 100; /* 8 + 1 */
    CHECK_I64(got_low, 1);
    mr_window_close(w);
}

/* Goal: the lowest lane moves also when now this, now that lane may go. Method: random masks; of
 * the turns that low takes part in it gets a ninth (two lanes) or a twelfth (three) or more. */
TEST(low_moves_under_changing_lanes) {
    enum { N = 60000 };
    mr_window *w = open_window(NULL, 0);
    mr_entry *e = calloc(MR_PRIORITY_N * N, sizeof *e);
    uint64_t random = 7, asked_low = 0, got_low = 0;
    CHECK(e != NULL);
    for (int i = 0; i < MR_PRIORITY_N * N; i++) {
        e[i] = make("m", (mr_priority)(i % MR_PRIORITY_N), "ace", i);
        push(w, &e[i], 0);
    }
    for (int i = 0; i < N; i++) {
        const unsigned lanes = 1 + next_random(&random) % MR_LANES_ALL;
        const mr_priority lane = mr_window_pop(w, "m", lanes, 0)->lane;
        CHECK(lanes & MR_LANE_BIT(lane));
        asked_low += (lanes & MR_LANE_BIT(MR_PRIORITY_LOW)) != 0;
        got_low += lane == MR_PRIORITY_LOW;
    }
    CHECK(got_low * 12 + 24 >= asked_low);
    mr_window_close(w);
    free(e);
}

/* ---- tenants ---- */

typedef struct supply { /* tenants that always have n waiting jobs */
    mr_entry e[N_TENANTS][8];
    uint32_t cost[N_TENANTS];
    uint64_t served[N_TENANTS]; /* tokens that were really used */
} supply;

static void fill(mr_window *w, supply *s, int tenant) {
    for (int i = 0; i < 8; i++) {
        s->e[tenant][i] = make("m", MR_PRIORITY_NORMAL, names[tenant], tenant);
        s->e[tenant][i].cost = s->cost[tenant];
        push(w, &s->e[tenant][i], 0);
    }
}

/* One job goes, uses error_pct percent more or less than estimated, and comes again. */
static int serve(mr_window *w, supply *s, uint64_t *random, uint32_t error_pct) {
    mr_entry *e = mr_window_pop(w, "m", MR_LANES_ALL, 0);
    CHECK(e != NULL);
    const int tenant = (int)e->at.offset;
    const uint32_t span = e->cost * error_pct / 100;
    const uint32_t used = e->cost - span + (span ? next_random(random) % (2 * span + 1) : 0);
    mr_window_settle(w, "m", e->lane, e->job.tenant, e->cost, used);
    s->served[tenant] += used;
    push(w, e, 0);
    return tenant;
}

TEST(tenants_share_tokens_by_weight) {
    rules r = {.weight = {1, 1, 2}};
    mr_window *w = open_window(&r, 0);
    static supply s;
    uint64_t random = 3, all = 0;
    memcpy(s.cost, (uint32_t[]){1000, 20000, 1000}, 3 * sizeof *s.cost); /* bee's are 20 x larger */
    for (int i = 0; i < 3; i++) fill(w, &s, i);
    for (int i = 0; i < 40000; i++) serve(w, &s, &random, 50);
    for (int i = 0; i < 3; i++) all += s.served[i];
    for (int i = 0; i < 3; i++) {
        const double share = (double)s.served[i] / (double)all, due = r.weight[i] / 4.0;
        if (share < 0.99 * due || share > 1.01 * due)
            fail_msg("%s has %.4f of the tokens, not %.4f", names[i], share, due);
    }
    mr_window_close(w);
}

TEST(who_was_away_has_not_saved_up) {
    mr_window *w = open_window(NULL, 0);
    static supply s;
    uint64_t random = 1;
    int got = 0;
    s.cost[ACE] = s.cost[BEE] = 500;
    fill(w, &s, ACE);
    for (int i = 0; i < 1000; i++) serve(w, &s, &random, 0);
    fill(w, &s, BEE);
    for (int i = 0; i < 20; i++) got += serve(w, &s, &random, 0) == BEE;
    CHECK(got >= 10 && got <= 11);
    mr_window_close(w);
}

TEST(an_account_is_kept_while_it_says_something) {
    mr_window *w = open_window(NULL, 0);
    mr_entry large = make("m", MR_PRIORITY_NORMAL, "ace", 100), e[8];
    large.cost = 800;
    push(w, &large, 0);
    CHECK_I64(pop(w, 0), 100); /* ace has no job now, but has had 800 tokens */
    for (int i = 0; i < 8; i++) {
        e[i] = make("m", MR_PRIORITY_NORMAL, "bee", i);
        push(w, &e[i], 0);
    }
    push(w, &large, 0);
    for (int i = 0; i < 8; i++) CHECK_I64(pop(w, 0), i);
    CHECK_I64(pop(w, 0), 100);
    mr_window_close(w);
}

TEST(a_refund_counts_and_a_late_bill_too) {
    mr_window *w = open_window(NULL, 0);
    static supply s;
    uint64_t random = 1;
    int first[10];
    s.cost[ACE] = s.cost[BEE] = 500;
    fill(w, &s, ACE);
    fill(w, &s, BEE);
    for (int i = 0; i < 10; i++) serve(w, &s, &random, 0);
    mr_window_settle(w, "m", MR_PRIORITY_NORMAL, "ace", 500, 3000); /* used 2,500 more */
    for (int i = 0; i < 5; i++) CHECK_I64(serve(w, &s, &random, 0), BEE);
    for (int i = 0; i < 10; i++) first[i] = serve(w, &s, &random, 0);
    mr_window_settle(w, "m", MR_PRIORITY_NORMAL, "ace", 3000, 1000); /* has 2,000 back */
    int ace = 0, before = 0;
    for (int i = 0; i < 10; i++) before += first[i] == ACE;
    for (int i = 0; i < 10; i++) ace += serve(w, &s, &random, 0) == ACE;
    CHECK_I64(before, 5);
    CHECK_I64(ace, 7); /* four more, and half of the other six */
    mr_window_settle(w, "m", MR_PRIORITY_NORMAL, "nobody", 1, 2); /* unknown: nothing happens */
    mr_window_settle(w, "none", MR_PRIORITY_NORMAL, "ace", 1, 2);
    mr_window_close(w);
}

TEST(a_new_weight_counts_at_once) {
    rules r = {.weight = {1, 1}};
    mr_window *w = open_window(&r, 0);
    static supply s;
    uint64_t random = 1;
    int ace = 0;
    s.cost[ACE] = s.cost[BEE] = 500;
    fill(w, &s, ACE);
    fill(w, &s, BEE);
    for (int i = 0; i < 10; i++) serve(w, &s, &random, 0);
    r.weight[ACE] = 4;
    for (int i = 0; i < 50; i++) ace += serve(w, &s, &random, 0) == ACE;
    CHECK(ace >= 39 && ace <= 41);
    mr_window_close(w);
}

TEST(a_tenant_s_jobs_by_deadline_then_arrival) {
    mr_window *w = open_window(NULL, 0);
    const uint64_t expires[6] = {0, 900, 500, 0, 500, 700};
    const int order[6] = {2, 4, 5, 1, 0, 3};
    mr_entry e[6];
    for (int i = 0; i < 6; i++) {
        e[i] = make("m", MR_PRIORITY_LOW, "ace", i);
        e[i].job.expires_ms = expires[i];
        push(w, &e[i], 0);
    }
    for (int i = 0; i < 6; i++) CHECK_I64(pop(w, 0), order[i]);
    mr_window_close(w);
}

TEST(why_it_went) {
    mr_window *w = open_window(NULL, 1000);
    mr_entry a = make("m", MR_PRIORITY_HIGH, "ace", 0), b = a, c = a, d = a, old = a;
    push(w, &a, 0);
    CHECK_STR(mr_window_pop(w, "m", MR_LANES_ALL, 0)->why, "arrival");
    b.lane = MR_PRIORITY_LOW;
    push(w, &b, 0);
    push(w, &a, 0);
    CHECK_STR(mr_window_pop(w, "m", MR_LANES_ALL, 0)->why, "lane turn");
    push(w, &a, 0);
    c.job.expires_ms = 5;
    push(w, &c, 0);
    CHECK_STR(mr_window_pop(w, "m", MR_LANES_ALL, 0)->why, "deadline");
    d.job.tenant = "bee";
    push(w, &d, 0);
    CHECK_STR(mr_window_pop(w, "m", MR_LANES_ALL, 0)->why, "share");
    mr_window_remove(w, &a);
    push(w, &old, 0);
    for (int i = 0; i < MR_AGE_TURN; i++) {
        push(w, &c, 1000);
        mr_window_pop(w, "m", MR_LANE_BIT(MR_PRIORITY_HIGH), 1000);
        if (c.place == MR_PLACE_WINDOW) mr_window_remove(w, &c);
        if (old.place == MR_PLACE_NONE) break;
    }
    CHECK_STR(old.why, "aged");
    mr_window_close(w);
}

TEST(more_tenants_than_accounts) {
    enum { N = MR_MAX_TENANTS + 500 };
    mr_window *w = open_window(NULL, 0);
    mr_entry *e = calloc(N, sizeof *e);
    static char tenant[N][16];
    CHECK(e != NULL);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            snprintf(tenant[i], sizeof tenant[i], "t%d", i);
            e[i] = make("m", MR_PRIORITY_NORMAL, tenant[i], i);
            push(w, &e[i], 0);
        }
        CHECK_I64(mr_window_len(w, MR_PRIORITY_NORMAL), N);
        for (int i = 0; i < MR_MAX_TENANTS + 1; i++) CHECK(pop(w, 0) >= 0); /* each account once */
        for (int i = 0; i < 499; i++) CHECK(pop(w, 0) >= MR_MAX_TENANTS);   /* what shares one */
        CHECK_I64(pop(w, 0), -1);
    }
    mr_window_close(w);
    free(e);
}

/* ---- age ---- */

TEST(the_oldest_goes_every_so_often) {
    enum { N = 64, MAX_WAIT = 1000 };
    mr_window *w = open_window(NULL, MAX_WAIT);
    mr_entry old[3], urgent[N];
    int turn[3] = {-1, -1, -1};
    for (int i = 0; i < 3; i++) { /* no deadline: all that have one would go before them */
        old[i] = make("m", MR_PRIORITY_LOW, "ace", 1000 + i);
        push(w, &old[i], 0);
    }
    for (int i = 0; i < N; i++) {
        urgent[i] = make("m", MR_PRIORITY_LOW, "ace", i);
        urgent[i].job.expires_ms = 5000;
        push(w, &urgent[i], 500);
    }
    for (int i = 0; i < MR_AGE_TURN; i++) CHECK(pop(w, MAX_WAIT - 1) < 1000);
    for (int i = 0; i < 2 * MR_AGE_TURN + 1; i++) {
        const int64_t offset = pop(w, MAX_WAIT);
        if (offset >= 1000) turn[offset - 1000] = i;
    }
    CHECK_I64(turn[0], 0); /* it was long since one went for its age */
    CHECK_I64(turn[1], MR_AGE_TURN);
    CHECK_I64(turn[2], 2 * MR_AGE_TURN);
    mr_window_set_max_wait(w, 0);
    for (int i = 0; i < 2 * MR_AGE_TURN; i++) CHECK(pop(w, 9999) < 1000);
    mr_window_close(w);
}

/* Goal: a tenant whose jobs are all old, because there are so many or because they are long, does
 * not take the others' share. Method: all jobs of both are old, ace's are twenty times as long. */
TEST(nobody_wins_by_age) {
    mr_window *w = open_window(NULL, 10);
    static supply s;
    uint64_t had[2] = {0};
    s.cost[ACE] = 2000;
    s.cost[BEE] = 100;
    for (int i = 0; i < 2; i++) fill(w, &s, i);
    for (int i = 0; i < 4200; i++) {
        mr_entry *e = mr_window_pop(w, "m", MR_LANES_ALL, 1000);
        had[e->at.offset] += e->cost;
        push(w, e, 0);
    }
    CHECK(had[ACE] >= 398000 && had[ACE] <= 402000);
    CHECK(had[BEE] >= 398000 && had[BEE] <= 402000);
    mr_window_close(w);
}

/* ---- rates ---- */

TEST(who_has_used_up_its_rate_is_passed_over) {
    rules r = {.ready_ms = {5000, 0}};
    mr_window *w = open_window(&r, 100); /* being old does not help */
    mr_entry a = make("m", MR_PRIORITY_HIGH, "ace", 1), b = make("m", MR_PRIORITY_LOW, "bee", 2);
    push(w, &a, 0);
    push(w, &b, 0);
    CHECK_I64(pop(w, 1000), 2);
    CHECK_I64(pop(w, 1000), -1);
    CHECK(mr_window_has(w, "m") && mr_window_has_lane(w, "m", MR_PRIORITY_HIGH));
    CHECK(!mr_window_has_lane(w, "m", MR_PRIORITY_LOW));
    CHECK_I64(pop(w, 4999), -1);
    CHECK_I64(pop(w, 5000), 1);
    mr_window_close(w);
}

TEST(a_rate_that_was_raised_is_noticed) {
    rules r = {.ready_ms = {1000000}};
    mr_window *w = open_window(&r, 0);
    mr_entry a = make("m", MR_PRIORITY_HIGH, "ace", 1);
    push(w, &a, 0);
    CHECK_I64(pop(w, 10), -1);
    r.ready_ms[ACE] = 0;
    CHECK_I64(pop(w, 1009), -1);
    CHECK_I64(pop(w, 1010), 1);
    mr_window_close(w);
}

TEST(thousands_that_must_wait_cost_nothing) {
    enum { LIMITED = 4000, JOBS = 2000 };
    rules r = {.ready_others = 60000};
    mr_window *w = open_window(&r, 500);
    mr_entry *e = calloc(LIMITED + JOBS, sizeof *e);
    static char tenant[LIMITED][16];
    CHECK(e != NULL);
    for (int i = 0; i < LIMITED; i++) {
        snprintf(tenant[i], sizeof tenant[i], "t%d", i);
        e[i] = make("m", MR_PRIORITY_NORMAL, tenant[i], i);
        push(w, &e[i], 0);
    }
    for (int i = LIMITED; i < LIMITED + JOBS; i++) {
        e[i] = make("m", MR_PRIORITY_NORMAL, "ace", i);
        push(w, &e[i], 0);
    }
    for (int i = 0; i < JOBS; i++) CHECK_I64(pop(w, 600), LIMITED + i);
    CHECK_I64(pop(w, 600), -1);
    CHECK(r.asked <= LIMITED + 2 * JOBS); /* each that waits once, not once a pop */
    CHECK_I64(mr_window_len(w, MR_PRIORITY_NORMAL), LIMITED);
    CHECK(pop(w, 60000) >= 0);
    mr_window_close(w);
    free(e);
}

TEST(who_was_held_has_not_saved_up) {
    rules r = {.ready_ms = {0, 1500}};
    mr_window *w = open_window(&r, 0);
    static supply s;
    int bee = 0;
    s.cost[ACE] = s.cost[BEE] = 100;
    fill(w, &s, ACE);
    fill(w, &s, BEE);
    for (int i = 0; i < 1000; i++) {
        mr_entry *e = mr_window_pop(w, "m", MR_LANES_ALL, 1000);
        CHECK_I64(e->at.offset, ACE);
        push(w, e, 1000);
    }
    for (int i = 0; i < 20; i++) {
        mr_entry *e = mr_window_pop(w, "m", MR_LANES_ALL, 2000);
        bee += e->at.offset == BEE;
        push(w, e, 2000);
    }
    CHECK(bee >= 10 && bee <= 11);
    mr_window_close(w);
}

/* ---- back, and away ---- */

TEST(what_comes_back_has_its_place) {
    mr_window *w = open_window(NULL, 0);
    mr_entry e[4], other = make("m", MR_PRIORITY_NORMAL, "bee", 10);
    for (int i = 0; i < 4; i++) {
        e[i] = make("m", MR_PRIORITY_NORMAL, "ace", i);
        push(w, &e[i], 0);
    }
    mr_entry *first = mr_window_pop(w, "m", MR_LANES_ALL, 0);
    mr_entry *second = mr_window_pop(w, "m", MR_LANES_ALL, 0);
    CHECK_I64(first->place, MR_PLACE_NONE);
    mr_window_unpop(w, first);
    mr_window_unpop(w, second);
    push(w, &other, 0);
    mr_window_remove(w, &e[2]);
    CHECK_I64(e[2].place, MR_PLACE_NONE);
    CHECK_I64(mr_window_len(w, MR_PRIORITY_NORMAL), 4);
    int64_t ace = 0;
    for (int i = 0; i < 4; i++) { /* 0, 1, 3 in this order; bee's somewhere, but not last */
        const int64_t offset = pop(w, 0);
        if (offset == 10) CHECK(i < 3);
        if (offset != 10) ace = 10 * ace + offset;
    }
    CHECK_I64(ace, 13);
    CHECK(!mr_window_has(w, "m"));
    mr_window_close(w);
}

TEST(the_charge_comes_back_too) {
    mr_window *w = open_window(NULL, 0);
    static supply s;
    uint64_t random = 1;
    int got[2] = {0};
    s.cost[ACE] = s.cost[BEE] = 100;
    fill(w, &s, ACE);
    fill(w, &s, BEE);
    for (int i = 0; i < 100; i++) {
        mr_window_unpop(w, mr_window_pop(w, "m", MR_LANES_ALL, 0));
        got[serve(w, &s, &random, 0)]++;
    }
    CHECK_I64(got[ACE], 50);
    CHECK_I64(got[BEE], 50);
    mr_window_close(w);
}

TEST(models_do_not_block_each_other) {
    mr_window *w = open_window(NULL, 0);
    mr_entry a = make("a", MR_PRIORITY_NORMAL, "ace", 1), b = make("b", MR_PRIORITY_LOW, "ace", 2);
    push(w, &a, 0);
    push(w, &b, 0);
    CHECK(mr_window_has(w, "a") && mr_window_has(w, "b") && !mr_window_has(w, "c"));
    CHECK_I64(mr_window_model_len(w, 1), 1);
    CHECK_I64(mr_window_pop(w, "b", MR_LANES_ALL, 0)->at.offset, 2);
    CHECK(!mr_window_has(w, "b"));
    CHECK_STR(mr_window_model(w, 0), "a");
    CHECK(mr_window_model(w, 1) == NULL);
    CHECK_I64(mr_window_model_len(w, 1), 0);
    mr_window_close(w);
}

TEST(too_many_models) {
    mr_window *w = open_window(NULL, 0);
    static mr_entry e[MR_MAX_MODELS + 1];
    static char model[MR_MAX_MODELS + 1][16];
    for (int i = 0; i <= MR_MAX_MODELS; i++) {
        snprintf(model[i], sizeof model[i], "m%d", i);
        e[i] = make(model[i], MR_PRIORITY_NORMAL, "ace", i);
        CHECK_I64(mr_window_push(w, &e[i], 0), i < MR_MAX_MODELS ? MR_OK : MR_ELIMIT);
    }
    CHECK_I64(e[MR_MAX_MODELS].place, MR_PLACE_NONE);
    CHECK_I64(mr_window_pop(w, "m0", MR_LANES_ALL, 0)->at.offset, 0);
    push(w, &e[MR_MAX_MODELS], 0); /* a place is free again */
    mr_window_close(w);
}

/* Goal: whatever is done, each entry comes out once, nobody who must wait goes, and a tenant's jobs
 * go by deadline. Method: random pushes, pops, unpops, removals, settlements and rates. */
TEST(random_changes) {
    enum { N = 2000, STEPS = 400000 };
    rules r = {.weight = {1, 3, 1000, 7}};
    mr_window *w = open_window(&r, 0);
    static mr_entry e[N];
    static bool in[N];
    uint64_t random = 11;
    size_t n_in = 0;

    for (uint64_t now = 0; now < STEPS; now++) {
        const uint32_t i = next_random(&random) % N, what = next_random(&random) % 8;
        if (!in[i] && what < 5) {
            const uint32_t tenant = next_random(&random) % N_TENANTS;
            e[i] = make("m", (mr_priority)(next_random(&random) % MR_PRIORITY_N), names[tenant], i);
            e[i].job.expires_ms = next_random(&random) % 3 ? now + next_random(&random) % 100 : 0;
            e[i].cost = next_random(&random) % 5000;
            push(w, &e[i], now);
            in[i] = true;
            n_in++;
        } else if (in[i] && what == 0) {
            mr_window_remove(w, &e[i]);
            in[i] = false;
            n_in--;
        } else if (what == 1) {
            r.ready_ms[next_random(&random) % N_TENANTS] = now + next_random(&random) % 50;
        } else if (what == 2) {
            mr_window_settle(w, "m", e[i].lane, names[i % N_TENANTS], next_random(&random) % 9000,
                             next_random(&random) % 9000);
        } else {
            mr_entry *got = mr_window_pop(w, "m", 1 + next_random(&random) % MR_LANES_ALL, now);
            if (!got) continue;
            const size_t at = (size_t)(got - e);
            CHECK(in[at] && r.ready_ms[number_of(got->job.tenant)] <= now);
            for (size_t k = 0; got->job.expires_ms && k < N && now % 64 == 0; k++)
                if (in[k] && e[k].lane == got->lane && e[k].job.tenant == got->job.tenant)
                    CHECK(!e[k].job.expires_ms || e[k].job.expires_ms >= got->job.expires_ms);
            if (what == 3) {
                mr_window_unpop(w, got);
            } else {
                in[at] = false;
                n_in--;
            }
        }
    }
    CHECK(n_in > 0);
    while (mr_window_pop(w, "m", MR_LANES_ALL, 2 * STEPS)) n_in--;
    CHECK_I64(n_in, 0);
    mr_window_close(w);
}

MR_TEST_MAIN
