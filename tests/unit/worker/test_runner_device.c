/* Goal: a worker's engine thread on a device: a displaced job's cache waits in host memory and the
 * job tells what it would have told; a device that is lost in the middle, or has no memory, is said
 * and ends no job.
 * Method: the runner over a device that is plain C (cuda_twin.h), behind the engine's own way to
 * it; which piece of memory it refuses, and at which wait it is lost, is chosen. Steps overlap. */
#include <stdatomic.h>

#include "tests/cuda_twin.h"
#include "tests/unit/worker/runner_bench.h"

static twin gpu;
static atomic_int waits_left; /* before the device stands still; below 0: it never does */

static void pass_gate(void) {
    while (atomic_load(&waits_left) == 0) usleep(1000);
    if (atomic_load(&waits_left) > 0) atomic_fetch_sub(&waits_left, 1);
}

static mr_status gated_wait(mr_device *d, mr_err *err) {
    pass_gate();
    return twin_wait(d, err);
}

static mr_status gated_reach(mr_device *d, uint32_t mark, mr_err *err) {
    pass_gate();
    return twin_reach(d, mark, err);
}

static twin new_gpu(void) {
    static mr_device_calls calls;
    twin t = twin_of(4);

    calls = twin_calls;
    calls.wait = gated_wait;
    calls.reach = gated_reach;
    t.base.calls = &calls;
    atomic_store(&waits_left, -1);
    return t;
}

/* The linker puts it in the place of the real one. */
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err);
mr_status __wrap_mr_runtime_open(mr_device **out, int ordinal, mr_err *err) {
    (void)ordinal;
    (void)err;
    *out = &gpu.base;
    return MR_OK;
}

static void open_on_device(bench *b, const char *path, uint64_t swap_bytes) {
    const mr_runner_conf conf = {.model_path = path,
                                 .isa = "auto",
                                 .chat_template = "auto",
                                 .device = "cuda",
                                 .n_threads = 1,
                                 .kv_tokens = 256,
                                 .swap_bytes = swap_bytes,
                                 .max_jobs = SEATS,
                                 .max_preemptions = 2,
                                 .max_step_tokens = 64,
                                 .n_slots = SLOTS,
                                 .owner = b,
                                 .on_event = on_event,
                                 .on_idle = on_idle};
    mr_err err = {0};

    memset(b, 0, sizeof *b);
    CHECK(uv_loop_init(&b->loop) == 0);
    CHECK_OK(mr_runner_open(&b->r, &b->loop, &conf, &err), err);
    run_until_bool(b, &b->ready);
}

/* ---- swapping ---- */

#define N_LOW 12 /* tokens: steps are slow here */

/* Two low jobs that leave two of 8 blocks free, as they share one, and a high one that needs three.
 */
static void crowd(bench *b) {
    atomic_store(&waits_left, 2 * (3 + 5)); /* two a step: the prompts, and some tokens */
    start_as(b, 0, 40, 56, &free_running, MR_PRIORITY_LOW);
    start_as(b, 1, 90, N_LOW, &free_running, MR_PRIORITY_LOW);
    while (b->slots[1].n_tokens < 3) uv_run(&b->loop, UV_RUN_ONCE);
    start_as(b, 2, 90, 4, &free_running, MR_PRIORITY_HIGH);
    atomic_store(&waits_left, -1);
}

static void end_all(bench *b) {
    for (uint32_t i = 0; i < 3; i++) run_until(b, &b->slots[i].ended);
}

