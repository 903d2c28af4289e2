/* Goal: a job leaves the window only when somebody has room for it, whole and into a partition of
 * theirs, once; a job for nobody, or for no record, is answered, early when it can be known and
 * late when it cannot; one that must wait for a certain worker holds up nobody else, and can be
 * ended meanwhile. Method: the rules of names on entries made by hand; then intake, window and
 * committer on the embedded broker, with heartbeats by hand, jobs that go on put into ready, a
 * reader of the work topic, and a second member of the group that comes and goes. */
#define SESSION_MS "6000"
#include "dispatcher/release.h"

#include "base/clock.h"
#include "dispatcher/cost.h"
#include "rig.h"

#define GRACE_MS 30000
#define PARTS    4

typedef struct mr_heartbeat_part part;

static mr_commit *commit;
static mr_policy *policy;
static mr_window *window;
static mr_keys *keys;
static mr_intake *intake;
static mr_release *release;
static mr_status_view *view;
static mr_kafka_producer *producer;
static reader work, results;
static size_t n_queued;

/* ---- names ---- */

static mr_release *rules(const char *default_model, const char *models) {
    mr_release *r = NULL;
    const mr_release_conf conf = {.default_model = default_model,
                                  .models = models,
                                  .model_grace_ms = GRACE_MS,
                                  .worker_timeout_ms = 5000};
    CHECK_OK(mr_release_open(&r, &conf, 0, &err), err);
    return r;
}

static void beat(mr_release *r, const char *worker, const char *model, uint32_t free_slots,
                 const part *parts, size_t n, uint64_t now_ms) {
    const mr_heartbeat h = {.worker = worker,
                            .model = model,
                            .parts = parts,
                            .n_parts = n,
                            .free_slots = free_slots,
                            .max_slots = 64,
                            .running = 64 - free_slots};
    mr_release_heartbeat(r, &h, now_ms);
}

/* The name that the job gets, "" when it is let in without one, or the code of its refusal. */
static const char *vet_as(mr_release *r, const char *model, uint64_t now_ms) {
    static char answer[MR_JOB_MAX_NAME + 1];
    mr_entry e = {.job = {.model = model}};
    mr_job_error why = {"", "", "", 0};
    mr_arena_init(&e.arena, 0);
    const bool ok = mr_release_vet(r, &e, &why, now_ms);
    snprintf(answer, sizeof answer, "%s", ok ? e.job.model : why.code);
    if (!ok) CHECK(strcmp(why.field, "model") == 0 && why.message[0]);
    mr_arena_drop(&e.arena);
    return answer;
}

TEST(before_any_worker_reports_all_names_may_turn_up) {
    mr_release *r = rules("", "");
    CHECK_STR(vet_as(r, "x", 0), "x");
    CHECK_STR(vet_as(r, "", 0), "");
    CHECK_STR(vet_as(r, "x", 10 * GRACE_MS), "x"); /* still nobody: it may */
    beat(r, "w", "a", 1, NULL, 0, 100);
    CHECK_STR(vet_as(r, "x", 200), "x"); /* within the grace another worker may come */
    CHECK_STR(vet_as(r, "", 200), "a");
    CHECK_STR(vet_as(r, "x", GRACE_MS + 1), "unknown_model");
    CHECK_STR(vet_as(r, "a", 10 * GRACE_MS), "a"); /* silent, but known */
    beat(r, "v", "b", 1, NULL, 0, GRACE_MS + 2);
    CHECK_STR(vet_as(r, "", GRACE_MS + 3), "missing_model");
    mr_release_close(r);
}

TEST(the_settings_name_models) {
    mr_release *r = rules("", "a, b");
    CHECK_STR(vet_as(r, "b", 0), "b");
    CHECK_STR(vet_as(r, "ab", 0), "unknown_model");
    CHECK_STR(vet_as(r, "", 0), "missing_model");
    mr_release_close(r);
    r = rules("b", "a,b");
    CHECK_STR(vet_as(r, "", 0), "b");
    mr_release_close(r);
    r = rules("gone", "");
    beat(r, "w", "a", 1, NULL, 0, 0);
    CHECK_STR(vet_as(r, "", GRACE_MS + 1), "unknown_model"); /* the default itself must be known */
    mr_release_close(r);
}

/* ---- the way out ---- */

