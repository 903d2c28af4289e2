/* Goal: what is committed is never beyond an unfinished record, and late answers for a lost
 * partition count for nothing. Method: the table of rows alone, without a consumer; windows and
 * holes at their borders. */
#include "dispatcher/progress.h"

#include "tests/test.h"

TEST(epochs_shut_out_late_answers) {
    mr_progress *p = NULL;
    mr_origin a, b;
    CHECK_I64(mr_progress_open(&p, NULL), MR_OK);
    const int row = mr_progress_assign(p, "t", 3, 10);
    CHECK_I64(mr_progress_find(p, "t", 3), row);
    CHECK_I64(mr_progress_begin(p, row, 10, &a), MR_OK);
    mr_progress_revoke(p, row);
    CHECK_I64(mr_progress_find(p, "t", 3), -1);
    CHECK(!mr_progress_finish(p, a));
    CHECK_I64(mr_progress_assign(p, "t", 3, 10), row);
    CHECK_I64(mr_progress_begin(p, row, 10, &b), MR_OK);
    CHECK(!mr_progress_finish(p, a)); /* of the former assignment */
    CHECK(mr_progress_finish(p, b));
    mr_progress_close(p);
}

TEST(finished_records_are_not_taken_again) {
    mr_progress *p = NULL;
    mr_origin at;
    CHECK_I64(mr_progress_open(&p, NULL), MR_OK);
    const int row = mr_progress_assign(p, "t", 0, 5);
    CHECK_I64(mr_progress_begin(p, row, 4, &at), MR_EINVAL);
    CHECK_I64(mr_progress_begin(p, row, 5, &at), MR_OK);
    CHECK(mr_progress_finish(p, at));
    CHECK_I64(mr_progress_begin(p, row, 5, &at), MR_EINVAL);
    mr_progress_close(p);
}

TEST(a_row_starts_where_its_first_record_is) {
    mr_progress *p = NULL;
    mr_origin at;
    CHECK_I64(mr_progress_open(&p, NULL), MR_OK);
    const int row = mr_progress_assign(p, "t", 0, MR_KAFKA_OFFSET_BEGIN);
    CHECK_I64(mr_progress_begin(p, row, 1000000, &at), MR_OK);
    CHECK_I64(at.offset, 1000000);
    CHECK(mr_progress_finish(p, at));
    mr_progress_close(p);
}

TEST(the_oldest_unfinished_record_fills_the_window) {
    mr_progress *p = NULL;
    mr_origin oldest, at;
    CHECK_I64(mr_progress_open(&p, NULL), MR_OK);
    const int row = mr_progress_assign(p, "t", 0, 0);
    CHECK_I64(mr_progress_begin(p, row, 0, &oldest), MR_OK);
    int64_t off = 1;
    while (!mr_progress_full(p, row)) {
        CHECK_I64(mr_progress_begin(p, row, off++, &at), MR_OK);
        CHECK(mr_progress_finish(p, at));
    }
    CHECK(off > MR_PROGRESS_WINDOW / 2 && off < MR_PROGRESS_WINDOW);
    CHECK(mr_progress_finish(p, oldest));
    CHECK(!mr_progress_full(p, row));
    mr_progress_close(p);
}

TEST(a_hole_wider_than_the_window) {
    mr_progress *p = NULL;
    mr_origin at;
    CHECK_I64(mr_progress_open(&p, NULL), MR_OK);
    const int row = mr_progress_assign(p, "t", 0, 0);
    CHECK_I64(mr_progress_begin(p, row, 10 * MR_PROGRESS_WINDOW, &at),
              MR_OK); /* nothing is pending */
    CHECK(!mr_progress_full(p, row));
    CHECK(mr_progress_finish(p, at));
    mr_progress_close(p);
}

/* A record that is too far from an unfinished one stands outside the window: the partition must
 * pause, and what comes behind it does not move the window past it. */
TEST(strays_are_never_passed) {
    mr_progress *p = NULL;
    mr_origin old, stray, next;
    const int64_t far = 2 * MR_PROGRESS_WINDOW;
    CHECK_I64(mr_progress_open(&p, NULL), MR_OK);
    const int row = mr_progress_assign(p, "t", 0, 0);
    CHECK_I64(mr_progress_begin(p, row, 0, &old), MR_OK);
    CHECK_I64(mr_progress_begin(p, row, far, &stray), MR_OK);
    CHECK(mr_progress_full(p, row));
    CHECK_I64(mr_progress_begin(p, row, far, &next), MR_EINVAL); /* seen already */
    CHECK(mr_progress_finish(p, old));
    CHECK(mr_progress_full(p, row)); /* the stray is not finished */
    CHECK_I64(mr_progress_next(p, row), 1);
    CHECK_I64(mr_progress_begin(p, row, far + 1, &next), MR_OK); /* could not be paused in time */
    CHECK(mr_progress_finish(p, next));
    CHECK_I64(mr_progress_next(p, row), 1);
    CHECK(mr_progress_finish(p, stray));
    CHECK(!mr_progress_full(p, row));
    CHECK_I64(mr_progress_begin(p, row, far + 2, &next), MR_OK);
    CHECK_I64(mr_progress_next(p, row), far + 2);
    CHECK(mr_progress_finish(p, next));
    CHECK_I64(mr_progress_next(p, row), far + 3);
    mr_progress_close(p);
}

MR_TEST_MAIN
