/* Goal: a Redis that is away, forgets or refuses costs frames at most, and no job waits for it; what the
 * last worker leaves is whole, whatever happened. Method: the server is stopped, wiped and cut off
 * while workers write (stream_world.h). */
#include "tests/unit/worker/stream_world.h"

static bool has_claimed(void *arg) {
    return mr_stream_get_stats(((worker *)arg)->s).claims > 0;
}

TEST(without_redis_a_job_starts_all_the_same) {
    begin();
    worker *a = open_worker(0, 1000);
    short_claim = true;
    worker *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    kill(server.pid, SIGSTOP);
    const uint64_t began_ms = mr_clock_mono_ms();
    claim(b, true);
    CHECK(mr_clock_mono_ms() - began_ms >= MR_STREAM_CLAIM_MS);
    CHECK_I64(b->attempt, 1);
    CHECK(!b->restart);
    check_taken(b, 0);
    make(b, 3); /* less than there is: it waits until it can tell */
    kill(server.pid, SIGCONT);
    CHECK(run_until(&loop, has_claimed, b, WAIT_MS));
    CHECK_I64(mr_stream_get_stats(a->s).claims, 1);
    read_all(5);
    make_and_wait(b, 8);
    CHECK(!end_job(b));
    const seen s = read_all(8);
    CHECK_I64(s.n_restarts, 0);
    CHECK_STR(s.last_id, "2-7");
    CHECK_I64(mr_stream_attempt(b->s, SLOT), 2);
    end();
}

/* Claimed late, with 5 entries there; `made` tokens follow, and the job ends. */
static seen claim_late(bool differs, uint64_t made) {
    begin();
    worker *a = open_worker(0, 1000);
    short_claim = true;
    worker *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 5);
    b->differs = differs;
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    kill(server.pid, SIGSTOP);
    claim(b, true);
    make(b, made);
    kill(server.pid, SIGCONT);
    CHECK(!end_job(b));
    b->differs = false;
    if (differs) /* what the reader wants to see */
        return (seen){.n_restarts = (int)mr_stream_get_stats(b->s).restarts};
    return read_all(made);
}

TEST(a_late_claim_compares) {
    CHECK_I64(claim_late(false, 5).n_restarts, 0);
    end();
    CHECK_I64(claim_late(false, 9).n_restarts, 0);
    end();
    CHECK_I64(claim_late(false, 3).n_restarts, 1); /* a shorter answer than readers were shown */
    end();
    CHECK_I64(claim_late(true, 9).n_restarts, 1);
    end();
}

TEST(while_redis_is_away_jobs_do_not_wait_for_it) {
    enum { N = 40 };
    begin();
    redis_kill(&server);
    short_claim = short_end = true;
    worker *a = open_worker(0, 1000);
    mr_job_spec spec = {.job_id = JOB, .tenant = "default", .stream = true, .attempt = 1};
    run_until(&loop, NULL, NULL, MR_STREAM_CLAIM_MS + 100);
    const uint64_t began_ms = mr_clock_mono_ms();
    for (int i = 0; i < N; i++) {
        bool degraded = false;
        a->n_claimed = 0;
        mr_stream_begin(a->s, SLOT, &spec, false, MAX_TAKEN);
        CHECK(run_until(&loop, is_claimed, a, WAIT_MS));
        make(a, 4);
        CHECK(mr_stream_end(a->s, SLOT, &degraded));
        CHECK(degraded);
    }
    CHECK(mr_clock_mono_ms() - began_ms < N * MR_STREAM_CLAIM_MS); /* nearer to nothing */
    CHECK_I64(mr_stream_get_stats(a->s).frames_dropped, 4 * N);
    end();
}

