/* Goal: what is committed is never beyond an unfinished record, and late answers for a lost partition count
 * for nothing. Method: the table of rows alone, without a consumer; windows and holes at their borders. */
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

TEST(holes_wider_than_the_window) {
    mr_progress *p = NULL;
    mr_origin a, b;
    CHECK_I64(mr_progress_open(&p, NULL), MR_OK);
    const int row = mr_progress_assign(p, "t", 0, 0);
    CHECK_I64(mr_progress_begin(p, row, 10 * MR_PROGRESS_WINDOW, &a), MR_OK); /* nothing pending: reset */
    CHECK(a.epoch != 0);
    CHECK_I64(mr_progress_begin(p, row, 20 * MR_PROGRESS_WINDOW, &b), MR_OK); /* a is pending */
    CHECK_I64(b.epoch, 0);
    CHECK(!mr_progress_finish(p, b)); /* handled, never counted: a restart may do it again */
    CHECK(mr_progress_finish(p, a));
    mr_progress_close(p);
}

MR_TEST_MAIN
