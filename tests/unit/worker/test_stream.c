/* Goal: whichever worker has a job, its stream has no gap and no repeat, has one writer, and readers are
 * told when it starts again. Method: workers claim, die, sleep and wake up (stream_world.h); a voice
 * of the test's own looks at the stream and breaks it. */
#include "tests/unit/worker/stream_world.h"

TEST(a_job_is_streamed_and_shown) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    CHECK_I64(a->attempt, 1);
    check_taken(a, 0);
    CHECK(!a->restart);
    check_status("state", "running");
    check_status("worker", "a");
    check_status("tokens", "0");
    make(a, 3);
    make_and_wait(a, 300); /* several calls */
    CHECK(!end_job(a));
    CHECK_I64(mr_stream_attempt(a->s, SLOT), 1);
    const seen s = read_all(300);
    CHECK_I64(s.n_restarts, 0);
    CHECK_STR(s.first_id, "1-0");
    check_status("tokens", "300");
    check_status("attempt", "1");
    CHECK(redis_int(REDIS("PTTL", STREAM)) > TTL_MS / 2);
    CHECK(redis_int(REDIS("PTTL", STATUS)) > TTL_MS / 2);
    const mr_stream_stats stats = mr_stream_get_stats(a->s);
    CHECK_I64(stats.frames, 300);
    CHECK_I64(stats.claims, 1);
    CHECK_I64(stats.takeovers + stats.restarts + stats.fenced + stats.frames_dropped, 0);
    end();
}

TEST(the_next_worker_goes_on_wherever_the_last_one_died) {
    begin();
    for (size_t k = 0; k < 12; k++) {
        REDIS("FLUSHALL");
        worker *a = open_worker(0, 1000);
        claim(a, false);
        make_and_wait(a, k);
        close_worker(a); /* it is killed */
        worker *b = open_worker(1, 1000);
        claim(b, true);
        CHECK(!b->restart); /* also when it had claimed and written nothing */
        check_taken(b, k);
        make_and_wait(b, k + 2);
        close_worker(b);
        worker *c = open_worker(2, 1000);
        claim(c, true);
        check_taken(c, k + 2);
        CHECK_I64(c->attempt, 3);
        make(c, k + 2); /* what it tells again is there */
        make_and_wait(c, 20);
        CHECK(!end_job(c));
        CHECK_I64(read_all(20).n_restarts, 0);
        CHECK_I64(mr_stream_get_stats(c->s).takeovers, 1);
        close_worker(c);
    }
    end();
}

TEST(a_worker_that_wakes_up_writes_nothing) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    claim(b, true);
    make_and_wait(b, 7);
    make(a, 9);
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS)); /* it has given up */
    CHECK(end_job(a));
    CHECK_I64(mr_stream_get_stats(a->s).fenced, 1);
    CHECK_I64(mr_stream_get_stats(a->s).frames, 5);
    make_and_wait(b, 10);
    CHECK(!end_job(b));
    const seen s = read_all(10);
    CHECK_I64(s.attempt, 2);
    CHECK_I64(s.n_restarts, 0);
    check_status("worker", "b");
    end();
}

TEST(a_run_of_which_nothing_is_left_is_told_to_readers) {
    begin();
    worker *a = open_worker(0, 1000);
    const uint64_t now_s = mr_clock_wall_ms() / 1000;
    claim(a, true);
    CHECK(a->restart);
    CHECK(a->attempt > now_s); /* beyond whatever readers have seen */
    make_and_wait(a, 4);
    CHECK(!end_job(a));
    CHECK_I64(read_all(4).n_restarts, 1);
    CHECK_I64(mr_stream_get_stats(a->s).restarts, 1);
    end();
}

/* The first one writes, all is lost, the second one claims and writes nothing. */
TEST(a_loss_is_not_forgotten_by_the_next_claim) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000), *c = open_worker(2, 1000);
    claim(a, false);
    make_and_wait(a, 3);
    close_worker(a);
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    REDIS("FLUSHALL");
    b->dies = true;
    claim(b, true);
    CHECK(b->restart);
    CHECK_I64(redis_int(REDIS("EXISTS", STREAM)), 0);
    claim(c, true);
    CHECK(c->restart);
    CHECK(c->attempt > b->attempt);
    make_and_wait(c, 4);
    CHECK(!end_job(c));
    CHECK_I64(read_all(4).n_restarts, 1);
    end();
}

