/* Goal: a reader takes each frame of a stream once and in order, notices what is missing, and can
 * go on from a mark. Method: frames are handed over in the orders that Redis can produce. */
#include "schemas/tail.h"

#include "tests/test.h"

static mr_frame token(uint32_t attempt, uint64_t index) {
    return (mr_frame){.type = MR_FRAME_TOKEN, .attempt = attempt, .index = index};
}

static mr_tail_step take(mr_tail *t, mr_frame fr, bool from_stream) {
    return mr_tail_take(t, &fr, from_stream);
}

TEST(each_frame_is_taken_once) {
    mr_tail t = {.next = 0};
    CHECK_STR(mr_tail_from(&t), "-");
    CHECK_I64(take(&t, token(1, 0), false), MR_TAIL_TAKE);
    CHECK_I64(take(&t, token(1, 0), true), MR_TAIL_KNOWN);
    CHECK_I64(take(&t, token(1, 2), false), MR_TAIL_GAP);
    CHECK_STR(mr_tail_from(&t), "1-0");
    CHECK_I64(take(&t, token(1, 1), true), MR_TAIL_TAKE);
    CHECK_I64(take(&t, token(3, 2), false), MR_TAIL_TAKE); /* another worker goes on */
    CHECK_I64(take(&t, token(3, 9), true), MR_TAIL_TAKE);  /* what lies between is gone */
    CHECK_I64(t.next, 10);
}

TEST(a_restart_starts_over) {
    mr_tail t = {.next = 0};
    const mr_frame restart = {.type = MR_FRAME_RESTART, .attempt = 4};
    take(&t, token(1, 0), false);
    CHECK_I64(take(&t, restart, false), MR_TAIL_TAKE);
    CHECK_I64(take(&t, restart, true), MR_TAIL_KNOWN);
    CHECK_I64(take(&t, token(4, 0), true), MR_TAIL_KNOWN); /* of before */
    CHECK_I64(take(&t, token(5, 0), false), MR_TAIL_TAKE);
    CHECK_I64(t.next, 1);
}

TEST(done_waits_for_the_last_token) {
    mr_tail t = {.next = 0};
    const mr_frame done = {.type = MR_FRAME_DONE, .attempt = 1, .index = 2};
    take(&t, token(1, 0), false);
    CHECK_I64(take(&t, done, false), MR_TAIL_GAP);
    CHECK_I64(take(&t, token(1, 1), true), MR_TAIL_TAKE);
    CHECK_I64(take(&t, done, false), MR_TAIL_TAKE);
}

TEST(a_mark_brings_a_reader_back) {
    static const char *const no_marks[] = {
        "",         "1",         "1-2",      "1-2.3",    "1-2.3.",
        "1-2.3.4 ", "-1-2.3.4",  "1-2.3.-4", "a-2.3.4",  "1-2.3.4294967296",
        "1 -2.3.4", "1-2.3.0x4", "1-2..4",   "1--2.3.4", "1-99999999999999999999.3.4",
        "1-2.3.4.5"};
    char mark[MR_TAIL_MARK_LEN];
    mr_tail t = {.next = 0}, back;
    mr_tail_mark(&t, mark);
    CHECK_STR(mark, "0-0.0.0");
    take(&t, (mr_frame){.type = MR_FRAME_RESTART, .attempt = 4}, true);
    take(&t, token(5, 0), true);
    take(&t, token(5, 1), true);
    mr_tail_mark(&t, mark);
    CHECK_STR(mark, "5-1.2.4");
    CHECK(mr_tail_parse(&back, mark));
    CHECK_I64(take(&back, token(5, 1), true), MR_TAIL_KNOWN);
    CHECK_I64(take(&back, token(4, 2), true), MR_TAIL_KNOWN);
    CHECK_I64(take(&back, token(5, 2), false), MR_TAIL_TAKE);

    t = (mr_tail){.next = INT64_MAX, .epoch = UINT32_MAX};
    mr_tail_at(&t, "4294967295-9223372036854775807");
    mr_tail_mark(&t, mark); /* the longest */
    CHECK(mr_tail_parse(&back, mark));
    CHECK_STR(back.last_id, t.last_id);
    for (size_t i = 0; i < MR_COUNT(no_marks); i++) {
        CHECK(!mr_tail_parse(&back, no_marks[i]));
        CHECK_I64(back.next, 0);
        CHECK_STR(mr_tail_from(&back), "-");
    }
}

MR_TEST_MAIN
