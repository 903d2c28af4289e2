/* Goal: whatever comes between a record and its answer, the record is answered once, its slot comes
 * back, and all is asked in the order that the promises need. Method: committer, stream and engine
 * thread are fakes (fakes.h); small cases, then a long random walk with deaths of the process. */
#include "tests/unit/worker/fakes.h"

#include <inttypes.h>

#define WORK  "millrace.work.demo"
#define VOCAB 100

typedef struct world {
    mr_jobs *jobs;
    mr_flow flow;
    mr_metrics metrics;
    int n_fatal, n_handed_back;
} world;

static world w;

static void on_nothing(void *owner) {
    (void)owner;
}

static void on_fatal(void *owner, mr_status status, const char *text) {
    (void)owner, (void)status, (void)text;
    w.n_fatal++;
}

static void on_handed_back(void *owner, const mr_job *j, mr_attempt_outcome outcome) {
    (void)owner, (void)j, (void)outcome;
    w.n_handed_back++;
}

static void open_flow(uint32_t max_jobs) {
    mr_err err = {0};

    memset(&w, 0, sizeof w);
    CHECK(MR_FLOW_SLOTS(max_jobs) <= N_SLOTS);
    CHECK_OK(mr_jobs_open(&w.jobs, MR_FLOW_SLOTS(max_jobs), &err), err);
    w.flow = (mr_flow){.max_jobs = max_jobs,
                       .max_deaths = 2,
                       .limits = {.model = "demo",
                                  .n_ctx = 64,
                                  .n_vocab = VOCAB,
                                  .kv_tokens = 1000,
                                  .default_max_tokens = 8},
                       .jobs = w.jobs,
                       .runner = &runner,
                       .stream = &stream,
                       .commit = &commit,
                       .control = &control,
                       .metrics = &w.metrics,
                       .answers = {.model = "demo",
                                   .worker = "w-1",
                                   .results_topic = "results",
                                   .dead_topic = "dead",
                                   .commit = &commit},
                       .on_change = on_nothing,
                       .on_room = on_nothing,
                       .on_fatal = on_fatal,
                       .on_handed_back = on_handed_back};
    CHECK_OK(mr_flow_init(&w.flow, &err), err);
}

static void assign(int64_t offset, const char *metadata) {
    mr_err err = {0};

    CHECK(mr_parts_assign(commit.parts, WORK, 0, offset, metadata, strlen(metadata), NULL, &err) >=
          0);
}

static void open_world(uint32_t max_jobs) {
    mr_err err = {0};

    memset(&commit, 0, sizeof commit);
    memset(&stream, 0, sizeof stream);
    memset(&runner, 0, sizeof runner);
    memset(&control, 0, sizeof control);
    trace[0] = 0;
    CHECK_OK(mr_parts_open(&commit.parts, 128, &err), err);
    open_flow(max_jobs);
    assign(100, "");
}

static void close_flow(void) {
    mr_flow_deinit(&w.flow);
    mr_jobs_close(w.jobs);
}

static void close_world(void) {
    close_flow();
    for (size_t i = 0; i < commit.n; i++) {
        for (size_t k = 0; k < commit.items[i].n; k++) free(commit.items[i].value[k]);
    }
    mr_parts_close(commit.parts);
}

/* ---- records ---- */

static void set_id(char id[MR_JOB_ID_LEN + 1], int64_t offset) {
    snprintf(id, MR_JOB_ID_LEN + 1, "0193b7a0-0000-7000-8000-%012d", (int)offset);
}

static mr_job_spec a_job(int64_t offset) {
    static const int32_t prompt[] = {1, 2, 3};
    mr_job_spec spec;

    mr_codec_job_defaults(&spec);
    set_id(spec.job_id, offset);
    spec.input = MR_INPUT_TOKENS;
    spec.tokens = prompt;
    spec.n_tokens = 3;
    spec.attempt = 1;
    spec.received_ms = 1;
    return spec;
}

static mr_status give_bytes(int64_t offset, const void *bytes, size_t n) {
    const mr_kafka_msg m = {.topic = WORK, .offset = offset, .value = bytes, .len = n};

    return mr_flow_record(&w.flow, &m);
}

