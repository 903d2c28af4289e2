/* Goal: dead letters come out oldest first with what was done about each, whatever order they were
 * read in, and what is no dead letter does no harm.
 * Method: records are made with the codec and added in a shuffled order; nothing is connected. */
#include "schemas/letters.h"

#include "tests/test.h"

#define JOB   "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"
#define OTHER "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e78"

static mr_letters letters;

static void add_bytes(int32_t partition, int64_t offset, const void *bytes, size_t n) {
    CHECK_I64(mr_letters_add(&letters, partition, offset, bytes, n), MR_OK);
}

static void add(int32_t partition, int64_t offset, const mr_dead *d) {
    const void *bytes = NULL;
    mr_arena arena;
    size_t n = 0;

    mr_arena_init(&arena, 0);
    CHECK_I64(mr_codec_dead_encode(d, &arena, &bytes, &n), MR_OK);
    add_bytes(partition, offset, bytes, n);
    mr_arena_drop(&arena);
}

static void add_letter(int32_t partition, int64_t offset, uint64_t time_ms, const char *job_id) {
    const mr_dead d = {.cause = "poison",
                       .message = "three deaths",
                       .topic = "t.work.m",
                       .partition = 3,
                       .offset = 17,
                       .time_ms = time_ms,
                       .job_id = job_id,
                       .payload = "xyz",
                       .payload_len = 3};
    add(partition, offset, &d);
}

static void add_note(int32_t partition, int64_t offset, uint64_t time_ms, const char *replay) {
    const mr_dead d = {.cause = "replayed",
                       .message = "",
                       .topic = "t.dead",
                       .partition = partition,
                       .offset = offset,
                       .time_ms = time_ms,
                       .job_id = JOB,
                       .replay = replay,
                       .payload = ""};
    add(9, 1000 + offset, &d);
}

TEST(letters_are_in_order_and_complete) {
    char place[MR_LETTER_PLACE_LEN];

    add_letter(1, 5, 300, JOB);
    add_letter(0, 9, 100, JOB);
    add_letter(0, 7, 200, NULL);
    add_letter(1, 4, 200, OTHER);
    mr_letters_finish(&letters);
    CHECK_I64(letters.n, 4);
    CHECK_I64(letters.list[0].offset, 9);
    CHECK_I64(letters.list[1].offset, 7); /* the same time: by place */
    CHECK_I64(letters.list[2].offset, 4);
    CHECK_I64(letters.list[3].offset, 5);
    CHECK_STR(letters.list[0].cause, "poison");
    CHECK_STR(letters.list[0].message, "three deaths");
    CHECK_STR(letters.list[0].origin, "t.work.m");
    CHECK_I64(letters.list[0].origin_partition * 100 + letters.list[0].origin_offset, 317);
    CHECK_I64(letters.list[0].payload_len, 3);
    CHECK_STR(letters.list[1].job_id, "");

    mr_letter_place(&letters.list[3], place);
    CHECK_STR(place, "1:5");
    CHECK(mr_letter_is(&letters.list[3], "1:5") && mr_letter_is(&letters.list[3], JOB));
    CHECK(!mr_letter_is(&letters.list[3], OTHER) && !mr_letter_is(&letters.list[3], "1:55"));
    CHECK(!mr_letter_is(&letters.list[1], "")); /* no id is not an id */
    mr_letters_deinit(&letters);
}

TEST(a_note_finds_its_letter_wherever_it_stands) {
    add_note(0, 2, 50, JOB); /* read before its letter */
    add_letter(0, 1, 10, JOB);
    add_letter(0, 2, 20, JOB);
    add_letter(1, 2, 30, JOB);
    add_note(1, 2, 70, OTHER); /* twice: the newest counts */
    add_note(1, 2, 60, JOB);
    add_note(7, 7, 60, JOB); /* its letter is gone */
    mr_letters_finish(&letters);
    CHECK_I64(letters.n, 3);
    CHECK_STR(letters.list[0].replay, "");
    CHECK_STR(letters.list[1].replay, JOB);
    CHECK_I64(letters.list[1].replayed_ms, 50);
    CHECK_STR(letters.list[2].replay, OTHER);
    CHECK_I64(letters.list[2].replayed_ms, 70);
    mr_letters_deinit(&letters);
}

TEST(what_is_shown_is_harmless) {
    const mr_dead d = {.cause = "a\x1b[2Jb", .message = "c\nd\x7f", .topic = "t\r", .payload = ""};

    add(0, 0, &d);
    mr_letters_finish(&letters);
    CHECK_STR(letters.list[0].cause, "a?[2Jb");
    CHECK_STR(letters.list[0].message, "c?d?");
    CHECK_STR(letters.list[0].origin, "t?");
    mr_letters_deinit(&letters);
}

TEST(other_records_are_counted) {
    static const char alien[] = "{\"cause\":7}";

    add_bytes(0, 0, alien, sizeof alien - 1);
    add_bytes(0, 1, "\xff", 1);
    add_bytes(0, 2, NULL, 0); /* a tombstone says nothing */
    add_letter(0, 3, 1, "not an id");
    mr_letters_finish(&letters);
    CHECK_I64(letters.n, 1);
    CHECK_I64(letters.n_unreadable, 2);
    CHECK_STR(letters.list[0].job_id, "");
    mr_letters_deinit(&letters);
    mr_letters_finish(&letters); /* an empty one */
    CHECK_I64(letters.n, 0);
    mr_letters_deinit(&letters);
}

TEST(only_the_newest_are_kept) {
    const size_t n = 2 * (size_t)MR_LETTERS_MAX + 10;

    for (size_t i = 0; i < n; i++)
        add_letter(0, (int64_t)i, n - i, JOB); /* the newest come first */
    CHECK(letters.n <= 2 * (size_t)MR_LETTERS_MAX);
    mr_letters_finish(&letters);
    CHECK_I64(letters.n, MR_LETTERS_MAX);
    CHECK_I64(letters.n_forgotten, n - MR_LETTERS_MAX);
    CHECK_I64(letters.list[MR_LETTERS_MAX - 1].time_ms, n);
    CHECK_I64(letters.list[0].time_ms, n - MR_LETTERS_MAX + 1);
    mr_letters_deinit(&letters);
}

/* Goal: a list that is kept and added to shows the newest so many, and their notes. */
TEST(a_short_list_is_added_to) {
    letters.max = 3;
    for (int64_t i = 0; i < 20; i++) {
        add_letter(0, i, 100 + (uint64_t)i, JOB);
        add_note(0, i, 500, OTHER);
        mr_letters_finish(&letters);
        CHECK(letters.n <= 3 && letters.n_notes <= 12);
        CHECK_I64(letters.list[letters.n - 1].offset, i);
        CHECK_STR(letters.list[0].replay, OTHER);
    }
    mr_letters_deinit(&letters);
    CHECK_I64(letters.max, 0);
}

MR_TEST_MAIN
