/* Goal: tokens are taken over only from a stream that a worker left whole, and a stream that cannot
 * be gone on with is never mistaken for one that can. Method: streams as workers write them, then
 * the same with one thing wrong at each place; a case is good when tokens and text are what the
 * frames say, or nothing at all is taken and a restart is asked for with a reason. */
#include "tests/test.h"

#include "schemas/codec.h"
#include "worker/takeover.h"

#define JOB       "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"
#define OTHER_JOB "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e78"
#define N_VOCAB   1000
#define MAX       64
#define CAP       512

static mr_arena arena;
static mr_takeover_entry entries[MAX];
static char ids[MAX][48], frames[MAX][CAP];
static size_t n_entries;
static mr_takeover t;

static void add_raw(const char *id, const char *frame, size_t len) {
    CHECK(n_entries < MAX && len <= CAP);
    snprintf(ids[n_entries], sizeof ids[0], "%s", id);
    memcpy(frames[n_entries], frame, len);
    entries[n_entries] = (mr_takeover_entry){ids[n_entries], frames[n_entries], len};
    n_entries++;
}

static void add_frame(const mr_frame *fr) {
    char id[48], json[CAP];
    size_t n;

    snprintf(id, sizeof id, "%u-%llu", (unsigned)fr->attempt, (unsigned long long)fr->index);
    CHECK_I64(mr_codec_frame_encode(fr, json, sizeof json, &n), MR_OK);
    add_raw(id, json, n);
}

static mr_frame frame_of(mr_frame_type type, uint32_t attempt, uint64_t index) {
    mr_frame fr = {.type = type, .attempt = attempt, .index = index, .token = 100 + (int32_t)index};
    static char text[4][16];
    static unsigned at;

    memcpy(fr.job_id, JOB, sizeof JOB);
    fr.text = text[at++ % 4];
    fr.text_len = (size_t)snprintf(text[(at - 1) % 4], 16, "%u.%llu ", (unsigned)attempt,
                                   (unsigned long long)index);
    fr.finish_reason = "stop";
    return fr;
}

static void add_tokens(uint32_t attempt, uint64_t from, uint64_t to) {
    for (uint64_t i = from; i < to; i++) {
        const mr_frame fr = frame_of(MR_FRAME_TOKEN, attempt, i);
        add_frame(&fr);
    }
}

static void add_restart(uint32_t attempt) {
    const mr_frame fr = frame_of(MR_FRAME_RESTART, attempt, 0);
    add_frame(&fr);
}

static void begin(void) {
    n_entries = 0;
    mr_arena_reset(&arena);
}

static void read_it(bool ran_before, uint32_t max_tokens) {
    CHECK_I64(
        mr_takeover_read(&t, JOB, entries, n_entries, ran_before, N_VOCAB, max_tokens, &arena),
        MR_OK);
    CHECK_I64(t.attempt, 0); /* the caller's */
}

static void check_taken(size_t n, const char *text) {
    CHECK(!t.restart);
    CHECK_I64(t.n_tokens, n);
    for (size_t i = 0; i < n; i++) CHECK_I64(t.tokens[i], 100 + (int)i);
    CHECK_I64(t.text_len, strlen(text));
    CHECK(memcmp(t.text, text, t.text_len) == 0);
}

static void check_refused(const char *why) {
    CHECK(t.restart);
    CHECK_I64(t.n_tokens, 0);
    CHECK_I64(t.text_len, 0);
    if (!strstr(t.why, why)) fail_msg("\"%s\" does not mention \"%s\"", t.why, why);
}

TEST(nothing_there_is_a_first_run_or_a_loss) {
    begin();
    read_it(false, 10);
    check_taken(0, "");
    read_it(true, 10);
    check_refused("earlier run");
}

TEST(the_tokens_of_one_attempt_are_taken) {
    begin();
    add_tokens(1, 0, 3);
    read_it(true, 10);
    check_taken(3, "1.0 1.1 1.2 ");
    read_it(false, 3); /* also when nobody knew, and up to the last token */
    check_taken(3, "1.0 1.1 1.2 ");
}

TEST(attempts_that_went_on_behind_each_other_are_one_answer) {
    begin();
    add_tokens(1, 0, 2);
    add_tokens(2, 2, 4);
    add_tokens(7, 4, 5);
    read_it(true, 10);
    check_taken(5, "1.0 1.1 2.2 2.3 7.4 ");
}

TEST(only_what_is_behind_the_last_restart_counts) {
    begin();
    add_tokens(1, 0, 4);
    add_restart(2);
    add_tokens(3, 0, 2);
    read_it(true, 10);
    check_taken(2, "3.0 3.1 ");
    add_restart(4); /* readers have been told, and have seen nothing since */
    read_it(true, 10);
    check_taken(0, "");
    begin();
    add_raw("1-0", "garbage", 7);
    add_tokens(1, 5, 6);
    add_restart(2);
    add_tokens(3, 0, 1);
    read_it(true, 10);
    check_taken(1, "3.0 ");
}