static mr_status give_spec(int64_t offset, const mr_job_spec *spec) {
    const void *bytes = NULL;
    mr_arena arena;
    mr_status st;
    size_t n = 0;

    mr_arena_init(&arena, 0);
    CHECK_I64(mr_codec_job_encode(spec, MR_FORMAT_MSGPACK, true, &arena, &bytes, &n), MR_OK);
    st = give_bytes(offset, bytes, n);
    mr_arena_drop(&arena);
    return st;
}

static mr_status give(int64_t offset) {
    const mr_job_spec spec = a_job(offset);
    return give_spec(offset, &spec);
}

static mr_job *job_of(int64_t offset) {
    char id[MR_JOB_ID_LEN + 1];

    set_id(id, offset);
    return mr_jobs_find(w.jobs, id);
}

/* ---- what others tell the flow ---- */

static void claimed_with(int64_t offset, const int32_t *tokens, size_t n, const char *text) {
    const mr_takeover t = {
        .attempt = 7, .tokens = tokens, .n_tokens = n, .text = text, .text_len = strlen(text)};
    const uint32_t slot = job_of(offset)->slot;

    CHECK(stream.lanes[slot].used);
    stream.lanes[slot].attempt = 7;
    mr_flow_claimed(&w.flow, slot, &t);
}

static void claimed(int64_t offset) {
    claimed_with(offset, NULL, 0, "");
}

static mr_event event_of(uint32_t slot, mr_event_kind kind) {
    mr_event ev = {.kind = kind, .slot = slot, .at_ms = 5};
    return ev;
}

static void tell(uint32_t slot, mr_event_kind kind) {
    const mr_event ev = event_of(slot, kind);
    mr_flow_event(&w.flow, &ev);
}

static void tell_token(uint32_t slot, uint32_t index, int32_t token, const char *text, bool taken) {
    mr_event ev = event_of(slot, MR_EVENT_TOKEN);

    ev.index = index;
    ev.token = token;
    ev.taken = taken;
    ev.text_len = (uint32_t)strlen(text);
    memcpy(ev.text, text, ev.text_len);
    mr_flow_event(&w.flow, &ev);
}

static void tell_end(uint32_t slot, mr_end end) {
    mr_event ev = event_of(slot, MR_EVENT_END);

    ev.end = end;
    runner.jobs[slot].used = false;
    mr_flow_event(&w.flow, &ev);
}

/* From the record to the engine thread. */
static uint32_t start(int64_t offset) {
    CHECK_I64(give(offset), MR_OK);
    decide(MR_OK);
    claimed(offset);
    return job_of(offset)->slot;
}

static mr_result result_of(const asked *a, mr_arena *arena) {
    mr_err err = {0};
    mr_result r;

    CHECK_STR(a->topic[0], "results");
    CHECK_OK(mr_codec_result_decode(&r, MR_FORMAT_JSON, a->value[0], a->len[0], arena, &err), err);
    return r;
}

static asked *last_asked(void) {
    return &commit.items[commit.n - 1];
}

/* The newest answer has this status, error code ("": none) and text. */
static void check_answer(mr_job_status status, const char *code, const char *text) {
    mr_arena arena;
    mr_result r;

    mr_arena_init(&arena, 0);
    r = result_of(last_asked(), &arena);
    CHECK_I64(r.status, status);
    CHECK_STR(r.error.code ? r.error.code : "", code);
    CHECK_STR(r.text, text);
    mr_arena_drop(&arena);
}

/* ---- the straight way ---- */

TEST(a_job_is_marked_then_claimed_then_started_then_answered) {
    mr_arena arena;
    mr_result r;
    uint32_t slot;

    open_world(2);
    CHECK_I64(give(100), MR_OK);
    CHECK_STR(trace, "mark");
    CHECK_I64(decide(MR_OK), 1);
    CHECK_STR(trace, "mark claim");
    claimed(100);
    CHECK_STR(trace, "mark claim start");
    slot = job_of(100)->slot;
    CHECK_I64(runner.jobs[slot].work.n_taken, 0);
    CHECK_I64(runner.jobs[slot].work.max_new, 8);
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 11, "he", false);
    tell_token(slot, 1, 12, "", false);
    tell_token(slot, 2, 13, "llo", false);
    CHECK_I64(stream.lanes[slot].n_made, 3);
    tell_end(slot, MR_END_LENGTH);
    CHECK_STR(trace, "mark claim start end send");
    mr_arena_init(&arena, 0);
    r = result_of(last_asked(), &arena);
    CHECK_STR(r.text, "hello");
    CHECK_I64(r.attempt, 7); /* that of its frames */
    CHECK_I64(r.completion_tokens, 3);
    CHECK_I64(w.metrics.jobs[MR_STATUS_SUCCEEDED], 0); /* not before it is committed */
    CHECK_I64(decide(MR_OK), 1);
    CHECK_I64(w.metrics.jobs[MR_STATUS_SUCCEEDED], 1);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(mr_parts_commit(commit.parts, 0, NULL, 0), 101);
    mr_arena_drop(&arena);
    close_world();
}