static bool vet(void *owner, mr_entry *e, mr_job_error *why) {
    (void)owner;
    return mr_release_vet(release, e, why, mr_clock_mono_ms());
}

static void on_queued(void *owner, mr_entry *e) {
    (void)owner;
    (void)e;
    n_queued++;
}

static void on_waits(void *owner, const mr_entry *e) {
    (void)owner;
    (void)e;
}

static void on_delayed(void *owner, const mr_entry *e) {
    (void)owner;
    (void)e;
}

static void on_loaded(void *owner, int32_t partition) {
    (void)owner;
    mr_intake_keys_loaded(intake, partition);
}

static void on_fatal(void *owner, const char *text) {
    (void)owner;
    fail_msg("fatal: %s", text);
}

static void on_up(void *owner) {
    (void)owner;
}

static bool is_assigned(void *arg) {
    (void)arg;
    return mr_intake_assigned(intake);
}

static bool is_queued(void *arg) {
    return n_queued >= *(size_t *)arg;
}

static void wait_queued(size_t n) {
    if (!run_until(&loop, is_queued, &n, WAIT_MS)) fail_msg("%zu queued, not %zu", n_queued, n);
}

static void release_open(uint64_t grace_ms, uint64_t now_ms) {
    const mr_release_conf rc = {.names = &names,
                                .commit = commit,
                                .window = window,
                                .policy = policy,
                                .view = view,
                                .default_model = "",
                                .models = "",
                                .model_grace_ms = grace_ms,
                                .worker_timeout_ms = 60000,
                                .lookahead = 2};
    CHECK_OK(mr_release_open(&release, &rc, now_ms, &err), err);
}

static void intake_open(void) {
    const mr_keys_conf kc = {.kafka = &kafka,
                             .topic = names.keys,
                             .n_partitions = PARTS,
                             .ttl_ms = 3600000,
                             .plain = true,
                             .on_loaded = on_loaded,
                             .on_fatal = on_fatal};
    CHECK_OK(mr_keys_open(&keys, &loop, &kc, &err), err);
    const mr_intake_conf ic = {.member = {.kafka = &kafka, .group = "g"},
                               .names = &names,
                               .commit = commit,
                               .window = window,
                               .policy = policy,
                               .keys = keys,
                               .n_keyed = PARTS,
                               .retry = {.max_attempts = 3, .max_backoffs = 9},
                               .window_jobs = 512,
                               .window_bytes = 64 << 20,
                               .vet = vet,
                               .on_queued = on_queued,
                               .on_waits = on_waits,
                               .on_delayed = on_delayed,
                               .on_fatal = on_fatal};
    CHECK_OK(mr_intake_open(&intake, &loop, &ic, &err), err);
}

TEST(opening) {
    const mr_window_conf wc = {.max_wait_ms = 0};
    rig_open(PARTS, PARTS);
    commit = commit_open();
    CHECK_OK(mr_policy_open(&policy, "", &err), err);
    CHECK_OK(mr_window_open(&window, &wc, &err), err);
    const mr_status_conf vc = {.redis_url = NO_REDIS, /* a view that nobody sees */
                               .redis_prefix = "mr",
                               .dispatcher = "d",
                               .ttl_s = 60,
                               .on_up = on_up};
    CHECK_OK(mr_status_open(&view, &loop, &vc, &err), err);
    release_open(0, mr_clock_mono_ms());
    intake_open();
    mr_release_attach(release, intake);
    producer = producer_open();
    reader_open(&work, "mr.work.m", PARTS);
    reader_open(&results, names.results, PARTS);
    CHECK(run_until(&loop, is_assigned, NULL, WAIT_MS));
}

/* Nameless ones and named ones wait; the only model gives its name; then as many go as there is
 * room. */
