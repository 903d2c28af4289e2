/* Goal: on a device tokens are the same whether they are drawn there or here, whether decode steps
 * are recorded or not, and whether a step is submitted before the one before is collected; and a
 * sequence that is dropped meanwhile disturbs nobody.
 *
 * Method: the engine on the device that is plain C (cuda_twin.h), as in test_device, and late: the
 * same jobs, with all kinds of parameters, are run in each of these ways, and their tokens and log
 * probabilities compared with those of an engine that draws here, one job at a time. */
#include "tests/cuda_twin.h"
#include "tests/golden/golden.h"

enum { N_JOBS = 7, MAX_NEW = 14, N_PROMPT = 11 };

static twin gpu;

/* The linker puts it in the place of the real one. */
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err);
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err) {
    (void)ordinal;
    (void)err;
    *out = &gpu.base;
    return MR_OK;
}

static const mr_logit_bias biases[] = {{40, 2}, {41, -3}, {40, 1}};

static const mr_sampling kinds[N_JOBS] = {
    {0},
    {.temperature = 1, .seed = 7, .logprobs = true, .n_top_logprobs = 3},
    {.temperature = 0.8f, .top_p = 0.9f, .seed = 8, .repetition_penalty = 1.3f},
    {.temperature = 1.5f, .top_k = 20, .seed = 9, .frequency_penalty = 0.5f},
    {.temperature = 1, .min_p = 0.02f, .seed = 10, .bias = biases, .n_bias = MR_COUNT(biases)},
    {.temperature = 2, .top_k = 50, .top_p = 0.8f, .seed = 11, .ban_eog = true, .logprobs = true},
    {.repetition_penalty = 2, .presence_penalty = 0.4f},
};

typedef struct job {
    mr_engine_out outs[MAX_NEW];
    size_t n, max_new;
    uint32_t seq;
    bool runs;
} job;

static void prompt_of(int32_t *tokens, size_t i) {
    for (size_t k = 0; k < N_PROMPT; k++) tokens[k] = (int32_t)(3 + (k * 37 + i * 11) % 260);
}

static mr_engine *open_engine(bool host_sampling, bool no_graphs) {
    gpu = twin_of(4);
    gpu.late = true;
    return golden_open("qwen3_q8_0", (mr_engine_options){.n_threads = 2,
                                                         .max_seqs = N_JOBS,
                                                         .max_step_tokens = 16,
                                                         .n_ctx = 64,
                                                         .device = "cuda",
                                                         .host_sampling = host_sampling,
                                                         .no_graphs = no_graphs});
}

static void add_job(mr_engine *e, job *j, size_t i) {
    int32_t tokens[N_PROMPT];

    prompt_of(tokens, i);
    *j = (job){.max_new = MAX_NEW - i, .runs = true};
    j->seq = golden_add(e, tokens, N_PROMPT, 0, j->max_new, &kinds[i]);
}

static void take(mr_engine *e, job *j, const mr_engine_out *out) {
    if (out->token == -1) return;
    CHECK(out->token >= 0 && j->n < j->max_new);
    j->outs[j->n++] = *out;
    if (j->n < j->max_new) return;
    mr_engine_drop(e, j->seq);
    j->runs = false;
}

static void check_job(const job *got, const job *want, size_t i, const char *how) {
    CHECK_I64(got->n, want->n);
    for (size_t k = 0; k < want->n; k++) {
        const mr_engine_out *a = &got->outs[k], *b = &want->outs[k];
        if (a->token != b->token || a->logprob != b->logprob || a->n_top != b->n_top ||
            memcmp(a->top, b->top, (size_t)b->n_top * sizeof b->top[0]) != 0)
            fail_msg("job %zu, token %zu, %s: %d (%g), not %d (%g)", i, k, how, a->token,
                     (double)a->logprob, b->token, (double)b->logprob);
    }
}

/* ---- each job alone, drawn here ---- */

static job expected[N_JOBS];