TEST(the_end_does_not_wait_for_ever) {
    begin();
    short_end = true;
    worker *a = open_worker(0, 1000);
    claim(a, false);
    make_and_wait(a, 2);
    kill(server.pid, SIGSTOP);
    make(a, 4);
    const uint64_t began_ms = mr_clock_mono_ms();
    CHECK(end_job(a));
    CHECK(mr_clock_mono_ms() - began_ms >= MR_STREAM_LINGER_MS);
    kill(server.pid, SIGCONT);
    end();
}

static bool has_entries(void *arg) {
    return redis_int(REDIS("XLEN", STREAM)) >= *(const int *)arg;
}

TEST(what_is_new_is_sent_before_a_job_is_dropped) {
    int n = 200;

    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make(a, 100); /* 64 of them are on their way */
    mr_stream_advance(a->s, SLOT, 200);
    mr_stream_drop(a->s, SLOT);
    CHECK(run_until(&loop, is_up, b, WAIT_MS));
    CHECK(run_until(&loop, has_entries, &n, WAIT_MS));
    read_all(200);
    claim(b, true);
    check_taken(b, 200);
    mr_stream_drop(b->s, SLOT);
    mr_stream_drop(b->s, SLOT); /* nothing any more */
    end();
}

TEST(nothing_is_written_behind_the_end_of_a_job) {
    begin();
    worker *a = open_worker(0, 1000), *b = open_worker(1, 1000);
    claim(a, false);
    make_and_wait(a, 3);
    REDIS("HSET", STATUS, "state", "succeeded");
    make(a, 5);
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    CHECK(!end_job(a));
    claim(b, true);
    check_taken(b, 0);
    CHECK(!b->restart);
    make(b, 5);
    CHECK(!end_job(b));
    read_all(3);
    check_status("state", "succeeded");
    check_status("worker", "a");
    end();
}

TEST(a_job_that_does_not_stream_is_only_shown) {
    mr_job_spec spec = {.job_id = JOB, .tenant = "default", .attempt = 1};
    bool degraded = true;

    begin();
    worker *a = open_worker(0, 1000);
    CHECK(run_until(&loop, is_up, a, WAIT_MS));
    mr_stream_begin(a->s, SLOT, &spec, true, MAX_TAKEN);
    CHECK(run_until(&loop, is_claimed, a, WAIT_MS));
    CHECK(!a->restart);
    make(a, 5);
    CHECK_I64(mr_stream_get_stats(a->s).lag_frames, 0);
    CHECK(mr_stream_end(a->s, SLOT, &degraded));
    CHECK(!degraded);
    check_status("state", "running");
    CHECK_I64(redis_int(REDIS("EXISTS", STREAM)), 0);
    end();
}

TEST(refusals_of_the_server_pass) {
    begin();
    short_claim = true;
    worker *a = open_worker(0, 1000);
    CHECK(run_until(&loop, is_up, a, WAIT_MS));
    REDIS("CONFIG", "SET", "maxmemory", "1");
    begin_job(a, false);
    CHECK(run_until(&loop, is_claimed, a, WAIT_MS)); /* too long: it starts without */
    make(a, 3);
    REDIS("CONFIG", "SET", "maxmemory", "0");
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    REDIS("CONFIG", "SET", "maxmemory", "1");
    make(a, 5);
    run_until(&loop, NULL, NULL, 300);
    REDIS("CONFIG", "SET", "maxmemory", "0");
    CHECK(run_until(&loop, has_caught_up, a, WAIT_MS));
    REDIS("SCRIPT", "FLUSH");
    make_and_wait(a, 7);
    CHECK(!end_job(a));
    read_all(7);
    CHECK(mr_stream_get_stats(a->s).errors > 0);
    CHECK_I64(mr_stream_get_stats(a->s).claims, 1);
    end();
}

TEST(a_stream_that_leaves_no_room_for_ids_is_given_up) {
    begin();
    short_claim = short_end = true;
    worker *a = open_worker(0, 1000);
    REDIS("XADD", STREAM, "4294967295-0", "f", "x");
    begin_job(a, false);
    CHECK(run_until(&loop, is_claimed, a, WAIT_MS));
    make(a, 3);
    CHECK(end_job(a));
    CHECK_I64(redis_int(REDIS("XLEN", STREAM)), 1);
    end();
}

