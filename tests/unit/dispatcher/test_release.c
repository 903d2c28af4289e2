/* Goal: a job leaves the window only when somebody has room for it, whole and into a partition of
 * theirs; a job for nobody is answered, early when it can be known and late when it cannot. Method:
 * the rules of names on entries made by hand; then intake, window and outbox on the embedded
 * broker, with heartbeats by hand and a reader of the work topic. */
#include "dispatcher/release.h"

#include "base/clock.h"
#include "rig.h"

#define GRACE_MS 30000
#define PARTS    4

typedef struct mr_heartbeat_part part;

static mr_outbox *outbox;
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
    rig_open(PARTS);
    CHECK_OK(mr_outbox_open(&outbox, &loop, &kafka, &err), err);
    CHECK_OK(mr_window_open(&window, &err), err);
    const mr_status_conf vc = {NO_REDIS, "mr", 60, NULL, on_up}; /* a view that nobody sees */
    CHECK_OK(mr_status_open(&view, &loop, &vc, &err), err);
    const mr_release_conf rc = {.names = &names,
                                .outbox = outbox,
                                .window = window,
                                .view = view,
                                .default_model = "",
                                .models = "",
                                .model_grace_ms = 0,
                                .worker_timeout_ms = 60000,
                                .lookahead = 2};
    CHECK_OK(mr_release_open(&release, &rc, mr_clock_mono_ms(), &err), err);
    const mr_intake_conf ic = {.kafka = &kafka,
                               .group = "g",
                               .names = &names,
                               .outbox = outbox,
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
                                .outbox = outbox,
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
    CHECK_I64(mr_outbox_len(outbox), 1); /* waits for its partition; its offset stays open */
}

TEST(closing_with_a_release_on_its_way) {
    const part there[] = {{0, 100}};
    const size_t queued = n_queued;
    produce_job(producer, names.jobs[1], 50, ",\"model\":\"m\"");
    wait_queued(queued + 1);
    mr_kafka_mock_broker_up(mock, false);
    beat(release, "w", "m", 8, there, 1, mr_clock_mono_ms());
    mr_release_run(release, mr_clock_mono_ms());
    CHECK_I64(mr_outbox_len(outbox), 2);
    mr_kafka_producer_close(producer);
    mr_outbox_flush(outbox, 300);
    mr_outbox_close(outbox);
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