TEST(jobs_wait_for_room) {
    const part parts[] = {{1, 0}, {3, 0}};
    for (unsigned i = 0; i < 10; i++)
        produce_job(producer, names.jobs[1], i, i % 2 ? "" : ",\"model\":\"m\"");
    wait_queued(10);
    mr_release_run(release, mr_clock_mono_ms());
    run_until(&loop, NULL, NULL, 200);
    CHECK_I64(work.n, 0);

    beat(release, "w", "m", 3, parts, 2, mr_clock_mono_ms());
    mr_release_run(release, mr_clock_mono_ms());
    read_n(&work, 5); /* three slots and the lookahead */
    mr_release_run(release, mr_clock_mono_ms());
    run_until(&loop, NULL, NULL, 200);
    CHECK_I64(work.n, 5);
    CHECK_I64(mr_intake_counters(intake)->released, 5);

    /* It has taken them and has room for more, but five are already on the way to partition 1. */
    const part moved[] = {{1, 3}, {3, 3}};
    beat(release, "w", "m", 64, moved, 2, mr_clock_mono_ms());
    mr_release_run(release, mr_clock_mono_ms());
    read_n(&work, 10);
    for (size_t i = 0; i < work.n; i++) {
        mr_arena arena;
        mr_job_spec j;
        mr_codec_error why;
        mr_arena_init(&arena, 0);
        if (mr_codec_job_decode(&j, MR_FORMAT_MSGPACK, work.all[i].value, work.all[i].len, true,
                                &arena, &why) != MR_OK)
            fail_msg("%s", why.message);
        CHECK_STR(work.all[i].type, "application/msgpack");
        CHECK_STR(work.all[i].key, j.job_id);
        CHECK_STR(j.model, "m");
        CHECK_STR(j.prompt, "x");
        CHECK(j.attempt == 1 && j.received_ms > 0 && j.reply_format == MR_FORMAT_JSON);
        CHECK_I64(j.charged, mr_cost(&j));
        mr_arena_drop(&arena);
    }
    CHECK_I64(mr_commit_flush(commit, WAIT_MS), MR_OK);
    mr_policy_row row; /* what the only tenant was charged */
    CHECK_I64(mr_policy_top(policy, &row, 1, mr_clock_mono_ms()), 1);
    CHECK_I64(row.tokens, 10 * (MR_COST_ANSWER + 1));
    CHECK_I64(row.waiting, 0);
    CHECK_I64(mr_release_counters(release)->lanes[MR_PRIORITY_NORMAL], 10);
}

/* ---- a job that waits for a certain worker ---- */

static int64_t taken; /* positions of both, beyond all that was released */

/* Two workers of model m: w has partition 0, v partition 1. */
static void two_workers(uint32_t free_w, uint32_t holds_w, uint32_t free_v, uint32_t holds_v) {
    const part of_w = {0, taken}, of_v = {1, taken};
    const struct {
        const char *id;
        const part *own;
        uint32_t free_slots, holds;
    } all[] = {{"w", &of_w, free_w, holds_w}, {"v", &of_v, free_v, holds_v}};
    for (size_t i = 0; i < MR_COUNT(all); i++) {
        const mr_heartbeat h = {.worker = all[i].id,
                                .model = "m",
                                .parts = all[i].own,
                                .n_parts = 1,
                                .free_slots = all[i].free_slots,
                                .max_slots = 64,
                                .running = 64 - all[i].free_slots,
                                .n_ctx = all[i].holds};
        mr_release_heartbeat(release, &h, mr_clock_mono_ms());
    }
}

/* The lookahead is room, too: a worker that has none is one that does not own a partition. */
static void v_has_no_room(uint32_t holds) {
    const mr_heartbeat h = {
        .worker = "v", .model = "m", .max_slots = 64, .running = 64, .n_ctx = holds};
    mr_release_heartbeat(release, &h, mr_clock_mono_ms());
}

/* A job that has come back from worker `last` (NULL: none) and waits for its turn again, in a
 * partition of ready. */
static void go_on(unsigned n, int32_t partition, const char *last, uint32_t need_tokens,
                  uint64_t expires_ms) {
    const mr_past past = {1, MR_ATTEMPT_OOM, last ? last : "", "", 1};
    mr_job_spec j = released_job(n);
    j.attempt = 2;
    j.expires_ms = expires_ms;
    j.need_tokens = need_tokens;
    j.history = last ? &past : NULL;
    j.n_history = last ? 1 : 0;
    produce_spec(producer, names.ready[MR_PRIORITY_NORMAL], partition, &j);
}

static void run(void) {
    mr_release_run(release, mr_clock_mono_ms());
}

/* Where its work record went; -1: it has none yet. */
static int32_t partition_of(unsigned n) {
    char id[MR_JOB_ID_LEN + 1];
    job_id(id, n);
    const seen *s = read_key(&work, id);
    return s ? s->partition : -1;
}