static void expect_jobs(void) {
    mr_engine_out out;
    mr_err err;

    if (expected[0].n > 0) return;
    mr_engine *e = open_engine(true, true);
    CHECK(!mr_engine_overlaps(e));
    for (size_t i = 0; i < N_JOBS; i++)
        for (add_job(e, &expected[i], i); expected[i].runs; take(e, &expected[i], &out)) {
            const mr_engine_item item = {expected[i].seq, mr_engine_pending(e, expected[i].seq)};
            CHECK_OK(mr_engine_step(e, &item, 1, &out, &err), err);
            CHECK(mr_engine_logits(e, item.seq) != NULL);
        }
    mr_engine_close(e);
    CHECK_I64(gpu.n_replays, 0);
}

/* ---- together ---- */

typedef struct crowd { /* jobs in one engine; those of the last steps */
    mr_engine *e;
    job jobs[N_JOBS];
    size_t at[MR_COUNT(kinds)][2]; /* job of item i, of step k % 2 */
    size_t n_steps;
} crowd;

/* What each running job has pending, as far as 16 rows go. */
static size_t plan(crowd *c, mr_engine_item *items) {
    size_t n = 0;
    uint32_t room = 16;

    for (size_t i = 0; i < N_JOBS; i++) {
        const job *j = &c->jobs[i];
        const uint32_t pending = j->runs ? mr_engine_pending(c->e, j->seq) : 0;
        const uint32_t n_tokens = pending < room ? pending : room;
        if (n_tokens == 0) continue;
        items[n] = (mr_engine_item){j->seq, n_tokens};
        c->at[n++][c->n_steps % 2] = i;
        room -= n_tokens;
    }
    c->n_steps++;
    return n;
}

static void run_together(crowd *c) {
    mr_engine_item items[N_JOBS];
    mr_engine_out outs[N_JOBS];
    mr_err err;

    for (size_t n; (n = plan(c, items)) > 0;) {
        CHECK_OK(mr_engine_step(c->e, items, n, outs, &err), err);
        for (size_t i = 0; i < n; i++)
            take(c->e, &c->jobs[c->at[i][(c->n_steps - 1) % 2]], &outs[i]);
    }
}

/* Takes the answers of the oldest step. */
static void collect(crowd *c, size_t step) {
    mr_engine_out outs[N_JOBS];
    size_t n;
    mr_err err;

    CHECK_OK(mr_engine_collect(c->e, outs, &n, &err), err);
    for (size_t i = 0; i < n; i++) {
        job *j = &c->jobs[c->at[i][step % 2]];
        if (j->runs) take(c->e, j, &outs[i]);
    }
}

static void run_overlapped(crowd *c) {
    mr_engine_item items[N_JOBS];
    size_t n_collected = c->n_steps, n_submitted = c->n_steps;
    mr_err err;

    for (size_t n = 1; n > 0 || n_collected < n_submitted;) {
        if ((n = plan(c, items)) > 0) {
            CHECK_OK(mr_engine_submit(c->e, items, n, &err), err);
            n_submitted++;
        } else {
            c->n_steps--;
        }
        if (n_submitted > n_collected + (n > 0)) collect(c, n_collected++);
    }
}

static void check_crowd(bool host_sampling, bool no_graphs, void (*run)(crowd *), const char *how) {
    expect_jobs();
    crowd c = {.e = open_engine(host_sampling, no_graphs)};
    for (size_t i = 0; i < N_JOBS; i++) add_job(c.e, &c.jobs[i], i);
    run(&c);
    for (size_t i = 0; i < N_JOBS; i++) check_job(&c.jobs[i], &expected[i], i, how);
    mr_engine_close(c.e);
    CHECK(no_graphs == (gpu.n_replays == 0));
    CHECK_I64(gpu.n_reserved, 0);
}

TEST(tokens_are_the_same_wherever_they_are_drawn) {
    check_crowd(true, true, run_together, "drawn here");
    check_crowd(false, true, run_together, "drawn there");
}

TEST(tokens_are_the_same_from_recorded_steps) {
    check_crowd(false, false, run_together, "recorded");
}

TEST(tokens_are_the_same_when_steps_overlap) {
    check_crowd(false, true, run_overlapped, "overlapped");
    check_crowd(false, false, run_overlapped, "recorded and overlapped");
}

static void check_not_recorded(bool begins) {
    crowd c = {.e = open_engine(false, false)};

    gpu.records_not = begins;
    gpu.never_records = !begins;
    for (size_t i = 0; i < N_JOBS; i++) add_job(c.e, &c.jobs[i], i);
    run_together(&c);
    for (size_t i = 0; i < N_JOBS; i++) check_job(&c.jobs[i], &expected[i], i, "not recorded");
    CHECK_I64(gpu.n_replays, 0);
    mr_engine_close(c.e);
}

