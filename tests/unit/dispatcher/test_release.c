/* Goal: a job leaves the window only when somebody has room for it, whole and into a partition of
 * theirs, once; a job for nobody, or for no record, is answered, early when it can be known and
 * late when it cannot. Method: the rules of names on entries made by hand; then intake, window and
 * committer on the embedded broker, with heartbeats by hand, a reader of the work topic, and a
 * second member of the group that comes and goes. */
#include "dispatcher/release.h"

#include "base/clock.h"
#include "rig.h"

#define GRACE_MS 30000
#define PARTS    4

typedef struct mr_heartbeat_part part;

static mr_commit *commit;
static mr_window *window;
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
    mr_job_error why = {"", "", ""};
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

static void on_queued(void *owner, const mr_entry *e) {
    (void)owner;
    (void)e;
    n_queued++;
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

TEST(opening) {
    rig_open(PARTS, PARTS);
    commit = commit_open();
    CHECK_OK(mr_window_open(&window, &err), err);
    const mr_status_conf vc = {NO_REDIS, "mr", 60, NULL, on_up}; /* a view that nobody sees */
    CHECK_OK(mr_status_open(&view, &loop, &vc, &err), err);
    const mr_release_conf rc = {.names = &names,
                                .commit = commit,
                                .window = window,
                                .view = view,
                                .default_model = "",
                                .models = "",
                                .model_grace_ms = 0,
                                .worker_timeout_ms = 60000,
                                .lookahead = 2};
    CHECK_OK(mr_release_open(&release, &rc, mr_clock_mono_ms(), &err), err);
    const mr_intake_conf ic = {.member = {.kafka = &kafka, .group = "g"},
                               .names = &names,
                               .commit = commit,
                               .window = window,
                               .window_jobs = 512,
                               .window_bytes = 64 << 20,
                               .vet = vet,
                               .on_queued = on_queued,
                               .on_fatal = on_fatal};
    CHECK_OK(mr_intake_open(&intake, &loop, &ic, &err), err);
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
        mr_arena_drop(&arena);
    }
}

TEST(an_unknown_model_is_refused_when_the_grace_is_over) {
    char id[MR_JOB_ID_LEN + 1];
    produce_job(producer, names.jobs[1], 20, ",\"model\":\"nobody\"");
    read_n(&results, 1);
    job_id(id, 20);
    const seen *s = read_key(&results, id);
    CHECK(s && strstr(s->value, "\"unknown_model\"") && strstr(s->value, "there is: m"));
}

/* Taken into the window while it might still turn up, known to be unknown later. */
TEST(a_sweep_refuses_what_turned_out_unknown) {
    mr_release_close(release);
    const mr_release_conf rc = {.names = &names,
                                .commit = commit,
                                .window = window,
                                .view = view,
                                .default_model = "",
                                .models = "",
                                .model_grace_ms = GRACE_MS,
                                .worker_timeout_ms = 60000,
                                .lookahead = 2};
    CHECK_OK(mr_release_open(&release, &rc, 0, &err), err);
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
    read_n(&results, 2);
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

/* Jobs of partitions that go are dropped and those that stay are read again; when the partitions
 * come back so do their jobs, and each is released once. */
TEST(partitions_go_and_come_back) {
    const char *topics[] = {names.jobs[0], names.jobs[1], names.jobs[2], NULL};
    size_t n = 40, n_other = 0, before = work.n;
    mr_kafka_consumer *other = NULL;
    const mr_kafka_consumer_conf cc = {.conn = kafka,
                                       .group = "g",
                                       .topics = topics,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                       .owner = &n_other,
                                       .on_msg = on_other_msg,
                                       .on_assign = on_other_assign};
    beat(release, "w", "m", 0, NULL, 0, mr_clock_mono_ms()); /* nobody has room */
    for (unsigned i = 0; i < n; i++)
        produce_job_to(producer, names.jobs[1], (int32_t)i % PARTS, 1000 + i, ",\"model\":\"m\"");
    CHECK(run_until(&loop, has_all, &n, WAIT_MS));
    CHECK_OK(mr_kafka_consumer_open(&other, &loop, &cc, &err), err);
    CHECK(run_until(&loop, is_some, &n_other, WAIT_MS));
    run_until(&loop, NULL, NULL, 500);
    CHECK_I64(n_window(), n / 2);
    mr_kafka_consumer_close(other);
    CHECK(run_until(&loop, has_all, &n, WAIT_MS));

    const part parts[] = {{0, 100}, {1, 100}, {2, 100}, {3, 100}};
    beat(release, "w", "m", 64, parts, PARTS, mr_clock_mono_ms());
    mr_release_run(release, mr_clock_mono_ms());
    read_n(&work, before + n);
    run_until(&loop, NULL, NULL, 300);
    CHECK_I64(work.n, before + n);
    CHECK_I64(n_window(), 0);
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

TEST(closing_with_a_release_on_its_way) {
    const part there[] = {{0, 100}};
    const size_t queued = n_queued;
    produce_job(producer, names.jobs[1], 50, ",\"model\":\"m\"");
    wait_queued(queued + 1);
    mr_kafka_mock_broker_up(mock, false);
    beat(release, "w", "m", 8, there, 1, mr_clock_mono_ms());
    mr_release_run(release, mr_clock_mono_ms());
    CHECK(n_on_the_way(commit) >= 1); /* the one for nowhere may have its turn, too */
    mr_kafka_producer_close(producer);
    CHECK_I64(mr_commit_flush(commit, 300), MR_ETIMEOUT);
    mr_commit_close(commit);
    mr_kafka_mock_broker_up(mock, true); /* to leave the group in time */
    mr_intake_close(intake);
    mr_status_close(view);
    mr_release_close(release);
    mr_window_close(window);
    reader_close(&work);
    reader_close(&results);
    rig_close();
}

MR_TEST_MAIN