TEST(a_trimmed_stream_and_one_with_a_gap_are_refused) {
    begin();
    add_tokens(1, 2, 5);
    read_it(true, 10);
    check_refused("entry 0: token 2 where 0 is next");
    begin();
    add_tokens(1, 0, 2);
    add_tokens(1, 3, 5);
    read_it(true, 10);
    check_refused("entry 2: token 3 where 2 is next");
    begin();
    add_tokens(1, 0, 2);
    add_tokens(2, 1, 3); /* a repeat under another number */
    read_it(true, 10);
    check_refused("token 1 where 2 is next");
    begin();
    add_restart(2);
    add_tokens(3, 1, 2);
    read_it(true, 10);
    check_refused("token 1 where 0 is next");
}

TEST(a_stream_that_has_come_to_its_end_is_refused) {
    mr_frame done = frame_of(MR_FRAME_DONE, 1, 2);

    begin();
    add_tokens(1, 0, 2);
    add_frame(&done);
    read_it(true, 10);
    check_refused("entry 2");
}

TEST(what_somebody_else_wrote_is_refused) {
    mr_frame other = frame_of(MR_FRAME_TOKEN, 1, 1);

    memcpy(other.job_id, OTHER_JOB, sizeof OTHER_JOB);
    begin();
    add_tokens(1, 0, 1);
    add_frame(&other);
    read_it(true, 10);
    check_refused("entry 1");
    begin();
    add_tokens(1, 0, 2);
    memcpy(ids[1], "1-7", 4); /* a frame in another's place */
    read_it(true, 10);
    check_refused("entry 1");
    begin();
    add_tokens(1, 0, 1);
    add_raw("1-1", "", 0);
    read_it(true, 10);
    check_refused("entry 1");
    memcpy(ids[0], "1-00", 5);
    read_it(true, 10);
    check_refused("entry 0");
}

TEST(tokens_beyond_vocabulary_or_answer_are_refused) {
    mr_frame far = frame_of(MR_FRAME_TOKEN, 1, 1);

    begin();
    add_tokens(1, 0, 4);
    read_it(true, 3);
    check_refused("entry 3: more than the 3 tokens");
    begin();
    add_tokens(1, 0, 1);
    far.token = N_VOCAB;
    add_frame(&far);
    read_it(true, 10);
    check_refused("entry 1: token id 1000 of a vocabulary of 1000");
    begin();
    add_tokens(1, 0, 1);
    far.token = N_VOCAB - 1;
    add_frame(&far);
    read_it(true, 10);
    CHECK(!t.restart);
    CHECK_I64(t.tokens[1], N_VOCAB - 1);
}

/* Every byte of a good stream broken in turn: what is still taken must be what a frame says. */
TEST(no_broken_byte_is_taken_for_a_token) {
    size_t n_taken = 0;

    for (size_t e = 0; e < 3; e++) {
        for (size_t i = 0;; i++) {
            begin();
            add_tokens(1, 0, 3);
            if (i == entries[e].len) break;
            frames[e][i] ^= 0x11;
            read_it(true, 10);
            CHECK(t.restart == (t.n_tokens == 0));
            if (!t.restart) {
                n_taken++; /* a digit of the token or a letter of its text became another */
                CHECK_I64(t.n_tokens, 3);
                CHECK(t.text_len <= 12);
                for (size_t k = 0; k < 3; k++) CHECK(t.tokens[k] >= 0 && t.tokens[k] < N_VOCAB);
            }
        }
    }
    CHECK(n_taken > 0);
}

TEST(text_of_any_bytes_comes_through) {
    mr_frame fr = frame_of(MR_FRAME_TOKEN, 1, 0);

    begin();
    fr.text = "\x01\"\\\0\xF0\x9F\x98\x80";
    fr.text_len = 8;
    add_frame(&fr);
    fr = frame_of(MR_FRAME_TOKEN, 1, 1);
    fr.text_len = 0;
    add_frame(&fr);
    read_it(true, 10);
    CHECK_I64(t.n_tokens, 2);
    CHECK_I64(t.text_len, 8);
    CHECK(memcmp(t.text, "\x01\"\\\0\xF0\x9F\x98\x80", 8) == 0);
}

TEST(no_memory_is_said) {
    mr_arena small;

    begin();
    add_tokens(1, 0, 3);
    mr_arena_init(&small, 64);
    CHECK_I64(mr_takeover_read(&t, JOB, entries, n_entries, true, N_VOCAB, 10, &small), MR_ENOMEM);
    mr_arena_drop(&small);
    mr_arena_drop(&arena);
}

MR_TEST_MAIN