TEST(what_cannot_be_recorded_is_done_kernel_by_kernel) {
    check_not_recorded(true);
    check_not_recorded(false);
}

/* ---- steps under way ---- */

/* One that is dropped, and another in its place and its blocks, while its step is under way. */
TEST(a_sequence_that_is_dropped_under_way_disturbs_nobody) {
    const uint32_t chunks[] = {N_PROMPT, 1, 1};
    crowd c = {.e = open_engine(false, false)};
    mr_engine_out outs[2];
    job old, kept;
    size_t n;
    mr_err err;

    add_job(c.e, &old, 0);
    kept = (job){.max_new = old.max_new, .seq = old.seq};
    for (size_t i = 0; i < MR_COUNT(chunks); i++) {
        CHECK_OK(mr_engine_submit(c.e, &(mr_engine_item){old.seq, chunks[i]}, 1, &err), err);
        if (i == 0) continue;
        CHECK_OK(mr_engine_collect(c.e, outs, &n, &err), err);
        kept.outs[kept.n++] = outs[0];
    }
    mr_engine_drop(c.e, old.seq);
    for (size_t i = 0; i < N_JOBS; i++) add_job(c.e, &c.jobs[i], i);
    CHECK_I64(c.jobs[0].seq, old.seq);
    CHECK_OK(mr_engine_collect(c.e, outs, &n, &err), err);
    CHECK_I64(n, 1);
    kept.outs[kept.n++] = outs[0]; /* its token comes all the same */
    for (size_t i = 0; i < kept.n; i++) CHECK_I64(kept.outs[i].token, expected[0].outs[i].token);
    run_overlapped(&c);
    for (size_t i = 0; i < N_JOBS; i++) check_job(&c.jobs[i], &expected[i], i, "in its place");
    mr_engine_close(c.e);
}

TEST(two_steps_are_under_way_at_most_and_no_other_kind) {
    mr_engine *e = open_engine(false, false);
    mr_engine_out out;
    job j;
    size_t n;
    mr_err err;

    CHECK_OK(mr_engine_collect(e, &out, &n, &err), err);
    CHECK_I64(n, 0);
    add_job(e, &j, 0);
    CHECK_OK(mr_engine_submit(e, &(mr_engine_item){j.seq, N_PROMPT}, 1, &err), err);
    CHECK_I64(mr_engine_pending(e, j.seq), 1);
    CHECK_OK(mr_engine_submit(e, &(mr_engine_item){j.seq, 1}, 1, &err), err);
    CHECK_I64(mr_engine_submit(e, &(mr_engine_item){j.seq, 1}, 1, &err), MR_ELIMIT);
    CHECK_I64(mr_engine_step(e, &(mr_engine_item){j.seq, 1}, 1, &out, &err), MR_EINVAL);
    CHECK_ERR(err, "under way");
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(mr_engine_collect(e, &out, &n, &err), err);
        CHECK_I64(out.token, expected[0].outs[i].token);
    }
    CHECK_OK(mr_engine_step(e, &(mr_engine_item){j.seq, 1}, 1, &out, &err), err);
    CHECK_I64(out.token, expected[0].outs[2].token);
    mr_engine_close(e);
}

TEST(a_device_that_is_lost_with_steps_under_way_says_so) {
    mr_engine *e = open_engine(false, false);
    mr_engine_out out;
    job j;
    size_t n;
    mr_err err;

    add_job(e, &j, 0);
    CHECK_OK(mr_engine_submit(e, &(mr_engine_item){j.seq, N_PROMPT}, 1, &err), err);
    gpu.lost = true;
    CHECK_I64(mr_engine_collect(e, &out, &n, &err), MR_EUNAVAIL);
    CHECK_I64(n, 0);
    CHECK_I64(mr_engine_submit(e, &(mr_engine_item){j.seq, 1}, 1, &err), MR_EUNAVAIL);
    CHECK_ERR(err, "lost");
    mr_engine_drop(e, j.seq);
    mr_engine_close(e);
    CHECK_I64(gpu.n_reserved, 0);
}

MR_TEST_MAIN
