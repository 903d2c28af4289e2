/* Goal: a log that begins anew is told from records that come again, and neither from the other.
 * Method: single cases. */
#include "base/past.h"

#include "../../test.h"

static mr_past past;

static mr_past_step read_at(int64_t offset, int64_t ms) {
    return mr_past_read(&past, "jobs", 0, offset, ms, NULL);
}

static void begin(int64_t next) {
    mr_past_deinit(&past);
    mr_past_add(&past, "jobs", 0, next);
}

TEST(offsets_go_on_with_holes_and_any_times) {
    begin(10);
    CHECK_I64(read_at(10, 1000), MR_PAST_ON);
    CHECK_I64(read_at(15, 900), MR_PAST_ON);
    CHECK_I64(read_at(16, -1), MR_PAST_ON);
    begin(-1);
    CHECK_I64(read_at(0, 5), MR_PAST_ON);
}

TEST(a_younger_first_one_is_of_another_log) {
    int64_t next = 0;
    begin(100);
    for (int i = 0; i < 50; i++) CHECK_I64(read_at(100 + i, 1000 + i), MR_PAST_ON);
    CHECK_I64(mr_past_read(&past, "jobs", 0, 0, 1050, &next), MR_PAST_ANEW);
    CHECK_I64(next, 150);
    CHECK_I64(read_at(1, 1051), MR_PAST_ON);
    CHECK_I64(read_at(2, 1040), MR_PAST_ON);
    CHECK_I64(read_at(0, 2000), MR_PAST_ANEW); /* and once more */
}

TEST(what_comes_again_does_not_begin_a_log) {
    begin(100);
    for (int i = 0; i < 50; i++)
        CHECK_I64(read_at(100 + i, 1000 + i * 7 % 50), MR_PAST_ON); /* clocks differ */
    CHECK_I64(read_at(120, 1000 + 20 * 7 % 50), MR_PAST_BACK);
    for (int i = 21; i < 50; i++) CHECK_I64(read_at(100 + i, 1000 + i * 7 % 50), MR_PAST_AGAIN);
    CHECK_I64(read_at(150, 1100), MR_PAST_ON);
    CHECK_I64(read_at(149, 1049), MR_PAST_BACK); /* told again */
}

/* A replica without the newest: old ones come again, then new ones under the offsets of lost ones.
 */
TEST(a_log_that_was_cut_is_the_same_log) {
    begin(0);
    for (int i = 0; i < 50; i++) CHECK_I64(read_at(i, 1000 + i), MR_PAST_ON);
    CHECK_I64(read_at(0, 1000), MR_PAST_BACK);
    for (int i = 1; i < 40; i++) CHECK_I64(read_at(i, 1000 + i), MR_PAST_AGAIN);
    CHECK_I64(read_at(40, 5000), MR_PAST_AGAIN);
    CHECK_I64(read_at(50, 5010), MR_PAST_ON);
}

TEST(before_something_was_read_nothing_is_younger) {
    begin(100);
    CHECK_I64(read_at(0, 1000), MR_PAST_BACK);
    CHECK_I64(read_at(1, 1001), MR_PAST_AGAIN);
    CHECK_I64(read_at(100, 1002), MR_PAST_ON);
    CHECK_I64(read_at(0, 1003), MR_PAST_ANEW);
    begin(100);
    CHECK_I64(read_at(100, -1), MR_PAST_ON); /* without times nobody knows */
    CHECK_I64(read_at(0, -1), MR_PAST_BACK);
}

TEST(partitions_have_nothing_to_do_with_each_other) {
    char name[8];
    mr_past_deinit(&past);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "t%d", i / 10);
        mr_past_add(&past, name, i % 10, 100);
        CHECK_I64(mr_past_read(&past, name, i % 10, 100, 1000 + i, NULL), MR_PAST_ON);
    }
    mr_past_drop(&past, "t3", 3);
    mr_past_drop(&past, "t3", 3);
    CHECK_I64(mr_past_read(&past, "t3", 3, 0, 9000, NULL), MR_PAST_ON);
    for (int i = 0; i < 100; i++) {
        if (i == 33) continue;
        snprintf(name, sizeof name, "t%d", i / 10);
        CHECK_I64(mr_past_read(&past, name, i % 10, 0, 1000 + i, NULL), MR_PAST_BACK);
        CHECK_I64(mr_past_read(&past, name, i % 10, 101, 1000 + i, NULL), MR_PAST_ON);
        CHECK_I64(mr_past_read(&past, name, i % 10, 0, 1001 + i, NULL), MR_PAST_ANEW);
    }
    mr_past_add(&past, "t3", 4, 7); /* assigned once more: what was known is gone */
    CHECK_I64(mr_past_read(&past, "t3", 4, 7, 1, NULL), MR_PAST_ON);
    mr_past_deinit(&past);
}
MR_TEST_MAIN
