/* Goal: what an attempt could not do is no answer: the job goes back once, with what happened, and
 * its stream is left as it is; and nothing else goes back. Method: as test_flow.c; the records that
 * go back are decoded. */
#include "tests/unit/worker/flow_world.h"

/* The newest record went to the dispatchers; its bytes live in the arena. */
static mr_job_spec sent_back(mr_arena *arena) {
    const asked *a = last_asked();
    mr_codec_error why;
    mr_job_spec spec;

    CHECK_I64(a->n, 1);
    CHECK_STR(a->topic[0], "attempts");
    CHECK_I64(
        mr_codec_job_decode(&spec, MR_FORMAT_MSGPACK, a->value[0], a->len[0], true, arena, &why),
        MR_OK);
    return spec;
}

static void check_past(const mr_past *p, uint32_t attempt, mr_attempt_outcome outcome,
                       const char *message) {
    CHECK_I64(p->attempt, attempt);
    CHECK_I64(p->outcome, outcome);
    CHECK_STR(p->worker, "w-1");
    CHECK_STR(p->message, message);
    CHECK(p->time_ms > 0);
}

static void tell_failure(uint32_t slot, mr_end end, const char *why) {
    mr_event ev = event_of(slot, MR_EVENT_END);

    ev.end = end;
    ev.text_len = (uint32_t)snprintf(ev.text, sizeof ev.text, "%s", why);
    runner.jobs[slot].used = false;
    mr_flow_event(&w.flow, &ev);
}

/* ---- which ends go back ---- */

TEST(a_failed_step_sends_the_job_back) {
    mr_arena arena;
    mr_job_spec spec;
    uint32_t slot;

    open_world(2);
    mr_arena_init(&arena, 0);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 11, "he", false);
    trace[0] = 0;
    tell_failure(slot, MR_END_FAILED, "logits are not finite");
    CHECK_STR(trace, "drop send"); /* not `end`: nobody waits, and nothing says done */
    spec = sent_back(&arena);
    CHECK_I64(spec.attempt, 7); /* that of its frames: the next one's number is above */
    CHECK_I64(spec.n_history, 1);
    check_past(&spec.history[0], 7, MR_ATTEMPT_FAULT, "logits are not finite");
    CHECK_I64(spec.tries, 0); /* the dispatcher counts */
    CHECK_I64(spec.n_tokens, 3);
    CHECK_I64(w.flow.n_active, 0);
    CHECK_I64(w.metrics.returns[MR_ATTEMPT_FAULT], 0);
    decide(MR_OK);
    CHECK_I64(w.metrics.returns[MR_ATTEMPT_FAULT], 1);
    CHECK_I64(w.metrics.jobs[MR_STATUS_FAILED], 0);
    CHECK(mr_flow_idle(&w.flow));
    CHECK_I64(mr_parts_commit(commit.parts, 0, NULL, 0), 101);
    mr_arena_drop(&arena);
    close_world();
}

TEST(no_memory_sends_the_job_back_before_and_behind_its_start) {
    mr_arena arena;
    mr_job_spec spec;

    open_world(2);
    mr_arena_init(&arena, 0);
    tell_failure(start(100), MR_END_NO_MEMORY, "no room");
    spec = sent_back(&arena);
    check_past(&spec.history[0], 7, MR_ATTEMPT_OOM, "no room");
    runner.says = MR_ENOMEM;
    CHECK_I64(give(101), MR_OK);
    decide(MR_OK);
    trace[0] = 0;
    claimed(101);
    CHECK_STR(trace, "drop send");
    spec = sent_back(&arena);
    check_past(&spec.history[0], 7, MR_ATTEMPT_OOM, "as the test says");
    decide(MR_OK);
    CHECK_I64(w.metrics.returns[MR_ATTEMPT_OOM], 2);
    CHECK(mr_flow_idle(&w.flow));
    mr_arena_drop(&arena);
    close_world();
}