TEST(frames_are_made_from_memory) {
    mr_stream_frame fr;
    uint32_t slot;

    open_world(2);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 11, "", false);
    tell_token(slot, 1, 12, "he", false);
    tell_token(slot, 2, 13, "llo", false);
    mr_flow_frame(&w.flow, slot, 0, &fr);
    CHECK_I64(fr.token, 11);
    CHECK_I64(fr.text_len, 0);
    mr_flow_frame(&w.flow, slot, 2, &fr);
    CHECK_I64(fr.token, 13);
    CHECK_I64(fr.text_len, 3);
    CHECK(memcmp(fr.text, "llo", 3) == 0);
    close_world();
}

TEST(the_answer_waits_for_the_last_frame) {
    uint32_t slot;

    open_world(2);
    stream.lingers = true;
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    tell_end(slot, MR_END_STOP);
    CHECK_STR(trace, "mark claim start end");
    stream.lanes[slot].used = false;
    mr_flow_stream_closed(&w.flow, slot, true);
    CHECK_STR(trace, "mark claim start end send");
    decide(MR_OK);
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

TEST(nothing_starts_without_its_mark) {
    open_world(2);
    CHECK_I64(give(100), MR_OK);
    CHECK(mr_flow_commit_wait_ms(&w.flow, UINT64_MAX) > 0);
    decide(MR_ECANCELED); /* its partition is another's */
    CHECK_STR(trace, "mark");
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(mr_flow_commit_wait_ms(&w.flow, UINT64_MAX), 0);
    close_world();
}

TEST(a_mark_without_room_is_asked_for_again) {
    open_world(2);
    commit.says_mark = MR_ELIMIT;
    CHECK_I64(give(100), MR_OK);
    CHECK_STR(trace, "");
    commit.says_mark = MR_OK;
    mr_flow_tick(&w.flow);
    CHECK_STR(trace, "mark");
    close_world();
}

TEST(room_is_bounded) {
    open_world(8); /* and 3 ahead */
    for (int64_t off = 100; off < 111; off++) CHECK_I64(give(off), MR_OK);
    CHECK_I64(give(111), MR_ELIMIT);
    commit.full = true;
    close_flow();
    open_flow(8);
    CHECK_I64(give(111), MR_ELIMIT);
    commit.full = false;
    CHECK_I64(give(111), MR_OK);
    close_world();
}

/* ---- answers that need no engine ---- */

TEST(what_cannot_be_run_is_answered_at_once) {
    mr_job_spec spec;

    open_world(4);
    spec = a_job(100);
    spec.model = "huge";
    CHECK_I64(give_spec(100, &spec), MR_OK);
    check_answer(MR_STATUS_REJECTED, "unknown_model", "");
    spec = a_job(101);
    spec.expires_ms = 5;
    CHECK_I64(give_spec(101, &spec), MR_OK);
    check_answer(MR_STATUS_EXPIRED, "expired", "");
    set_id(control.cancelled, 102);
    CHECK_I64(give(102), MR_OK);
    check_answer(MR_STATUS_CANCELLED, "cancelled", "");
    CHECK_STR(trace, "send send send");
    decide(MR_OK);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(mr_parts_commit(commit.parts, 0, NULL, 0), 103);
    close_world();
}

TEST(bytes_that_are_no_job_become_a_dead_letter) {
    mr_arena arena;
    mr_dead d;
    mr_err err = {0};

    open_world(4);
    mr_arena_init(&arena, 0);
    CHECK_I64(give_bytes(100, "{nonsense", 9), MR_OK);
    CHECK_I64(last_asked()->n, 1);
    CHECK_STR(last_asked()->topic[0], "dead");
    CHECK_OK(mr_codec_dead_decode(&d, last_asked()->value[0], last_asked()->len[0], &arena, &err),
             err);
    CHECK_STR(d.topic, WORK);
    CHECK_I64(d.offset, 100);
    CHECK_I64(d.payload_len, 9);
    CHECK_I64(give_bytes(101, NULL, 0), MR_OK); /* a tombstone needs no answer */
    CHECK_I64(last_asked()->n, 0);
    decide(MR_OK);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(mr_parts_commit(commit.parts, 0, NULL, 0), 102);
    mr_arena_drop(&arena);
    close_world();
}

TEST(a_record_that_comes_twice_is_run_once) {
    mr_job_spec spec;

    open_world(4);
    CHECK_I64(give(100), MR_OK);
    CHECK_I64(give(100), MR_OK); /* delivered again */
    spec = a_job(100);
    CHECK_I64(give_spec(101, &spec), MR_OK); /* the same job at another offset */
    CHECK_STR(trace, "mark send");
    CHECK_I64(last_asked()->n, 0);
    CHECK_I64(w.metrics.duplicates, 1);
    close_world();
}

/* ---- answers that are refused ---- */

TEST(a_result_that_is_refused_becomes_a_short_one) {
    uint32_t slot;

    open_world(2);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    for (uint32_t i = 0; i < 100; i++) tell_token(slot, i, 11, "abcdefghijklmnopqrst", false);
    commit.most_bytes = 1500; /* at once */
    tell_end(slot, MR_END_LENGTH);
    check_answer(MR_STATUS_FAILED, "result_too_large", "");
    decide(MR_EINVAL); /* and by the brokers: nothing shorter is left */
    CHECK_I64(mr_flow_idle(&w.flow), false);
    CHECK_I64(w.n_fatal, 0);
    CHECK_I64(commit.n, 2);
    job_of(100)->retry_at_ms = 0;
    mr_flow_tick(&w.flow);
    CHECK_I64(commit.n, 3);
    decide(MR_OK);
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

TEST(an_answer_without_room_keeps_its_slot_and_is_sent_later) {
    uint32_t slot;

    open_world(2);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    commit.says_send = MR_ELIMIT;
    tell_end(slot, MR_END_STOP);
    CHECK(!mr_flow_idle(&w.flow));
    commit.says_send = MR_OK;
    mr_flow_tick(&w.flow);
    check_answer(MR_STATUS_SUCCEEDED, "", "");
    decide(MR_OK);
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

TEST(an_answer_that_is_cancelled_is_left_to_another_worker) {
    uint32_t slot;

    open_world(2);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    tell_end(slot, MR_END_STOP);
    decide(MR_ECANCELED);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(w.metrics.jobs[MR_STATUS_SUCCEEDED], 0);
    CHECK_I64(w.metrics.jobs_dropped, 1);
    close_world();
}

/* ---- take-over ---- */

static const int32_t shown[] = {21, 22, 23};

static uint32_t take_over(bool logprobs) {
    mr_job_spec spec = a_job(100);

    spec.params.logprobs = logprobs;
    CHECK_I64(give_spec(100, &spec), MR_OK);
    decide(MR_OK);
    claimed_with(100, shown, 3, "abc");
    return job_of(100)->slot;
}

TEST(a_job_goes_on_behind_what_readers_were_shown) {
    uint32_t slot;

    open_world(2);
    slot = take_over(false);
    CHECK_I64(runner.jobs[slot].work.n_taken, 3);
    CHECK(memcmp(runner.jobs[slot].work.taken, shown, sizeof shown) == 0);
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 21, "a", true);
    tell_token(slot, 1, 22, "", true);
    tell_token(slot, 2, 23, "bc", true);
    tell_token(slot, 3, 24, "d", false);
    CHECK_I64(w.metrics.inter_token.sum_ms, 0);
    tell_end(slot, MR_END_STOP);
    CHECK_I64(stream.lanes[slot].restarts, 0);
    check_answer(MR_STATUS_SUCCEEDED, "", "abcd");
    close_world();
}

TEST(text_that_differs_starts_the_stream_again) {
    static const struct {
        int32_t token;
        const char *text;
    } cases[] = {{21, "x"}, {99, "a"}, {21, "abcd"}};
    uint32_t slot;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        open_world(2);
        slot = take_over(false);
        tell(slot, MR_EVENT_STARTED);
        tell_token(slot, 0, cases[i].token, cases[i].text, true);
        tell_token(slot, 1, 22, "y", true); /* once is enough */
        CHECK_I64(stream.lanes[slot].restarts, 1);
        CHECK_I64(stream.lanes[slot].n_made, 2);
        tell_end(slot, MR_END_STOP);
        close_world();
    }
    open_world(2);
    slot = take_over(false);
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 21, "a", true);
    tell_token(slot, 1, 22, "", true);
    CHECK_I64(stream.lanes[slot].restarts, 0);
    tell_token(slot, 2, 23, "b", true); /* the rest was shown, and is not made */
    CHECK_I64(stream.lanes[slot].restarts, 1);
    close_world();
}