TEST(a_trimmed_stream_starts_again_for_the_next_worker) {
    begin();
    worker *a = open_worker(0, 16);
    claim(a, false);
    make_and_wait(a, 500);
    CHECK(redis_int(REDIS("XLEN", STREAM)) < 200);
    close_worker(a);
    worker *b = open_worker(1, 16);
    claim(b, true);
    CHECK(b->restart);
    make_and_wait(b, 10);
    CHECK(!end_job(b));
    REDIS("XTRIM", STREAM, "MAXLEN", "11");
    CHECK_I64(read_all(10).n_restarts, 1);
    end();
}

/* All those that were presumed dead go on where they were. */
static void wake_sleepers(const worker *owner) {
    for (int i = 0; i < N_WORKERS; i++) {
        worker *w = &workers[i];
        if (w == owner || !w->asleep) continue;
        w->made += 3;
        make(w, w->made);
    }
}

/* Another worker gets the job; the old one is killed, hands over, or sleeps. */
static worker *move_on(worker *old, int kind) {
    const int at = (int)(old - workers + 1) % N_WORKERS;
    worker *w;

    if (kind == 0) close_worker(old);
    if (kind == 1) mr_stream_drop(old->s, SLOT);
    old->asleep = kind == 2;
    if (workers[at].s) close_worker(&workers[at]);
    w = open_worker(at, 1000);
    claim(w, true);
    check_taken(w, w->n_taken);
    w->made = w->n_taken;
    make(w, w->made);
    return w;
}

/* Everything at random: workers die, wake up and hand over, connections break, Redis forgets. What
 * the last worker leaves is whole. A sleeper does not wake between a loss and the owner's next
 * frame: there Redis does not know who owns the stream. */
TEST(whatever_happens_the_stream_is_whole_in_the_end) {
    unsigned seed = 7, n_wiped = 0;
    uint64_t n_fenced = 0;

    begin();
    for (int round = 0; round < 40; round++) {
        bool known = true; /* to Redis */
        REDIS("FLUSHALL");
        worker *w = open_worker(0, 1000);
        claim(w, false);
        while (w->made < 120) {
            w->made += (unsigned)rand_r(&seed) % 9;
            make(w, w->made);
            if (rand_r(&seed) % 2) known = run_until(&loop, has_caught_up, w, WAIT_MS);
            if (known && rand_r(&seed) % 4 == 0) wake_sleepers(w);
            switch (rand_r(&seed) % 10) {
            case 0:
                REDIS("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
                break;
            case 1:
                REDIS("FLUSHALL");
                n_wiped++;
                known = false;
                break;
            case 2:
                REDIS("SCRIPT", "FLUSH");
                break;
            case 3:
                REDIS("DEL", rand_r(&seed) % 2 ? STREAM : STATUS);
                known = false;
                break;
            case 4:
            case 5:
                w = move_on(w, rand_r(&seed) % 3);
                known = true;
                break;
            default:
                break;
            }
        }
        make(w, ++w->made); /* so that a loss is noticed */
        CHECK(run_until(&loop, is_up, w, WAIT_MS));
        CHECK(run_until(&loop, has_caught_up, w, WAIT_MS));
        wake_sleepers(w);
        CHECK(!end_job(w));
        run_until(&loop, NULL, NULL, 20);
        read_all(w->made);
        for (int i = 0; i < N_WORKERS; i++) {
            if (!workers[i].s) continue;
            n_fenced += mr_stream_get_stats(workers[i].s).fenced;
            close_worker(&workers[i]);
        }
    }
    CHECK(n_wiped > 5);
    CHECK(n_fenced > 5);
    end();
}

MR_TEST_MAIN_SHARED