/* The same cancel, once because the job's own memory is full, once because the machine's is. */
TEST(no_memory_for_the_answer_is_not_the_jobs_fault) {
    mr_arena arena;
    mr_job_spec spec;
    uint32_t slot;

    open_world(2);
    mr_arena_init(&arena, 0);
    for (int64_t off = 100; off < 102; off++) {
        slot = start(off);
        tell(slot, MR_EVENT_STARTED);
        tell_token(slot, 0, 11, "he", false);
        job_of(off)->too_large = true;
        job_of(off)->arena.full = off == 100;
        tell_end(slot, MR_END_CANCELLED);
        if (off == 100) check_answer(MR_STATUS_FAILED, "result_too_large", "");
    }
    spec = sent_back(&arena);
    check_past(&spec.history[0], 7, MR_ATTEMPT_OOM, "no memory for what was made");
    mr_arena_drop(&arena);
    close_world();
}

TEST(a_job_that_is_too_long_here_goes_back_once) {
    static int32_t prompt[70];
    mr_arena arena;
    mr_job_spec spec;

    open_world(2);
    mr_arena_init(&arena, 0);
    spec = a_job(100);
    spec.tokens = prompt;
    spec.n_tokens = 70; /* the context holds 64 */
    CHECK_I64(give_spec(100, &spec), MR_OK);
    CHECK_STR(trace, "send");
    spec = sent_back(&arena);
    CHECK_I64(spec.need_tokens, 71);
    CHECK_I64(spec.attempt, 1);
    CHECK_I64(spec.history[0].outcome, MR_ATTEMPT_NO_FIT);
    CHECK(strstr(spec.history[0].message, "70 tokens; the context holds 64"));
    spec.attempt = 2;
    CHECK_I64(give_spec(101, &spec), MR_OK); /* delivered twice while the first is under way: */
    CHECK_I64(last_asked()->n, 0);           /* one answer */
    decide(MR_OK);
    CHECK_I64(give_spec(102, &spec), MR_OK); /* nobody larger is left */
    check_answer(MR_STATUS_REJECTED, "context_exceeded", "");
    decide(MR_OK);
    CHECK_I64(w.metrics.returns[MR_ATTEMPT_NO_FIT], 1);
    CHECK(mr_flow_idle(&w.flow));
    mr_arena_drop(&arena);
    close_world();
}

