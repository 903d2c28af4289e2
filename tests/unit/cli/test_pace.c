/* Goal: nothing is sent before the time that a refusal told, a limit is found without asking for
 * much more than it allows, and all of it is used. Method: refusals by hand; and bucket and backlog
 * as the dispatcher keeps them, with answers that come late, against a sender with many jobs. */
#include "cli/pace.h"

#include "millrace/error.h"

#include "tests/test.h"

TEST(without_a_refusal_nothing_waits) {
    mr_pace p = {0};
    for (uint64_t t = 1; t < 1000; t++) {
        CHECK(mr_pace_may_send(&p, t / 100));
        mr_pace_sent(&p, t / 100);
    }
}

TEST(nothing_goes_before_the_time_that_was_told) {
    mr_pace p = {0};
    mr_pace_refused(&p, 900, 5000, 1000);
    CHECK(!mr_pace_may_send(&p, 5999));
    CHECK(mr_pace_may_send(&p, 6000));
    mr_pace_refused(&p, 901, 100, 1001); /* a shorter time does not take it back */
    CHECK(!mr_pace_may_send(&p, 5999));
    mr_pace_refused(&p, 902, 7000, 1002);
    CHECK(!mr_pace_may_send(&p, 8001));
    CHECK(mr_pace_may_send(&p, 8002));
    mr_pace_refused(&p, 0, UINT64_MAX, 9000); /* nonsense: for ever, and no overflow */
    CHECK(!mr_pace_may_send(&p, UINT64_MAX / 2000));
}

TEST(jobs_that_were_on_their_way_tell_nothing_new) {
    mr_pace p = {0};
    mr_pace_refused(&p, 900, 800, 1000);
    CHECK_I64(p.gap_us, 25000);
    for (uint64_t t = 0; t < 100; t++) mr_pace_refused(&p, 900 + t, 800, 1000 + t);
    CHECK_I64(p.gap_us, 25000);
    mr_pace_refused(&p, 2000, 80, 2100);
    CHECK_I64(p.gap_us, 37500);
}

/* A tenant that may have per_s jobs a second and `backlog` waiting ones; 0: any. One that is let in
 * waits for 1 / served_per_s behind those before it. */
typedef struct world {
    double per_s, taken, waiting;
    unsigned backlog;
    double served_per_s;
    struct sent {
        uint64_t at_ms;
        uint64_t after_ms; /* refused; 0: let in */
    } answers[4096];
    size_t first, n; /* answers on their way */
    size_t n_in, n_refused;
} world;

enum { ANSWER_MS = 60, POLL_MS = 20 };

static void submit(world *w, uint64_t now_ms) {
    uint64_t after_ms = 0;
    if (w->backlog && w->waiting >= w->backlog)
        after_ms = 1000;
    else if (w->per_s > 0 && w->taken >= w->per_s)
        after_ms = (uint64_t)((w->taken - w->per_s) / w->per_s * 1000) + 1;
    if (after_ms) {
        w->n_refused++;
    } else {
        w->n_in++;
        w->taken++;
        w->waiting++;
    }
    CHECK(w->n < MR_COUNT(w->answers));
    w->answers[(w->first + w->n++) % MR_COUNT(w->answers)] = (struct sent){now_ms, after_ms};
}

static void pass_ms(world *w) {
    w->taken = w->taken > w->per_s / 1000 ? w->taken - w->per_s / 1000 : 0;
    w->waiting = w->waiting > w->served_per_s / 1000 ? w->waiting - w->served_per_s / 1000 : 0;
}

/* Sends for so long, up to 256 unanswered at a time. */
static void run(world *w, uint64_t seconds) {
    mr_pace p = {0};
    for (uint64_t t = 1000; t < 1000 + seconds * 1000; t++) {
        pass_ms(w);
        while (w->n && t - w->answers[w->first].at_ms >= ANSWER_MS) {
            const struct sent a = w->answers[w->first];
            w->first = (w->first + 1) % MR_COUNT(w->answers);
            w->n--;
            if (a.after_ms) mr_pace_refused(&p, a.at_ms, a.after_ms, t);
        }
        while (t % POLL_MS == 0 && w->n < 256 && mr_pace_may_send(&p, t)) {
            submit(w, t);
            mr_pace_sent(&p, t);
        }
    }
}

TEST(a_rate_is_found_and_used) {
    static const double rates[] = {1, 5, 20, 100};
    for (size_t i = 0; i < MR_COUNT(rates); i++) {
        world w = {.per_s = rates[i], .served_per_s = 1000};
        run(&w, 300);
        print_message("%g jobs/s: %zu in, %zu refused in 300 s\n", rates[i], w.n_in, w.n_refused);
        CHECK((double)w.n_in > 0.8 * 300 * rates[i]);
        CHECK(w.n_refused < w.n_in + 256);
    }
}

TEST(a_backlog_is_used) {
    world w = {.backlog = 50, .served_per_s = 20};
    run(&w, 300);
    print_message("backlog of 50: %zu in, %zu refused in 300 s\n", w.n_in, w.n_refused);
    CHECK(w.n_in > 5000); /* of 6,000 that can be served */
    CHECK(w.n_refused < w.n_in);
}

MR_TEST_MAIN