TEST(a_job_with_logprobs_is_made_again_under_the_same_stream) {
    uint32_t slot;

    open_world(2);
    slot = take_over(true);
    CHECK_I64(runner.jobs[slot].work.n_taken, 0);
    close_world();
}

TEST(a_job_that_ends_early_keeps_what_readers_were_shown) {
    uint32_t slot;
    mr_stream_frame fr;

    open_world(2);
    slot = take_over(false);
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 21, "a", true);
    tell_end(slot, MR_END_CANCELLED);
    CHECK_I64(stream.lanes[slot].restarts, 0);
    CHECK_I64(stream.lanes[slot].n_made, 3);
    mr_flow_frame(&w.flow, slot, 2, &fr);
    CHECK_I64(fr.token, 23);
    check_answer(MR_STATUS_CANCELLED, "cancelled", "abc");
    close_world();
}

TEST(a_job_cancelled_before_its_claim_keeps_it_too) {
    open_world(2);
    CHECK_I64(give(100), MR_OK);
    decide(MR_OK);
    mr_flow_cancel(&w.flow, job_of(100)->spec.job_id);
    claimed_with(100, shown, 3, "abc");
    CHECK_STR(trace, "mark claim end send");
    check_answer(MR_STATUS_CANCELLED, "cancelled", "abc");
    close_world();
}

