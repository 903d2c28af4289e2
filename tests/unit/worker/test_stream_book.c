/* Goal: the books of a stream never say that something is there which is not, and no number stands
 * for two things. Method: a job with made-up tokens; entries that are equal to them, that differ in
 * one place, or that are cut differently; each way to restart. */
#include "tests/test.h"

#include "worker/stream_book.h"

#define SLOT 3

static const char *const texts[] = {"one ", "", "two", " three", "!"};
static const int32_t tokens[] = {11, 12, 13, 14, 15};

static void frame(void *owner, uint32_t slot, uint64_t index, mr_stream_frame *out) {
    CHECK(owner == texts && slot == SLOT && index < MR_COUNT(texts));
    *out = (mr_stream_frame){tokens[index], texts[index], strlen(texts[index])};
}

static mr_stream_book open_book(const char *found_text, size_t n_found, uint64_t n_made) {
    mr_stream_book b;

    mr_stream_book_init(&b, 1, true, 1 << 16);
    mr_stream_book_claimed(&b, 4, true, "3-9");
    b.found = (mr_takeover){.tokens = tokens, .n_tokens = n_found, .text = found_text};
    b.found.text_len = strlen(found_text);
    b.n_there = n_found;
    b.n_made = n_made;
    return b;
}

static const char *compare(mr_stream_book *b) {
    return mr_stream_book_compare(b, frame, (void *)texts, SLOT);
}

TEST(equal_entries_count_as_written) {
    mr_stream_book b = open_book("one two three", 4, 0);

    for (b.n_made = 0; b.n_made < 4; b.n_made++) {
        CHECK(compare(&b) == NULL);
        CHECK_I64(b.found.n_tokens, 4); /* still to be compared */
        CHECK(mr_stream_book_is_written(&b));
    }
    CHECK(compare(&b) == NULL);
    CHECK_I64(b.found.n_tokens, 0);
    CHECK(mr_stream_book_is_written(&b));
    b.n_made = 5;
    CHECK(compare(&b) == NULL);
    CHECK(!mr_stream_book_is_written(&b));
    CHECK_I64(b.n_there, 4);
    mr_stream_book_deinit(&b);
}

TEST(entries_that_differ_are_found_at_once) {
    static const char *const wrong[] = {"One two three", "one tw", "one two thre", "one two three!",
                                        ""};

    for (size_t i = 0; i < MR_COUNT(wrong); i++) {
        mr_stream_book b = open_book(wrong[i], 4, 5);
        CHECK(compare(&b) != NULL);
        mr_stream_book_restart(&b);
        CHECK(compare(&b) == NULL);
        CHECK(b.restart_due && b.n_there == 0 && b.attempt == 5);
        mr_stream_book_deinit(&b);
    }
}

TEST(a_number_stands_for_one_thing) {
    mr_stream_book b = open_book("", 0, 5);

    mr_stream_book_restart(&b); /* nothing was sent under 4: that is the restart's */
    CHECK_I64(b.attempt, 5);
    mr_stream_book_sent(&b, 0);
    CHECK_STR(b.sent.last_id, "4-0");
    mr_stream_book_added(&b);
    CHECK(!b.restart_due);
    CHECK(!mr_stream_book_is_written(&b));
    mr_stream_book_sent(&b, 2);
    CHECK_STR(b.sent.last_id, "5-1");
    mr_stream_book_restart(&b); /* while that call is under way */
    CHECK_I64(b.attempt, 7);
    mr_stream_book_added(&b);
    CHECK_STR(b.last_id, "5-1"); /* what stands before the restart frame */
    CHECK(b.restart_due && b.n_there == 0);
    mr_stream_book_sent(&b, 5);
    CHECK_STR(b.sent.last_id, "7-4");
    mr_stream_book_added(&b);
    CHECK(mr_stream_book_is_written(&b));
    mr_stream_book_deinit(&b);
}

TEST(what_was_sent_may_have_been_seen) {
    mr_stream_book b = open_book("", 0, 5);

    b.shown = false;
    mr_stream_book_sent(&b, 1);
    CHECK(b.shown);
    CHECK_I64(b.n_there, 0); /* until it got through */
    mr_stream_book_added(&b);
    CHECK_I64(b.n_there, 1);
    mr_stream_book_deinit(&b);
}

MR_TEST_MAIN