TEST(what_was_asked_to_end_does_not_go_back) {
    static const mr_end ends[] = {MR_END_FAILED, MR_END_NO_MEMORY};
    uint32_t slot;

    open_world(2);
    for (int64_t off = 100; off < 102; off++) {
        slot = start(off);
        tell(slot, MR_EVENT_STARTED);
        tell_token(slot, 0, 11, "he", false);
        mr_flow_cancel(&w.flow, job_of(off)->spec.job_id);
        tell_failure(slot, ends[off - 100], "it broke first");
        check_answer(MR_STATUS_CANCELLED, "cancelled", "he");
        decide(MR_OK);
    }
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

TEST(an_orphan_does_not_go_back) {
    const int32_t gone = 0;
    uint32_t slot;

    open_world(2);
    slot = start(100);
    mr_flow_revoke(&w.flow, WORK, &gone, 1, false);
    trace[0] = 0;
    tell_failure(slot, MR_END_NO_MEMORY, "no room");
    CHECK_STR(trace, "");
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

/* ---- what it carries ---- */

static const char *many(char *out, size_t n) {
    memset(out, 'x', n - 1);
    out[n - 1] = 0;
    return out;
}

TEST(history_grows_by_one_and_is_bounded) {
    static mr_past past[MR_JOB_MAX_HISTORY];
    static char long_text[MR_JOB_MAX_REASON + 100];
    mr_arena arena;
    mr_job_spec spec;
    mr_past last;

    open_world(2);
    mr_arena_init(&arena, 0);
    for (uint32_t i = 0; i < MR_JOB_MAX_HISTORY; i++)
        past[i] = (mr_past){i + 1, MR_ATTEMPT_OOM, "w-0", "earlier", 1000 + i};
    spec = a_job(100);
    spec.history = past;
    spec.n_history = MR_JOB_MAX_HISTORY;
    spec.backoffs = MR_JOB_MAX_HISTORY;
    spec.charged = 77;
    CHECK_I64(give_spec(100, &spec), MR_OK);
    decide(MR_OK);
    CHECK(stream.lanes[job_of(100)->slot].ran_before); /* readers may have seen something */
    claimed(100);
    tell_failure(job_of(100)->slot, MR_END_FAILED, many(long_text, sizeof long_text));
    spec = sent_back(&arena);
    CHECK_I64(spec.n_history, MR_JOB_MAX_HISTORY);
    CHECK_I64(spec.history[0].attempt, 2); /* the oldest has gone */
    last = spec.history[MR_JOB_MAX_HISTORY - 1];
    CHECK_I64(last.outcome, MR_ATTEMPT_FAULT);
    CHECK_I64(strlen(last.message), MR_JOB_MAX_REASON);
    CHECK_I64(spec.backoffs, MR_JOB_MAX_HISTORY);
    CHECK_I64(spec.charged, 77);
    mr_arena_drop(&arena);
    close_world();
}

TEST(a_job_that_never_ran_has_shown_nothing) {
    const mr_past no_fit = {1, MR_ATTEMPT_NO_FIT, "w-0", "too long", 1000};
    mr_job_spec spec;

    open_world(2);
    spec = a_job(100);
    spec.history = &no_fit;
    spec.n_history = 1;
    CHECK_I64(give_spec(100, &spec), MR_OK);
    decide(MR_OK);
    CHECK(!stream.lanes[job_of(100)->slot].ran_before);
    close_world();
}

/* The tokens that readers were shown stay, also those that were not made again here. */
TEST(the_stream_stays_as_it_is) {
    static const int32_t shown[] = {21, 22, 23};
    uint32_t slot;

    open_world(2);
    CHECK_I64(give(100), MR_OK);
    decide(MR_OK);
    claimed_with(100, shown, 3, "abc");
    slot = job_of(100)->slot;
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 21, "a", true);
    tell_failure(slot, MR_END_NO_MEMORY, "no room");
    CHECK_I64(stream.lanes[slot].restarts, 0);
    CHECK_I64(stream.lanes[slot].n_made, 1);
    close_world();
}

/* ---- what is refused ---- */

static mr_job_spec with_history(int64_t offset) {
    static mr_past past[4];
    mr_job_spec spec = a_job(offset);

    for (uint32_t i = 0; i < MR_COUNT(past); i++)
        past[i] = (mr_past){i + 1, MR_ATTEMPT_OOM, "w-0", "some words about what happened", 1000};
    spec.history = past;
    spec.n_history = MR_COUNT(past);
    return spec;
}

static void fail_with_history(int64_t offset) {
    const mr_job_spec spec = with_history(offset);

    CHECK_I64(give_spec(offset, &spec), MR_OK);
    decide(MR_OK);
    claimed(offset);
    tell_failure(job_of(offset)->slot, MR_END_FAILED, "some words about what happened");
}

TEST(a_record_that_has_grown_too_large_loses_its_history) {
    mr_arena arena;
    mr_job_spec spec;

    open_world(2);
    mr_arena_init(&arena, 0);
    commit.most_bytes = 350; /* at once */
    fail_with_history(100);
    spec = sent_back(&arena);
    CHECK_I64(spec.n_history, 1);
    check_past(&spec.history[0], 7, MR_ATTEMPT_FAULT, "");
    commit.most_bytes = 0;
    decide(MR_EINVAL); /* and by the brokers */
    check_answer(MR_STATUS_FAILED, "engine_error", "");
    decide(MR_OK);
    CHECK_I64(w.metrics.jobs[MR_STATUS_FAILED], 1);
    CHECK_I64(w.metrics.returns[MR_ATTEMPT_FAULT], 0);
    CHECK(mr_flow_idle(&w.flow));
    mr_arena_drop(&arena);
    close_world();
}

TEST(without_its_topic_it_waits) {
    open_world(2);
    fail_with_history(100);
    decide(MR_ENOTFOUND);
    CHECK_I64(w.n_fatal, 0);
    CHECK(!mr_flow_idle(&w.flow));
    job_of(100)->retry_at_ms = 0;
    mr_flow_tick(&w.flow);
    CHECK_STR(last_asked()->topic[0], "attempts");
    decide(MR_OK);
    CHECK_I64(w.metrics.returns[MR_ATTEMPT_FAULT], 1);
    CHECK(mr_flow_idle(&w.flow));
    close_world();
}

/* ---- what is computed again ---- */

static void tell_resumed(uint32_t slot, uint32_t n_known) {
    mr_event ev = event_of(slot, MR_EVENT_RESUMED);

    ev.index = n_known;
    mr_flow_event(&w.flow, &ev);
}

/* Of its prompt of 3 tokens one is cached; 40 were wasted before. */
TEST(what_an_attempt_computes_again_is_counted_over_all_attempts) {
    static const mr_past before = {1, MR_ATTEMPT_FAULT, "w-2", "a", 8};
    mr_job_spec spec = a_job(100);
    mr_arena arena;
    mr_event ev;
    uint32_t slot;

    open_world(2);
    mr_arena_init(&arena, 0);
    spec.history = &before;
    spec.n_history = 1;
    spec.wasted_tokens = 40;
    CHECK_I64(give_spec(100, &spec), MR_OK);
    decide(MR_OK);
    claimed(100);
    slot = job_of(100)->slot;
    ev = event_of(slot, MR_EVENT_STARTED);
    ev.index = 1;
    mr_flow_event(&w.flow, &ev);
    tell_failure(slot, MR_END_FAILED, "again");
    CHECK_I64(sent_back(&arena).wasted_tokens, 42);
    CHECK_I64(w.metrics.wasted_tokens, 2);
    decide(MR_OK);
    mr_arena_drop(&arena);
    close_world();
}

/* ---- seats ---- */

TEST(a_displaced_job_runs_on_in_its_result) {
    mr_arena arena;
    mr_result r;
    uint32_t slot;

    open_world(2);
    mr_arena_init(&arena, 0);
    slot = start(100);
    tell(slot, MR_EVENT_STARTED);
    tell_token(slot, 0, 11, "he", false);
    tell(slot, MR_EVENT_DISPLACED);
    tell_resumed(slot, 1); /* of 3 prompt tokens and 1 made */
    tell(slot, MR_EVENT_DISPLACED);
    tell_resumed(slot, 0);
    CHECK_I64(job_of(100)->state, MR_JOB_RUNNING);
    tell_token(slot, 1, 12, "llo", false);
    tell_end(slot, MR_END_STOP);
    r = result_of(last_asked(), &arena);
    CHECK_STR(r.text, "hello");
    CHECK_I64(r.preemptions, 2);
    CHECK_I64(r.wasted_tokens, 7);
    CHECK_I64(w.metrics.wasted_tokens, 7);
    CHECK_I64(r.tries, 1);
    mr_arena_drop(&arena);
    close_world();
}

TEST(a_high_job_that_finds_no_room_presses) {
    const void *bytes = NULL;
    mr_job_spec spec = a_job(105);
    mr_kafka_msg m = {.topic = WORK, .offset = 105};
    mr_arena arena;
    size_t n = 0;

    open_world(2); /* and 2 ahead */
    mr_arena_init(&arena, 0);
    for (int64_t off = 100; off < 104; off++) CHECK_I64(give(off), MR_OK);
    CHECK_I64(give(104), MR_ELIMIT);
    CHECK(!mr_flow_is_pressing(&m)); /* a tombstone */
    spec.priority = MR_PRIORITY_HIGH;
    CHECK_I64(mr_codec_job_encode(&spec, MR_FORMAT_MSGPACK, true, &arena, &bytes, &n), MR_OK);
    m.value = bytes;
    m.len = n;
    CHECK(mr_flow_is_pressing(&m));
    CHECK_I64(mr_flow_record(&w.flow, &m, true), MR_OK);
    m.len = n - 1;
    CHECK(!mr_flow_is_pressing(&m)); /* what cannot be read can wait */
    spec.priority = MR_PRIORITY_NORMAL;
    CHECK_I64(mr_codec_job_encode(&spec, MR_FORMAT_MSGPACK, true, &arena, &m.value, &m.len), MR_OK);
    CHECK(!mr_flow_is_pressing(&m));
    mr_arena_drop(&arena);
    close_world();
}

MR_TEST_MAIN