/* ---- cancel and deadline ---- */

TEST(a_cancel_reaches_a_job_wherever_it_is) {
    uint32_t slot;

    open_world(4);
    slot = start(100);
    CHECK_I64(give(101), MR_OK); /* marking */
    commit.says_mark = MR_ELIMIT;
    CHECK_I64(give(102), MR_OK); /* waits */
    for (int64_t off = 100; off < 103; off++) {
        mr_flow_cancel(&w.flow, job_of(off)->spec.job_id);
        mr_flow_cancel(&w.flow, job_of(off)->spec.job_id); /* may repeat */
    }
    check_answer(MR_STATUS_CANCELLED, "cancelled", "");
    commit.says_mark = MR_OK;
    trace[0] = 0;
    mr_flow_tick(&w.flow);
    CHECK_STR(trace, ""); /* what has ended does not start */
    CHECK(runner.jobs[slot].cancelled);
    tell_end(slot, MR_END_CANCELLED);
    decide(MR_OK);
    claimed(101);
    check_answer(MR_STATUS_CANCELLED, "cancelled", "");
    decide(MR_OK);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(w.flow.n_active, 0);
    CHECK_I64(w.metrics.jobs[MR_STATUS_CANCELLED], 3);
    close_world();
}

TEST(a_deadline_passes_while_a_job_waits_for_its_turn) {
    mr_job_spec spec;

    open_world(4);
    commit.says_mark = MR_ELIMIT;
    spec = a_job(100);
    spec.expires_ms = UINT64_MAX / 2;
    CHECK_I64(give_spec(100, &spec), MR_OK);
    mr_flow_tick(&w.flow);
    CHECK_I64(commit.n, 0);
    job_of(100)->spec.expires_ms = 5;
    mr_flow_tick(&w.flow);
    check_answer(MR_STATUS_EXPIRED, "expired", "");
    close_world();
}

/* ---- partitions that go away ---- */

