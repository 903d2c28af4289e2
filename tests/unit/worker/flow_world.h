/* flow_world.h - a flow between fakes, one partition, and short words for what tests of it do. */
#ifndef MR_TESTS_WORKER_FLOW_WORLD_H
#define MR_TESTS_WORKER_FLOW_WORLD_H

#include "tests/unit/worker/fakes.h"

#define WORK  "millrace.work.demo"
#define VOCAB 100

typedef struct world {
    mr_jobs *jobs;
    mr_flow flow;
    mr_metrics metrics;
    int n_fatal, n_handed_back;
} world;

static world w;

static inline void on_nothing(void *owner) {
    (void)owner;
}

static inline void on_fatal(void *owner, mr_status status, const char *text) {
    (void)owner, (void)status, (void)text;
    w.n_fatal++;
}

static inline void on_handed_back(void *owner, const mr_job *j, mr_attempt_outcome outcome) {
    (void)owner, (void)j, (void)outcome;
    w.n_handed_back++;
}

static inline void open_flow(uint32_t max_jobs) {
    mr_err err = {0};

    memset(&w, 0, sizeof w);
    CHECK(MR_FLOW_SLOTS(max_jobs) <= N_SLOTS);
    CHECK_OK(mr_jobs_open(&w.jobs, MR_FLOW_SLOTS(max_jobs), &err), err);
    mr_metrics_init(&w.metrics);
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
                                   .attempts_topic = "attempts",
                                   .commit = &commit},
                       .on_change = on_nothing,
                       .on_room = on_nothing,
                       .on_fatal = on_fatal,
                       .on_handed_back = on_handed_back};
    CHECK_OK(mr_flow_init(&w.flow, &err), err);
}

static inline void assign(int64_t offset, const char *metadata) {
    mr_err err = {0};

    CHECK(mr_parts_assign(commit.parts, WORK, 0, offset, metadata, strlen(metadata), NULL, &err) >=
          0);
}

static inline void open_world(uint32_t max_jobs) {
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

static inline void close_flow(void) {
    mr_flow_deinit(&w.flow);
    mr_jobs_close(w.jobs);
}

static inline void close_world(void) {
    close_flow();
    for (size_t i = 0; i < commit.n; i++) {
        for (size_t k = 0; k < commit.items[i].n; k++) free(commit.items[i].value[k]);
    }
    mr_parts_close(commit.parts);
}

/* ---- records ---- */

static inline void set_id(char id[MR_JOB_ID_LEN + 1], int64_t offset) {
    snprintf(id, MR_JOB_ID_LEN + 1, "0193b7a0-0000-7000-8000-%012d", (int)offset);
}

static inline mr_job_spec a_job(int64_t offset) {
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

static inline mr_status give_bytes(int64_t offset, const void *bytes, size_t n) {
    const mr_kafka_msg m = {.topic = WORK, .offset = offset, .value = bytes, .len = n};

    return mr_flow_record(&w.flow, &m, false);
}

static inline mr_status give_spec(int64_t offset, const mr_job_spec *spec) {
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

static inline mr_status give(int64_t offset) {
    const mr_job_spec spec = a_job(offset);
    return give_spec(offset, &spec);
}

static inline mr_job *job_of(int64_t offset) {
    char id[MR_JOB_ID_LEN + 1];

    set_id(id, offset);
    return mr_jobs_find(w.jobs, id);
}

/* ---- what others tell the flow ---- */

static inline void claimed_with(int64_t offset, const int32_t *tokens, size_t n, const char *text) {
    const mr_takeover t = {
        .attempt = 7, .tokens = tokens, .n_tokens = n, .text = text, .text_len = strlen(text)};
    const uint32_t slot = job_of(offset)->slot;

    CHECK(stream.lanes[slot].used);
    stream.lanes[slot].attempt = 7;
    mr_flow_claimed(&w.flow, slot, &t);
}

static inline void claimed(int64_t offset) {
    claimed_with(offset, NULL, 0, "");
}

static inline mr_event event_of(uint32_t slot, mr_event_kind kind) {
    mr_event ev = {.kind = kind, .slot = slot, .at_ms = 5};
    return ev;
}

static inline void tell(uint32_t slot, mr_event_kind kind) {
    const mr_event ev = event_of(slot, kind);
    mr_flow_event(&w.flow, &ev);
}

static inline void tell_token(uint32_t slot, uint32_t index, int32_t token, const char *text,
                              bool taken) {
    mr_event ev = event_of(slot, MR_EVENT_TOKEN);

    ev.index = index;
    ev.token = token;
    ev.taken = taken;
    ev.text_len = (uint32_t)strlen(text);
    memcpy(ev.text, text, ev.text_len);
    mr_flow_event(&w.flow, &ev);
}

static inline void tell_end(uint32_t slot, mr_end end) {
    mr_event ev = event_of(slot, MR_EVENT_END);

    ev.end = end;
    runner.jobs[slot].used = false;
    mr_flow_event(&w.flow, &ev);
}

/* From the record to the engine thread. */
static inline uint32_t start(int64_t offset) {
    CHECK_I64(give(offset), MR_OK);
    decide(MR_OK);
    claimed(offset);
    return job_of(offset)->slot;
}

static inline mr_result result_of(const asked *a, mr_arena *arena) {
    mr_err err = {0};
    mr_result r;

    CHECK_STR(a->topic[0], "results");
    CHECK_OK(mr_codec_result_decode(&r, MR_FORMAT_JSON, a->value[0], a->len[0], arena, &err), err);
    return r;
}

static inline asked *last_asked(void) {
    return &commit.items[commit.n - 1];
}

/* The newest answer has this status, error code ("": none) and text. */
static inline void check_answer(mr_job_status status, const char *code, const char *text) {
    mr_arena arena;
    mr_result r;

    mr_arena_init(&arena, 0);
    r = result_of(last_asked(), &arena);
    CHECK_I64(r.status, status);
    CHECK_STR(r.error.code ? r.error.code : "", code);
    CHECK_STR(r.text, text);
    mr_arena_drop(&arena);
}

#endif
