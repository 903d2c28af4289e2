/* Goal: an answer counts for the assignment under which its record was begun and for no other, and
 * a partition says in time that it is full. Method: single cases with two partitions. */
#include "base/parts.h"

#include "../../test.h"

static mr_err err;

static mr_parts *open_parts(size_t window) {
    mr_parts *p = NULL;
    CHECK_OK(mr_parts_open(&p, window, &err), err);
    return p;
}

static int assign(mr_parts *p, int32_t partition, int64_t offset, const char *metadata) {
    mr_err refused;
    const int part = mr_parts_assign(p, "work", partition, offset, metadata,
                                     metadata ? strlen(metadata) : 0, &refused, &err);
    CHECK(part >= 0);
    CHECK_OK(refused.status, refused);
    return part;
}

static mr_origin begin(mr_parts *p, int part, int64_t offset) {
    mr_origin at;
    CHECK_I64(mr_parts_begin(p, part, offset, &at), MR_OK);
    CHECK_I64(at.part, part);
    CHECK_I64(at.offset, offset);
    return at;
}

TEST(rows_are_found_by_topic_and_partition) {
    mr_parts *p = open_parts(64);
    const int a = assign(p, 3, 10, NULL);
    const int b = mr_parts_assign(p, "other", 3, 20, NULL, 0, NULL, &err);
    CHECK(a != b);
    CHECK_I64(mr_parts_count(p), 2);
    CHECK_I64(mr_parts_find(p, "work", 3), a);
    CHECK_I64(mr_parts_find(p, "other", 3), b);
    CHECK_I64(mr_parts_find(p, "work", 4), -1);
    CHECK_STR(mr_parts_topic(p, b), "other");
    CHECK_I64(mr_parts_partition(p, b), 3);
    mr_parts_revoke(p, a);
    CHECK_I64(mr_parts_find(p, "work", 3), -1);
    CHECK(!mr_parts_assigned(p, a) && mr_parts_assigned(p, b));
    CHECK(!mr_parts_assigned(p, -1) && !mr_parts_assigned(p, 2));
    for (int i = 0; i < 100; i++) assign(p, 100 + i, 0, NULL);
    CHECK_I64(assign(p, 3, 11, NULL), a); /* its row again */
    CHECK_I64(mr_parts_count(p), 102);
    mr_parts_close(p);
    mr_parts_close(NULL);
}

TEST(a_late_answer_finds_nobody) {
    mr_parts *p = open_parts(64);
    const int part = assign(p, 0, 10, NULL);
    const mr_origin old = begin(p, part, 10);
    CHECK(mr_parts_holds(p, old));
    mr_parts_revoke(p, part);
    CHECK(!mr_parts_holds(p, old) && !mr_parts_finish(p, old));
    CHECK_I64(mr_parts_commit(p, part, NULL, 0), -1);
    CHECK_I64(mr_parts_next(p, part), -1);
    CHECK_I64(mr_parts_pending(p), 0);

    assign(p, 0, 10, NULL);
    const mr_origin new = begin(p, part, 10);
    CHECK(!mr_parts_holds(p, old) && !mr_parts_finish(p, old));
    CHECK_I64(mr_parts_mark(p, old), MR_EINVAL);
    mr_parts_unmark(p, old, true);
    CHECK(!mr_parts_dirty(p, part));
    CHECK_I64(mr_parts_commit(p, part, NULL, 0), 10);
    CHECK_I64(mr_parts_next(p, part), 11);
    CHECK_I64(mr_parts_pending(p), 1);
    CHECK(mr_parts_finish(p, mr_parts_origin(p, part, 10)));
    CHECK(mr_parts_holds(p, new)); /* the assignment holds, whatever became of the record */
    CHECK_I64(mr_parts_commit(p, part, NULL, 0), 11);
    mr_parts_close(p);
}

TEST(the_start_shows_with_the_first_record) {
    mr_parts *p = open_parts(64);
    char text[MR_OFFSETS_MAX_METADATA + 1] = "left over";
    const int part = assign(p, 0, -1001, "is not looked at");
    CHECK_I64(mr_parts_commit(p, part, text, sizeof text), -1);
    CHECK_STR(text, "");
    begin(p, part, 700);
    CHECK_I64(mr_parts_commit(p, part, NULL, 0), 700);
    mr_parts_revoke(p, part);
    assign(p, 0, -1001, NULL);
    CHECK_I64(mr_parts_commit(p, part, NULL, 0), -1);
    begin(p, part, 5); /* a topic made anew */
    mr_parts_close(p);
}