TEST(what_runs_is_unmarked_and_flushed_before_its_partition_goes) {
    const int32_t gone = 0;
    uint32_t slot;

    open_world(4);
    slot = start(100);
    trace[0] = 0;
    mr_flow_revoke(&w.flow, WORK, &gone, 1, false);
    CHECK_STR(trace, "unmark drop cancel flush revoke");
    CHECK_I64(w.n_handed_back, 1);
    CHECK(!mr_flow_idle(&w.flow)); /* the engine has it still */
    tell_token(slot, 0, 11, "late", false);
    tell_end(slot, MR_END_CANCELLED);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(w.flow.n_active, 0);
    close_world();
}

TEST(an_answer_under_way_is_committed_before_its_partition_goes) {
    const int32_t gone = 0;
    uint32_t slot;

    open_world(4);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    tell_end(slot, MR_END_STOP);
    trace[0] = 0;
    mr_flow_revoke(&w.flow, WORK, &gone, 1, false);
    CHECK_STR(trace, "flush revoke");
    CHECK_I64(w.metrics.jobs[MR_STATUS_SUCCEEDED], 1);
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

TEST(of_a_lost_partition_nothing_is_committed) {
    const int32_t gone = 0;
    uint32_t slot;

    open_world(4);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    tell_end(slot, MR_END_STOP);
    slot = start(101);
    CHECK_I64(give(102), MR_OK);
    trace[0] = 0;
    mr_flow_revoke(&w.flow, WORK, &gone, 1, true);
    CHECK_STR(trace, "drop cancel revoke");
    tell_end(slot, MR_END_CANCELLED);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(give(103), MR_OK); /* not ours: skipped */
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

TEST(an_abandoned_worker_starts_nothing_more) {
    uint32_t slot;

    open_world(2);
    slot = start(100);
    commit.says_mark = MR_ELIMIT;
    CHECK_I64(give(101), MR_OK);
    commit.says_mark = MR_OK;
    trace[0] = 0;
    mr_flow_abandon(&w.flow, MR_ATTEMPT_DRAINED);
    mr_flow_tick(&w.flow);
    CHECK_STR(trace, "unmark drop cancel unmark");
    tell_end(slot, MR_END_CANCELLED);
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

/* ---- deaths ---- */

/* The process dies; another one gets the partition with what was committed. */
static void die(void) {
    const mr_flow before = w.flow;
    const mr_metrics metrics = w.metrics;

    commit.next = mr_parts_commit(commit.parts, 0, commit.metadata, sizeof commit.metadata);
    mr_parts_revoke(commit.parts, 0);
    close_flow();
    for (size_t i = 0; i < commit.n; i++) commit.items[i].decided = true;
    memset(&stream, 0, sizeof stream);
    memset(&runner, 0, sizeof runner);
    open_flow(before.max_jobs);
    w.flow.max_deaths = before.max_deaths;
    w.metrics = metrics;
    assign(commit.next, commit.metadata);
    trace[0] = 0;
}

TEST(a_job_that_kills_its_workers_ends_as_poison_with_a_dead_letter) {
    mr_arena arena;
    mr_dead d;
    mr_err err = {0};

    open_world(4); /* max_deaths 2 */
    start(100);
    start(101);
    die();
    CHECK_I64(give(100), MR_OK);
    CHECK_I64(give(101), MR_OK);
    CHECK_I64(give(102), MR_OK); /* innocent, and waits */
    CHECK_STR(trace, "mark");
    decide(MR_OK);
    CHECK(stream.lanes[job_of(100)->slot].ran_before);
    CHECK_I64(job_of(102)->deaths, 0);
    claimed(100);
    tell(job_of(100)->slot, MR_EVENT_STARTED);
    die();
    CHECK_I64(give(100), MR_OK);
    CHECK_STR(trace, "send");
    CHECK_I64(last_asked()->n, 2);
    check_answer(MR_STATUS_FAILED, "poison", "");
    CHECK_STR(last_asked()->topic[1], "dead");
    mr_arena_init(&arena, 0);
    CHECK_OK(mr_codec_dead_decode(&d, last_asked()->value[1], last_asked()->len[1], &arena, &err),
             err);
    CHECK_STR(d.cause, "poison");
    CHECK_STR(d.job_id, job_of(100)->spec.job_id);
    CHECK_I64(d.offset, 100);
    CHECK(strstr(d.message, "2 worker processes") && strstr(d.message, "w-1"));
    CHECK(d.payload_len > 0);
    mr_arena_drop(&arena);
    CHECK_I64(give(101), MR_OK); /* has died once, not twice: it was not running */
    CHECK_STR(trace, "send mark");
    close_world();
}

TEST(a_job_handed_over_in_good_order_is_no_suspect) {
    const int32_t gone = 0;
    uint32_t slot;

    open_world(4);
    slot = start(100);
    mr_flow_revoke(&w.flow, WORK, &gone, 1, false);
    assign(commit.next, commit.metadata); /* it comes back at once */
    CHECK_I64(give(100), MR_OK);
    CHECK(job_of(100)->slot != slot); /* the engine has the old one still */
    CHECK_I64(job_of(100)->deaths, 0);
    CHECK(job_of(100)->ran_before);
    tell_end(slot, MR_END_CANCELLED);
    decide(MR_OK);
    claimed(100);
    close_world();
}

/* ---- a long walk ---- */

static uint64_t random_state;

static uint32_t draw(uint32_t below) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

static void move_engine(uint32_t slot) {
    const mr_job *j = mr_jobs_at(w.jobs, slot);

    if (!runner.jobs[slot].used) return;
    if (runner.jobs[slot].cancelled) {
        tell_end(slot, MR_END_CANCELLED);
    } else if (j->state == MR_JOB_ADMITTED) {
        tell(slot, MR_EVENT_STARTED);
    } else if (draw(3) == 0) {
        tell_end(slot, draw(2) ? MR_END_STOP : MR_END_LENGTH);
    } else if (!j->orphan) {
        tell_token(slot, j->n_generated, 11, "x", false);
    }
}

static void move_claims(uint32_t slot) {
    const mr_takeover none = {.attempt = 1, .text = ""};

    if (!stream.lanes[slot].used || runner.jobs[slot].used) return;
    if (mr_jobs_at(w.jobs, slot)->state == MR_JOB_ADMITTED) mr_flow_claimed(&w.flow, slot, &none);
}

static void decide_some(void) {
    for (size_t i = 0; i < commit.n; i++) {
        asked *a = &commit.items[i];
        if (!a->decided && draw(2))
            decide_item(a, mr_parts_holds(commit.parts, a->at) ? MR_OK : MR_ECANCELED);
    }
}

/* The partition goes and comes back; returns the first offset that is delivered then. */
static int64_t rebalance(bool lost) {
    const int32_t gone = 0;

    mr_flow_revoke(&w.flow, WORK, &gone, 1, lost);
    assign(commit.next, commit.metadata);
    return commit.next;
}

#define WALK_JOBS 40

static int64_t walk_step(int64_t next, bool calm) {
    if (next < 100 + WALK_JOBS && give(next) == MR_OK) next++;
    for (uint32_t s = 0; s < mr_jobs_n(w.jobs); s++) {
        if (draw(2)) move_claims(s);
        if (draw(2)) move_engine(s);
    }
    decide_some();
    if (draw(10) == 0) mr_flow_tick(&w.flow);
    if (calm) return next;
    if (draw(40) == 0) {
        die();
        return commit.next;
    }
    return draw(20) == 0 ? rebalance(draw(4) == 0) : next;
}

static void check_walk(void) {
    int n_answers[WALK_JOBS] = {0};

    for (size_t i = 0; i < commit.n; i++) {
        if (commit.items[i].n > 0 && commit.items[i].committed)
            n_answers[commit.items[i].at.offset - 100]++;
    }
    for (int i = 0; i < WALK_JOBS; i++) CHECK_I64(n_answers[i], 1);
    for (uint32_t s = 0; s < mr_jobs_n(w.jobs); s++) {
        while (runner.jobs[s].used) move_engine(s);
    }
    decide(MR_ECANCELED);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(w.flow.n_active, 0);
    CHECK_I64(w.n_fatal, 0);
}

TEST(after_any_walk_each_record_is_answered_once) {
    for (uint32_t seed = 1; seed <= 300; seed++) {
        int64_t next = 100;

        random_state = seed;
        open_world(4);
        w.flow.max_deaths = 15;
        for (int step = 0; mr_parts_commit(commit.parts, 0, NULL, 0) < 100 + WALK_JOBS; step++) {
            CHECK(step < 5000);
            next = walk_step(next, step >= 200);
        }
        check_walk();
        close_world();
    }
}

MR_TEST_MAIN