static void expect_result(unsigned n, const char *status, const char *text) {
    char id[MR_JOB_ID_LEN + 1];
    read_n(&results, results.n + 1);
    job_id(id, n);
    const seen *s = read_key(&results, id);
    CHECK(s != NULL);
    if (!strstr(s->value, status) || !strstr(s->value, text))
        fail_msg("%s: no %s, %s", s->value, status, text);
}

TEST(a_job_goes_to_another_worker_than_the_one_that_failed_it) {
    const size_t queued = n_queued, before = work.n;
    taken = 100000;
    two_workers(8, 0, 8, 0);
    go_on(100, 0, "w", 0, 0);
    wait_queued(queued + 1);
    run();
    read_n(&work, before + 1);
    CHECK_I64(partition_of(100), 1);

    v_has_no_room(0); /* it may have some soon; others do not wait for that */
    go_on(101, 0, "w", 0, 0);
    produce_job(producer, names.jobs[1], 102, ",\"model\":\"m\"");
    wait_queued(queued + 3);
    run();
    read_n(&work, before + 2);
    CHECK_I64(partition_of(102), 0);
    CHECK_I64(mr_release_aside(release), 1);
    two_workers(8, 0, 8, 0);
    run();
    read_n(&work, before + 3);
    CHECK_I64(partition_of(101), 1);
    CHECK_I64(mr_release_counters(release)->aside, 1);
    CHECK_I64(mr_release_counters(release)->again, 0);
}

TEST(and_comes_back_to_it_when_no_other_finds_room_in_time) {
    const size_t queued = n_queued, before = work.n;
    two_workers(8, 0, 8, 0);
    v_has_no_room(0);
    go_on(110, 0, "w", 0, 0);
    wait_queued(queued + 1);
    const uint64_t begin_ms = mr_clock_mono_ms();
    mr_release_run(release, begin_ms);
    mr_release_run(release, begin_ms + MR_RELEASE_AVOID_MS - 1);
    CHECK_I64(mr_release_aside(release), 1);
    mr_release_run(release, begin_ms + MR_RELEASE_AVOID_MS);
    CHECK_I64(mr_release_aside(release), 0);
    read_n(&work, before + 1);
    CHECK_I64(partition_of(110), 0);
    CHECK_I64(mr_release_counters(release)->again, 1);
}

TEST(a_large_job_waits_for_a_large_worker) {
    const size_t queued = n_queued, before = work.n;
    two_workers(8, 100, 8, 1000);
    v_has_no_room(1000);
    go_on(120, 0, NULL, 500, 0);
    produce_job(producer, names.jobs[1], 121, ",\"model\":\"m\"");
    wait_queued(queued + 2);
    run();
    read_n(&work, before + 1);
    CHECK_I64(partition_of(121), 0);
    mr_release_run(release, mr_clock_mono_ms() + 10 * MR_RELEASE_AVOID_MS);
    CHECK_I64(mr_release_aside(release), 1); /* here no time makes another one fit */
    two_workers(8, 100, 8, 1000);
    run();
    read_n(&work, before + 2);
    CHECK_I64(partition_of(120), 1);
}

static bool is_past(void *arg) {
    return mr_clock_wall_ms() >= *(const uint64_t *)arg;
}

TEST(what_is_set_aside_can_be_ended) {
    const size_t queued = n_queued;
    char id[MR_JOB_ID_LEN + 1];
    two_workers(8, 100, 8, 1000);
    v_has_no_room(1000);
    go_on(130, 0, NULL, 500, 0);
    wait_queued(queued + 1);
    run();
    job_id(id, 130);
    mr_intake_cancel(intake, id);
    run();
    expect_result(130, "\"cancelled\"", "cancelled before it was released");

    const uint64_t deadline_ms = mr_clock_wall_ms() + 4000;
    go_on(131, 0, NULL, 500, deadline_ms);
    wait_queued(queued + 2);
    run();
    CHECK_I64(mr_release_aside(release), 1);
    CHECK(run_until(&loop, is_past, &(uint64_t){deadline_ms}, WAIT_MS));
    run();
    expect_result(131, "\"expired\"", "the deadline passed");

    go_on(132, 0, NULL, 500, 0);
    wait_queued(queued + 3);
    run();
    const mr_heartbeat leaving = {.worker = "v", .model = "m", .leaving = true};
    mr_release_heartbeat(release, &leaving, mr_clock_mono_ms());
    run();
    expect_result(132, "\"context_exceeded\"", "need 500 tokens, the largest live worker");
    go_on(133, 0, NULL, 500, 0); /* and early, when it can be known */
    expect_result(133, "\"context_exceeded\"", "holds 100");
    CHECK_I64(n_queued, queued + 3);
    CHECK_I64(mr_release_aside(release), 0);
    CHECK_I64(mr_intake_bytes(intake), 0);
}

