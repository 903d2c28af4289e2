/* Goal: frames leave in order, once confirmed and not before, and the budget cuts a stream to a
 * gapless beginning. Method: a reader that collects what is confirmed, under random confirmations
 * and failures, must have seen exactly the frames that were accepted. */
#include "tests/test.h"

#include "worker/stream_buffer.h"

static const char *frames[MR_STREAM_BATCH];
static size_t lens[MR_STREAM_BATCH];

TEST(a_batch_stays_until_it_is_confirmed) {
    mr_stream_budget budget = {.limit = 1000};
    mr_stream_buffer b;
    uint64_t first = 99;

    mr_stream_buffer_init(&b, &budget);
    CHECK(mr_stream_buffer_add(&b, "one", 3));
    CHECK(mr_stream_buffer_add(&b, "two", 3));
    CHECK_I64(mr_stream_buffer_send(&b, frames, lens, &first), 2);
    CHECK_I64(first, 0);
    CHECK_I64(lens[1], 3);
    CHECK(memcmp(frames[1], "two", 3) == 0);
    CHECK(mr_stream_buffer_add(&b, "three", 5));
    CHECK_I64(mr_stream_buffer_send(&b, frames, lens, &first), 0); /* one batch at a time */
    mr_stream_buffer_retry(&b);
    CHECK_I64(mr_stream_buffer_send(&b, frames, lens, &first), 3);
    CHECK_I64(first, 0);
    CHECK(memcmp(frames[0], "one", 3) == 0);
    mr_stream_buffer_confirm(&b);
    CHECK_I64(mr_stream_buffer_frames(&b), 0);
    CHECK_I64(budget.used, 0);
    CHECK(mr_stream_buffer_add(&b, "four", 4));
    CHECK_I64(mr_stream_buffer_send(&b, frames, lens, &first), 1);
    CHECK_I64(first, 3);
    mr_stream_buffer_deinit(&b);
    CHECK_I64(budget.used, 0);
}

TEST(batches_are_bounded) {
    mr_stream_budget budget = {.limit = 1u << 20};
    mr_stream_buffer b;
    uint64_t first = 0;

    mr_stream_buffer_init(&b, &budget);
    for (int i = 0; i < MR_STREAM_BATCH + 5; i++) CHECK(mr_stream_buffer_add(&b, "x", 1));
    CHECK_I64(mr_stream_buffer_send(&b, frames, lens, &first), MR_STREAM_BATCH);
    mr_stream_buffer_confirm(&b);
    CHECK_I64(mr_stream_buffer_send(&b, frames, lens, &first), 5);
    CHECK_I64(first, MR_STREAM_BATCH);
    mr_stream_buffer_deinit(&b);
}

TEST(the_budget_is_shared_and_a_cut_is_for_good) {
    mr_stream_budget budget = {.limit = 64};
    mr_stream_buffer a, b;
    char frame[40] = {0};
    uint64_t first = 0;

    mr_stream_buffer_init(&a, &budget);
    mr_stream_buffer_init(&b, &budget);
    CHECK(mr_stream_buffer_add(&a, frame, sizeof frame));
    CHECK(!mr_stream_buffer_add(&b, frame, sizeof frame)); /* a holds the room */
    CHECK(b.cut && !a.cut);
    CHECK_I64(mr_stream_buffer_send(&a, frames, lens, &first), 1);
    mr_stream_buffer_confirm(&a);
    CHECK(!mr_stream_buffer_add(&b, frame, 1)); /* a gap would be behind it */
    CHECK(mr_stream_buffer_add(&a, frame, 1));
    mr_stream_buffer_cut(&a);
    CHECK_I64(mr_stream_buffer_frames(&a), 0);
    CHECK_I64(budget.used, 0);
    mr_stream_buffer_deinit(&a);
    mr_stream_buffer_deinit(&b);
}

TEST(what_is_confirmed_is_what_was_accepted_in_order) {
    mr_stream_budget budget = {.limit = 3000};
    mr_stream_buffer b;
    uint32_t rng = 7, accepted = 0, seen = 0;

    mr_stream_buffer_init(&b, &budget);
    for (int round = 0; round < 50000 && !b.cut; round++) {
        uint64_t first = 0;
        size_t n;
        rng = rng * 1664525u + 1013904223u;
        for (uint32_t i = 0; i < (rng >> 28) % 4; i++) {
            char frame[64];
            const int pad = (int)(rng >> 27) + 1;
            const int len = snprintf(frame, sizeof frame, "%u:%0*d", accepted, pad, 0);
            if (mr_stream_buffer_add(&b, frame, (size_t)len)) accepted++;
        }
        n = mr_stream_buffer_send(&b, frames, lens, &first);
        if (n == 0) continue;
        CHECK_I64(first, seen);
        for (size_t i = 0; i < n; i++) CHECK_I64(atoi(frames[i]), seen + i);
        if ((rng >> 20) % 3) {
            mr_stream_buffer_confirm(&b);
            seen += (uint32_t)n;
        } else {
            mr_stream_buffer_retry(&b);
        }
        CHECK(budget.used <= budget.limit);
        CHECK_I64(mr_stream_buffer_frames(&b), accepted - seen);
    }
    CHECK(seen > 1000);
    mr_stream_buffer_deinit(&b);
    CHECK_I64(budget.used, 0);
}

MR_TEST_MAIN