static void check_displaced(uint64_t swap_bytes) {
    const char *path = tiny_model_of("q8_0"); /* its products are the fastest here */
    static seen alone;
    bench b;

    gpu = new_gpu();
    open_on_device(&b, path, swap_bytes);
    CHECK_I64(b.ready_status, MR_OK);
    CHECK_STR(mr_runner_get_model(b.r)->device, "twin");
    start_as(&b, 1, 90, N_LOW, &free_running, MR_PRIORITY_LOW);
    run_until(&b, &b.slots[1].ended);
    alone = b.slots[1];
    crowd(&b);
    run_until(&b, &b.slots[1].ended);
    mr_runner_cancel(b.r, 0);
    end_all(&b);
    CHECK_I64(b.slots[1].displaced, 1);
    CHECK_I64(b.slots[1].n_tokens, N_LOW);
    CHECK(memcmp(b.slots[1].tokens, alone.tokens, sizeof alone.tokens) == 0);
    CHECK(memcmp(b.slots[1].text, alone.text, sizeof alone.text) == 0);
    const mr_runner_stats stats = mr_runner_get_stats(b.r);
    CHECK_I64(stats.preemptions, 1);
    CHECK_I64(stats.swaps, swap_bytes ? 1 : 0);
    close_bench(&b);
    CHECK_I64(gpu.n_reserved, 0);
    unlink(path);
}

TEST(a_displaced_job_goes_on_from_host_memory) {
    check_displaced(1u << 20);
}

TEST(without_swap_it_is_computed_again) {
    check_displaced(0);
}

TEST(a_swapped_job_can_be_cancelled) {
    const char *path = tiny_model_of("q8_0");
    bench b;

    gpu = new_gpu();
    open_on_device(&b, path, 1u << 20);
    crowd(&b);
    while (!b.slots[1].displaced) uv_run(&b.loop, UV_RUN_ONCE);
    for (uint32_t i = 0; i < 3; i++) mr_runner_cancel(b.r, i);
    end_all(&b);
    CHECK_I64(mr_runner_get_stats(b.r).swaps, 1);
    close_bench(&b);
    CHECK_I64(gpu.n_reserved, 0);
    unlink(path);
}

/* ---- when it goes wrong ---- */

/* Lost at its n-th wait: while it loads, in a prompt, behind some tokens. */
static bool check_lost_at(const char *path, size_t n) {
    bench b;

    gpu = new_gpu();
    gpu.lost_at = n;
    open_on_device(&b, path, 1u << 20);
    if (b.ready_status != MR_OK) {
        CHECK_I64(b.ready_status, MR_EUNAVAIL);
        CHECK(strstr(b.ready_text, "lost") != NULL);
        run_until_bool(&b, &b.stopped);
    } else {
        for (uint32_t i = 0; i < SEATS; i++) start(&b, i, 10 + 5 * i, 20, &free_running);
        run_until_bool(&b, &b.lost);
        for (uint32_t i = 0; i < SEATS; i++)
            CHECK(!b.slots[i].ended || b.slots[i].end == MR_END_LENGTH);
        mr_runner_stop(b.r);
        run_until_bool(&b, &b.stopped);
        for (uint32_t i = 0; i < SEATS; i++) CHECK_I64(b.slots[i].ended, 1);
    }
    const bool opened = b.ready_status == MR_OK;
    mr_runner_close(b.r);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    CHECK_I64(uv_loop_close(&b.loop), 0);
    CHECK_I64(gpu.n_reserved, 0);
    return opened;
}

TEST(a_device_that_is_lost_at_any_time_is_said_and_ends_no_job) {
    const char *path = tiny_model_of("q8_0"); /* its products are the fastest here */
    size_t first = 1;

    while (!check_lost_at(path, first)) CHECK(++first < 200);
    print_message("%zu waits to load\n", first - 1);
    for (size_t n = first + 1; n < first + 10; n += 2) CHECK(check_lost_at(path, n));
    unlink(path);
}

TEST(a_device_without_memory_is_no_worker_and_says_what_for) {
    const char *path = tiny_model_of("q8_0"); /* its products are the fastest here */
    bool opened = false;
    size_t n = 0;
    bench b;

    while (!opened) {
        gpu = new_gpu();
        gpu.refuses = ++n;
        open_on_device(&b, path, 1u << 20);
        opened = b.ready_status == MR_OK;
        if (!opened) {
            CHECK_I64(b.ready_status, MR_ENOMEM);
            CHECK(strstr(b.ready_text, "bytes for ") != NULL);
        }
        close_bench(&b);
        CHECK_I64(gpu.n_reserved, 0);
    }
    CHECK(n > 7); /* weights, two buffers, work, cache, lists, swap, logits */
    unlink(path);
}

MR_TEST_MAIN