/* Room comes back when the committer has told of what is on its way, which may have been read
 * before. */
static bool none_is_aside(void *arg) {
    (void)arg;
    run();
    return mr_release_aside(release) == 0;
}

/* Past the bound they wait in the window, and hold up their model. */
TEST(no_more_than_a_few_are_set_aside) {
    const size_t queued = n_queued, before = work.n, n = MR_RELEASE_MAX_ASIDE + 6;
    two_workers(8, 100, 8, 1000);
    v_has_no_room(1000);
    for (unsigned i = 0; i < n; i++) go_on(2000 + i, (int32_t)i % PARTS, NULL, 500, 0);
    wait_queued(queued + n);
    run();
    CHECK_I64(mr_release_aside(release), MR_RELEASE_MAX_ASIDE);
    CHECK_I64(mr_window_len(window, MR_PRIORITY_NORMAL), 6);
    two_workers(8, 100, 64, 1000);
    run(); /* slots and lookahead: those set aside, and two more */
    CHECK_I64(mr_release_aside(release), 4);
    CHECK_I64(mr_window_len(window, MR_PRIORITY_NORMAL), 0);
    read_n(&work, before + MR_RELEASE_MAX_ASIDE + 2);
    two_workers(8, 100, 64, 1000);
    run();
    for (unsigned i = 0; i < n; i++)
        if (partition_of(2000 + i) >= 0) CHECK_I64(partition_of(2000 + i), 1);
    const part moved = {1, 200000};
    const mr_heartbeat again = {.worker = "v",
                                .model = "m",
                                .parts = &moved,
                                .n_parts = 1,
                                .free_slots = 64,
                                .max_slots = 64,
                                .n_ctx = 1000};
    mr_release_heartbeat(release, &again, mr_clock_mono_ms());
    CHECK(run_until(&loop, none_is_aside, NULL, WAIT_MS));
    read_n(&work, before + n);
}

TEST(only_high_jobs_go_where_others_make_room) {
    static const part own = {2, 0};
    const size_t queued = n_queued, before = work.n;
    const mr_heartbeat full = {.worker = "f",
                               .model = "d",
                               .parts = &own,
                               .n_parts = 1,
                               .max_slots = 8,
                               .running = 8,
                               .displaceable = 1};
    CHECK_OK(mr_kafka_mock_topic(mock, "mr.work.d", PARTS, &err), err);
    mr_release_heartbeat(release, &full, mr_clock_mono_ms());
    for (unsigned i = 0; i < 4; i++) /* fill the lookahead and more */
        produce_job(producer, names.jobs[2], 140 + i, ",\"model\":\"d\"");
    wait_queued(queued + 4);
    run();
    CHECK_I64(mr_window_len(window, MR_PRIORITY_LOW), 2);
    produce_job(producer, names.jobs[0], 150, ",\"model\":\"d\",\"priority\":\"high\"");
    produce_job(producer, names.jobs[0], 151, ",\"model\":\"d\",\"priority\":\"high\"");
    wait_queued(queued + 6);
    run();
    CHECK_I64(mr_window_len(window, MR_PRIORITY_HIGH), 1);
    CHECK_I64(mr_window_len(window, MR_PRIORITY_LOW), 2);
    CHECK_I64(mr_release_counters(release)->lanes[MR_PRIORITY_HIGH], 0); /* not yet committed */
    CHECK_I64(mr_commit_flush(commit, WAIT_MS), MR_OK);
    CHECK_I64(mr_release_counters(release)->lanes[MR_PRIORITY_HIGH], 1);
    CHECK_I64(work.n, before); /* of model m */
    for (unsigned i = 0; i < 8; i++) {
        char id[MR_JOB_ID_LEN + 1];
        job_id(id, i < 4 ? 140 + i : 146 + i);
        mr_intake_cancel(intake, id);
    }
    read_n(&results, results.n + 3);
}