TEST(what_is_finished_travels_with_the_commit) {
    mr_parts *p = open_parts(64), *heir = open_parts(64);
    char text[MR_OFFSETS_MAX_METADATA + 1];
    mr_origin at;
    const int part = assign(p, 0, 10, NULL);
    for (int64_t off = 10; off < 14; off++) begin(p, part, off);
    CHECK_I64(mr_parts_mark(p, mr_parts_origin(p, part, 10)), MR_OK);
    CHECK(mr_parts_finish(p, mr_parts_origin(p, part, 12)));
    CHECK_I64(mr_parts_commit(p, part, text, sizeof text), 10);

    const int next = assign(heir, 0, 10, text);
    at = begin(heir, next, 10);
    CHECK(mr_parts_was_started(heir, at));
    CHECK_I64(mr_parts_deaths(heir, at), 1);
    at = begin(heir, next, 11);
    CHECK(!mr_parts_was_started(heir, at));
    CHECK_I64(mr_parts_deaths(heir, at), 0);
    CHECK_I64(mr_parts_begin(heir, next, 12, &at), MR_EINVAL);
    begin(heir, next, 13);
    CHECK_I64(mr_parts_pending(heir), 3);
    mr_parts_close(p);
    mr_parts_close(heir);
}

TEST(refused_metadata_is_told_and_the_partition_starts_all_the_same) {
    mr_parts *p = open_parts(64);
    mr_err refused;
    const int part = mr_parts_assign(p, "work", 0, 10, "mr1:junk", 8, &refused, &err);
    CHECK(part >= 0);
    CHECK_I64(refused.status, MR_EINVAL);
    CHECK(refused.text[0]);
    begin(p, part, 10);
    CHECK_I64(mr_parts_assign(p, "work", 0, 10, "mr1:junk", 8, NULL, &err), part);
    mr_parts_close(p);
}

TEST(dirty_is_what_the_last_commit_does_not_say) {
    mr_parts *p = open_parts(64);
    const int part = assign(p, 0, 0, NULL);
    const mr_origin a = begin(p, part, 0), b = begin(p, part, 1);
    CHECK(!mr_parts_dirty(p, part)); /* a record that only waits changes nothing */
    CHECK_I64(mr_parts_mark(p, a), MR_OK);
    CHECK(mr_parts_dirty(p, part));
    mr_parts_collected(p, part);
    CHECK(!mr_parts_dirty(p, part));
    mr_parts_unmark(p, a, true);
    CHECK(mr_parts_dirty(p, part));
    mr_parts_collected(p, part);
    mr_parts_finish(p, b);
    CHECK(mr_parts_dirty(p, part));
    mr_parts_collected(p, part);
    mr_parts_soil(p, part);
    CHECK(mr_parts_dirty(p, part));
    mr_parts_revoke(p, part);
    CHECK(!mr_parts_dirty(p, part));
    mr_parts_close(p);
}

TEST(full_before_the_window_is_and_until_half_of_it_is_free) {
    mr_parts *p = open_parts(64);
    const int part = assign(p, 0, 0, NULL);
    int64_t off = 0;
    while (!mr_parts_full(p, part, false)) begin(p, part, off++);
    CHECK_I64(off, 48);
    for (int64_t i = 0; i < 16; i++) {
        CHECK(mr_parts_full(p, part, true));
        mr_parts_finish(p, mr_parts_origin(p, part, i));
    }
    CHECK(mr_parts_full(p, part, true)); /* 32 are left, half of the window */
    mr_parts_finish(p, mr_parts_origin(p, part, 16));
    CHECK(!mr_parts_full(p, part, true));
    for (int64_t i = 17; i < 48; i++) mr_parts_finish(p, mr_parts_origin(p, part, i));
    begin(p, part, 1000000); /* nothing is pending: it may be anywhere */
    CHECK(!mr_parts_full(p, part, false));
    mr_parts_close(p);
}

TEST(a_record_behind_a_wide_hole_is_not_done_twice) {
    mr_parts *p = open_parts(64), *heir = open_parts(64);
    char text[MR_OFFSETS_MAX_METADATA + 1];
    mr_origin at;
    const int part = assign(p, 0, 0, NULL);
    begin(p, part, 0);
    at = begin(p, part, 5000000);
    CHECK(mr_parts_full(p, part, false) && mr_parts_full(p, part, true));
    CHECK(mr_parts_finish(p, at));
    CHECK(mr_parts_full(p, part, true));
    CHECK_I64(mr_parts_commit(p, part, text, sizeof text), 0);

    const int next = assign(heir, 0, 0, text);
    begin(heir, next, 0);
    CHECK_I64(mr_parts_begin(heir, next, 5000000, &at), MR_EINVAL);
    CHECK(mr_parts_finish(heir, mr_parts_origin(heir, next, 0)));
    CHECK_I64(mr_parts_commit(heir, next, NULL, 0), 5000001);

    CHECK(mr_parts_finish(p, mr_parts_origin(p, part, 0)));
    CHECK_I64(mr_parts_commit(p, part, NULL, 0), 5000001);
    CHECK(!mr_parts_full(p, part, true));
    mr_parts_close(p);
    mr_parts_close(heir);
}

TEST(a_wrong_window_is_named) {
    mr_parts *p = NULL;
    CHECK_I64(mr_parts_open(&p, 63, &err), MR_EINVAL);
    CHECK_ERR(err, "63");
    CHECK_I64(mr_parts_open(&p, 16385, &err), MR_EINVAL);
    CHECK_ERR(err, "16384");
    CHECK(p == NULL);
}

MR_TEST_MAIN