TEST(what_cannot_be_gone_on_with_is_begun_again) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    close_worker(a);
    REDIS("XADD", STREAM, "7-5", "f", "{\"type\":\"token\"}");
    worker *b = open_worker(1, 1000);
    claim(b, true);
    CHECK(b->restart);
    check_taken(b, 0);
    CHECK_I64(b->attempt, 9); /* 8 is the restart's */
    make_and_wait(b, 6);
    close_worker(b);
    worker *c = open_worker(2, 1000);
    claim(c, true); /* what is before the restart does not count */
    check_taken(c, 6);
    CHECK_I64(c->attempt, 10);
    REDIS("XDEL", STREAM, "7-5");
    make_and_wait(c, 8);
    mr_stream_restart(c->s, SLOT, "a test");
    CHECK_I64(mr_stream_attempt(c->s, SLOT), 12);
    make_and_wait(c, 9);
    CHECK(!end_job(c));
    CHECK_I64(read_all(9).n_restarts, 2);
    check_status("attempt", "12");
    end();
}

/* The first worker is one that wrote frames without it. */
TEST(every_frame_of_a_job_with_a_trace_has_it) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 2);
    close_worker(a);
    job_trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    worker *b = open_worker(1, 1000);
    claim(b, true);
    check_taken(b, 2);
    REDIS("XTRIM", STREAM, "MAXLEN", "0");
    mr_stream_restart(b->s, SLOT, "a test");
    make_and_wait(b, 70);
    close_worker(b);
    worker *c = open_worker(2, 1000);
    claim(c, true);
    check_taken(c, 70);
    make_and_wait(c, 80);
    CHECK(!end_job(c));
    CHECK_I64(read_all(80).n_restarts, 1);
    end();
}

TEST(a_restart_may_come_at_any_moment) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 3);
    close_worker(a);
    worker *b = open_worker(1, 1000);
    claim(b, true);
    mr_stream_restart(b->s, SLOT, "before its first frame");
    CHECK_I64(mr_stream_attempt(b->s, SLOT), 3);
    make(b, 70);
    mr_stream_restart(b->s, SLOT, "while a call is under way");
    make_and_wait(b, 80);
    mr_stream_restart(b->s, SLOT, "when all is there");
    CHECK(!end_job(b));
    const seen s = read_all(80);
    CHECK_I64(s.n_restarts, 3);
    CHECK_I64(s.attempt, 7);
    end();
}

TEST(a_stream_that_redis_lost_is_begun_again) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 6);
    REDIS("FLUSHALL");
    make(a, 8);
    CHECK(run_until(&loop, is_again, a, WAIT_MS));
    seen s = read_all(8);
    CHECK_I64(s.n_restarts, 1);
    CHECK_STR(s.first_id, "2-0");
    CHECK_I64(s.attempt, 3);
    REDIS("DEL", STREAM);
    make_and_wait(a, 9);
    s = read_all(9);
    CHECK_I64(s.n_restarts, 1);
    CHECK_I64(s.attempt, 5);
    redis_kill(&server);
    make(a, 10);
    run_until(&loop, NULL, NULL, 100);
    redis_start(&server, "");
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    CHECK(!end_job(a));
    s = read_all(10);
    CHECK_I64(s.n_restarts, 1);
    CHECK_I64(s.attempt, 7);
    CHECK_I64(mr_stream_attempt(a->s, SLOT), 7);
    CHECK_I64(mr_stream_get_stats(a->s).claims, 4);
    end();
}

/* An older state comes back, as from a snapshot: readers lose nothing, so nobody tells them. */
TEST(what_redis_still_has_is_gone_on_with) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 6);
    REDIS("DEL", STATUS);
    make_and_wait(a, 8);
    REDIS("XDEL", STREAM, "2-7", "2-6");
    make_and_wait(a, 10);
    CHECK(!end_job(a));
    const seen s = read_all(10);
    CHECK_I64(s.n_restarts, 0);
    CHECK_STR(s.last_id, "3-9");
    check_status("state", "running");
    end();
}

TEST(entries_of_somebody_else_are_found_before_the_next_frame) {
    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 4);
    REDIS("XADD", STREAM, "1-99", "f", "garbage");
    make(a, 6);
    CHECK(run_until(&loop, is_again, a, WAIT_MS));
    CHECK(!end_job(a));
    REDIS("XDEL", STREAM, "1-99"); /* for the test's own reader */
    CHECK_I64(read_all(6).n_restarts, 1);
    end();
}

TEST(a_call_that_got_through_without_its_answer_is_harmless) {
    char json[300];
    size_t n;
    mr_frame fr = {.type = MR_FRAME_TOKEN, .job_id = JOB, .attempt = 1, .index = 2};

    begin();
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 2);
    fr.token = token_of(2);
    fr.text = text_of(2);
    fr.text_len = strlen(fr.text);
    CHECK_I64(mr_codec_frame_encode(&fr, json, sizeof json, &n), MR_OK);
    REDIS("XADD", STREAM, "1-2", "f", json);
    make_and_wait(a, 5);
    CHECK(!end_job(a));
    read_all(5);
    CHECK_I64(mr_stream_get_stats(a->s).frames, 4); /* one was there */
    CHECK_I64(mr_stream_get_stats(a->s).claims, 1);
    end();
}

MR_TEST_MAIN_SHARED
