/* Goal: whatever comes between a record and its answer, the record is answered once, its slot comes
 * back, and all is asked in the order that the promises need. Method: committer, stream and engine
 * thread are fakes (fakes.h); one small case per event. */
#include "tests/unit/worker/flow_world.h"

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

TEST(a_mark_without_room_or_memory_is_asked_for_again) {
    static const mr_status says[] = {MR_ELIMIT, MR_ENOMEM};

    for (size_t i = 0; i < MR_COUNT(says); i++) {
        open_world(2);
        commit.says_mark = says[i];
        CHECK_I64(give(100), MR_OK);
        CHECK_STR(trace, "");
        commit.says_mark = MR_OK;
        mr_flow_tick(&w.flow);
        CHECK_STR(trace, "mark");
        close_world();
    }
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
    CHECK_I64(w.metrics.gap.sum, 0);
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

MR_TEST_MAIN