TEST(an_unknown_model_is_refused_when_the_grace_is_over) {
    char id[MR_JOB_ID_LEN + 1];
    produce_job(producer, names.jobs[1], 20, ",\"model\":\"nobody\"");
    read_n(&results, results.n + 1);
    job_id(id, 20);
    const seen *s = read_key(&results, id);
    CHECK(s && strstr(s->value, "\"unknown_model\"") && strstr(s->value, "there is: m"));
}

/* Taken into the window while it might still turn up, known to be unknown later. */
TEST(a_sweep_refuses_what_turned_out_unknown) {
    mr_release_close(release);
    release_open(GRACE_MS, 0);
    mr_release_attach(release, intake);
    const size_t queued = n_queued;
    produce_job(producer, names.jobs[1], 30, ",\"model\":\"late\"");
    wait_queued(queued + 1);
    mr_release_sweep(release, GRACE_MS + 1); /* nobody has reported: it may still turn up */
    CHECK(mr_window_has(window, "late"));
    beat(release, "w", "m", 0, NULL, 0, 10);
    mr_release_sweep(release, GRACE_MS - 1);
    CHECK(mr_window_has(window, "late"));
    mr_release_sweep(release, GRACE_MS + 1);
    CHECK(!mr_window_has(window, "late"));
    read_n(&results, results.n + 1);
}

/* A little less than a record may have, and no room for the dispatcher's fields. */
TEST(a_job_without_a_work_record_is_refused_with_the_numbers) {
    const size_t n = 1048200;
    char id[MR_JOB_ID_LEN + 1], *json = malloc(n + 256);
    const size_t before = results.n;
    CHECK(json != NULL);
    job_id(id, 35);
    char *at =
        json + sprintf(json, "{\"job_id\":\"%s\",\"model\":\"m\",\"input\":{\"prompt\":\"", id);
    memset(at, 'x', n);
    strcpy(at + n, "\"}}");
    produce(producer, names.jobs[1], "application/json", json, strlen(json));
    free(json);
    read_n(&results, before + 1);
    const seen *s = read_key(&results, id);
    CHECK(s && strstr(s->value, "\"rejected\"") && strstr(s->value, "\"too_large\""));
    CHECK(strstr(s->value, "at most 1047552"));
}

/* ---- a second member ---- */

static void on_other_msg(void *owner, const mr_kafka_msg *m) {
    (void)owner;
    (void)m; /* it finishes nothing */
}

static void on_other_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    (void)tp;
    *(size_t *)owner += n;
}

static bool is_some(void *arg) {
    return *(size_t *)arg > 0;
}

static size_t n_window(void) {
    return mr_window_len(window, MR_PRIORITY_NORMAL);
}

static bool has_all(void *arg) {
    return n_window() == *(size_t *)arg;
}

/* Jobs of partitions that go are dropped, those set aside, too, and those that stay are read again;
 * when the partitions come back so do their jobs, and each is released once. */
TEST(partitions_go_and_come_back) {
    const char *topics[] = {names.jobs[1], names.ready[1], NULL};
    const size_t n = 40, all = n + PARTS;
    size_t n_all = all, n_other = 0, before = work.n;
    mr_kafka_consumer *other = NULL;
    const mr_kafka_consumer_conf cc = {.conn = kafka,
                                       .group = "g",
                                       .topics = topics,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                       .owner = &n_other,
                                       .on_msg = on_other_msg,
                                       .on_assign = on_other_assign};
    taken = 100; /* the release was opened anew */
    two_workers(8, 100, 8, 1000);
    v_has_no_room(1000);
    for (unsigned i = 0; i < PARTS; i++) go_on(3000 + i, (int32_t)i, NULL, 500, 0);
    wait_queued(n_queued + PARTS);
    run();
    CHECK_I64(mr_release_aside(release), PARTS);
    beat(release, "w", "m", 0, NULL, 0, mr_clock_mono_ms()); /* nobody has room */
    for (unsigned i = 0; i < n; i++)
        produce_job_to(producer, names.jobs[1], (int32_t)i % PARTS, 1000 + i, ",\"model\":\"m\"");
    CHECK(run_until(&loop, has_all, &(size_t){n}, WAIT_MS));
    CHECK_OK(mr_kafka_consumer_open(&other, &loop, &cc, &err), err);
    CHECK(run_until(&loop, is_some, &n_other, WAIT_MS));
    CHECK(run_until(&loop, has_all, &(size_t){all / 2}, WAIT_MS));
    run();
    CHECK_I64(mr_release_aside(release), 0);
    mr_kafka_consumer_close(other);
    CHECK(run_until(&loop, has_all, &n_all, WAIT_MS));

    const part parts[] = {{0, 100}, {1, 100}, {2, 100}, {3, 100}};
    beat(release, "w", "m", 64, parts, PARTS, mr_clock_mono_ms());
    run();
    read_n(&work, before + all);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(work.n, before + all);
    CHECK_I64(n_window(), 0);
    for (unsigned i = 0; i < PARTS; i++) CHECK(partition_of(3000 + i) >= 0);
    for (unsigned i = 0; i < n; i++) {
        char id[MR_JOB_ID_LEN + 1];
        job_id(id, 1000 + i);
        CHECK(read_key(&work, id) != NULL);
    }
}

