/* Goal: where steps overlap, jobs tell the same tokens, texts and ends as where they do not, also
 * when jobs are cancelled, displaced, stopped or lost while a step is under way.
 *
 * Method: a real engine thread on the device that is plain C (cuda_twin.h), late: nothing is done
 * before it is waited for. The same jobs run with overlapping steps and without; which of the two,
 * the test says in the place of mr_engine_overlaps. */
#include "tests/cuda_twin.h"
#include "tests/unit/worker/runner_bench.h"

#define MODEL "tests/golden/qwen3_q8_0.gguf" /* quantized: the twin is quick at it */

static twin gpu;
static bool overlaps;

/* The linker puts these in the place of the real ones. */
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err);
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err) {
    (void)ordinal;
    (void)err;
    *out = &gpu.base;
    return MR_OK;
}
bool __real_mr_engine_overlaps(const struct mr_engine *e);
bool __wrap_mr_engine_overlaps(const struct mr_engine *e);
bool __wrap_mr_engine_overlaps(const struct mr_engine *e) {
    return overlaps && __real_mr_engine_overlaps(e);
}

static void open_on_twin(bench *b, bool how) {
    gpu = twin_of(4);
    gpu.late = true;
    overlaps = how;
    open_bench(b, MODEL, 1024, 40);
    CHECK_STR(mr_runner_get_model(b->r)->device, "twin");
}

static void close_on_twin(bench *b) {
    close_bench(b);
    CHECK_I64(gpu.n_reserved, 0);
}

/* More jobs than seats; short and long, greedy and not, with ends of all kinds. */
static mr_params params_of(uint32_t slot) {
    static const int32_t stops[] = {7, 19, 44, 101, 102, 103, 104, 105, 106, 107};
    mr_params p = free_running;

    if (slot % 3 == 0) p.temperature = 0;
    if (slot % 4 == 1) p.repetition_penalty = 1.4f;
    if (slot % 4 == 2) p.logprobs = true;
    if (slot % 4 == 3) {
        p.n_stop_token_ids = MR_COUNT(stops);
        p.stop_token_ids = stops;
    }
    return p;
}

static void run_all(bench *b, bool how) {
    mr_params params[SLOTS];

    open_on_twin(b, how);
    for (uint32_t i = 0; i < SLOTS; i++) {
        params[i] = params_of(i);
        start(b, i, 1 + i * 3, 2 + i, &params[i]);
    }
    for (uint32_t i = 0; i < SLOTS; i++) run_until(b, &b->slots[i].ended);
    CHECK((gpu.n_replays > 0) == how);
    close_on_twin(b);
}

TEST(jobs_tell_the_same_when_steps_overlap) {
    static bench one, other;

    run_all(&one, false);
    run_all(&other, true);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const seen *a = &one.slots[i], *b = &other.slots[i];
        CHECK_I64(a->n_tokens, b->n_tokens);
        CHECK_I64(a->end, b->end);
        CHECK_I64(a->text_len, b->text_len);
        assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof a->tokens[0]);
        assert_memory_equal(a->text, b->text, a->text_len);
        for (uint32_t k = 0; k < a->n_tokens; k++) CHECK(a->logprobs[k] == b->logprobs[k]);
    }
}

TEST(a_cancel_frees_the_seat_for_a_job_that_tells_what_it_would_alone) {
    static bench b;
    seen alone;

    open_on_twin(&b, true);
    start(&b, 5, 5, 8, &free_running);
    run_until(&b, &b.slots[5].ended);
    alone = b.slots[5];
    for (uint32_t i = 0; i < SEATS; i++) start(&b, i, 20, 80, &free_running);
    start(&b, 5, 5, 8, &free_running); /* waits for a seat */
    for (uint32_t i = 0; i < SEATS; i++) run_until(&b, &b.slots[i].started);
    mr_runner_cancel(b.r, 2);
    run_until(&b, &b.slots[2].ended);
    CHECK_I64(b.slots[2].end, MR_END_CANCELLED);
    start(&b, 2, 5, 8, &free_running); /* the same place again */
    run_until(&b, &b.slots[5].ended);
    CHECK_I64(b.slots[5].n_tokens, alone.n_tokens);
    assert_memory_equal(b.slots[5].tokens, alone.tokens, alone.n_tokens * sizeof alone.tokens[0]);
    close_on_twin(&b); /* others are in mid-answer */
    CHECK_I64(b.slots[0].end, MR_END_CANCELLED);
}

TEST(a_displaced_job_goes_on_where_it_was) {
    static bench b;
    seen alone[SEATS];

    open_on_twin(&b, true);
    for (uint32_t i = 0; i < SEATS; i++) {
        start(&b, i, 9, 14, &free_running);
        run_until(&b, &b.slots[i].ended);
        alone[i] = b.slots[i];
    }
    for (uint32_t i = 0; i < SEATS; i++) start_as(&b, i, 9, 14, &free_running, MR_PRIORITY_LOW);
    for (uint32_t i = 0; i < SEATS; i++) run_until(&b, &b.slots[i].started);
    start_as(&b, 9, 5, 6, &free_running, MR_PRIORITY_HIGH);
    for (uint32_t i = 0; i < SEATS; i++) run_until(&b, &b.slots[i].ended);
    int n_displaced = 0;
    for (uint32_t i = 0; i < SEATS; i++) {
        n_displaced += b.slots[i].displaced;
        CHECK_I64(b.slots[i].n_tokens, 14);
        assert_memory_equal(b.slots[i].tokens, alone[i].tokens, 14 * sizeof alone[i].tokens[0]);
    }
    CHECK(n_displaced > 0);
    close_on_twin(&b);
}

TEST(a_device_that_is_lost_in_mid_step_is_told_once) {
    static bench b;

    open_on_twin(&b, true);
    for (uint32_t i = 0; i < SEATS; i++) start(&b, i, 20, 80, &free_running);
    run_until(&b, &b.slots[0].started);
    gpu.lost = true;
    run_until_bool(&b, &b.lost);
    CHECK_I64(b.slots[0].ended, 0); /* it is for another worker */
    close_on_twin(&b);
}

MR_TEST_MAIN
