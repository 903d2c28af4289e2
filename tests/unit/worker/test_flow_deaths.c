/* Goal: whatever dies, and however often the partition goes and comes back, each record has one
 * committed answer, and a job that kills its workers is found. Method: the flow between fakes
 * (fakes.h), a process that dies keeps what its committer was asked to mark; small cases, then
 * random walks. */
#include "tests/unit/worker/flow_world.h"

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

/* Of one the mark is committed, of another it is under way: readers have seen nothing of them. */
TEST(a_job_that_had_only_its_mark_has_not_run_for_the_next_owner) {
    const int32_t gone = 0;
    uint32_t slot;

    open_world(4);
    slot = start(100);
    CHECK_I64(give(101), MR_OK);
    decide(MR_OK);
    CHECK_I64(give(102), MR_OK);
    mr_flow_revoke(&w.flow, WORK, &gone, 1, false);
    assign(commit.next, commit.metadata);
    for (int64_t off = 100; off < 103; off++) CHECK_I64(give(off), MR_OK);
    CHECK(job_of(100)->ran_before);
    CHECK(!job_of(101)->ran_before && !job_of(102)->ran_before);
    tell_end(slot, MR_END_CANCELLED);
    decide(MR_OK);
    CHECK(!stream.lanes[job_of(102)->slot].ran_before);
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