/* The topic's partition does not exist, as after a heartbeat from nowhere: others go on. */
TEST(a_release_into_the_void_stops_nobody) {
    const part there[] = {{0, 0}}, nowhere[] = {{PARTS + 3, 0}};
    const size_t queued = n_queued, before = work.n;
    const uint64_t now_ms = mr_clock_mono_ms();
    produce_job(producer, names.jobs[1], 40, ",\"model\":\"m\"");
    wait_queued(queued + 1);
    beat(release, "ghost", "m", 8, nowhere, 1, now_ms);
    mr_release_run(release, now_ms);
    CHECK(!mr_window_has(window, "m"));
    beat(release, "ghost", "m", 0, NULL, 0, now_ms);
    beat(release, "w", "m", 8, there, 1, now_ms);
    produce_job(producer, names.jobs[1], 41, ",\"model\":\"m\"");
    wait_queued(queued + 2);
    mr_release_run(release, now_ms);
    read_n(&work, before + 1);
    CHECK_I64(mr_parts_pending(mr_commit_parts(commit)),
              1); /* tried again; its offset stays open */
}

/* Models come and go, 64 of them; one that a job waits for is kept, and so is the job. */
TEST(a_model_that_a_job_waits_for_does_not_give_way) {
    const uint64_t now_ms = mr_clock_mono_ms(), later_ms = now_ms + 60001;
    const size_t queued = n_queued;
    char name[16];
    beat(release, "waited", "waited", 0, NULL, 0, now_ms);
    beat(release, "other", "other", 0, NULL, 0, now_ms + 1);
    produce_job(producer, names.jobs[1], 900, ",\"model\":\"waited\"");
    wait_queued(queued + 1);
    for (int i = 0; i < MR_MAX_MODELS - 2; i++) { /* with m there is one too many */
        snprintf(name, sizeof name, "x%d", i);
        beat(release, name, name, 0, NULL, 0, later_ms + 1);
    }
    CHECK(!mr_placement_knows(mr_release_placement(release), "other")); /* no job is */
    mr_release_sweep(release, later_ms + 1);
    CHECK(mr_placement_knows(mr_release_placement(release), "waited"));
    CHECK(mr_window_has(window, "waited"));
    char id[MR_JOB_ID_LEN + 1];
    job_id(id, 900);
    mr_intake_cancel(intake, id);
    expect_result(900, "\"cancelled\"", "");
}

TEST(closing_with_a_release_on_its_way) {
    const part there[] = {{0, 100}};
    const size_t queued = n_queued;
    produce_job(producer, names.jobs[1], 50, ",\"model\":\"m\"");
    wait_queued(queued + 1);
    CHECK_I64(mr_kafka_flush(producer, WAIT_MS), MR_OK);
    mr_kafka_mock_broker_up(mock, false);
    beat(release, "w", "m", 8, there, 1, mr_clock_mono_ms());
    mr_release_run(release, mr_clock_mono_ms());
    CHECK(n_on_the_way(commit) >= 1); /* the one for nowhere may have its turn, too */
    mr_kafka_producer_close(producer);
    CHECK_I64(mr_commit_flush(commit, 300), MR_ETIMEOUT);
    mr_commit_close(commit);
    mr_kafka_mock_broker_up(mock, true); /* to leave the group in time */
    mr_intake_close(intake);
    mr_keys_close(keys);
    mr_status_close(view);
    mr_release_close(release);
    mr_window_close(window);
    mr_policy_close(policy);
    reader_close(&work);
    reader_close(&results);
    rig_close();
}

MR_TEST_MAIN_SHARED
