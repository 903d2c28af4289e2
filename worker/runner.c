/* runner.c - the engine thread and the two queues between it and the loop.
 *
 * The thread repeats: take orders, end what is past its deadline, start who may, make one step,
 * report it. It sleeps only when no job can run. A cancel or a deadline thus takes effect between
 * two steps, and frees slot and KV blocks there. When the device is lost the thread says so and
 * makes no step more: its jobs are as they were, for somebody else to go on with.
 *
 * Bounds: inbox 4 orders per slot (between two of its readings a slot can see a cancel of the old
 * job and start and cancel of a new one), outbox 4 events per slot and 64. All memory is reserved
 * before MR_EVENT_READY, but for the text state of a job and its tokens (4 bytes for each of its
 * prompt and of the most that it may make), which the loop makes and frees. */
#include "worker/runner_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/model.h"
#include "engine/template.h"
#include "engine/tokenizer.h"

#define INBOX_PER_SLOT  4
#define OUTBOX_PER_SLOT 4
#define OUTBOX_EXTRA    64
#define TIGHT_WAIT_MS   100 /* without memory: between two looks whether somebody may start */

_Static_assert(MR_JOB_MAX_STOPS <= MR_TEXT_MAX_STOPS, "every stop string of a job has its place");
_Static_assert(MR_JOB_MAX_STOP_BYTES <= MR_TEXT_MAX_STOP_BYTES, "and fits there");
_Static_assert(MR_JOB_MAX_LOGIT_BIAS <= MR_MAX_LOGIT_BIAS, "every bias has its place");
_Static_assert(MR_JOB_MAX_TOP_LOGPROBS <= MR_MAX_TOP_LOGPROBS, "as many as the engine gives");

/* ---- orders and state, engine thread ---- */

/* The loop has been told, and closes the inbox; until then whatever is started is kept. */
static bool wait_for_stop(mr_runner *r) {
    mr_order o;

    while (mr_queue_pop_wait(&r->inbox, &o, -1)) mr_runner_take_order(r, &o);
    return false;
}

/* False: time to stop. */
static bool take_orders(mr_runner *r) {
    const bool tight = r->pressure.limit < r->pressure.max_jobs;
    const bool some = mr_sched_waiting(r->sched) > 0 && r->pressure.limit > 0;
    mr_order o;

    if (r->lost) return wait_for_stop(r);
    if (mr_sched_running(r->sched) == 0 && !some &&
        mr_queue_pop_wait(&r->inbox, &o, tight ? TIGHT_WAIT_MS : -1))
        mr_runner_take_order(r, &o);
    while (!atomic_load(&r->stopping) && mr_queue_pop(&r->inbox, &o)) mr_runner_take_order(r, &o);
    return !atomic_load(&r->stopping);
}

static void publish(mr_runner *r) {
    const uint64_t free_tokens =
        (uint64_t)mr_engine_kv_blocks_free(r->engine) * mr_engine_block_len(r->engine);

    atomic_store_explicit(&r->stats.running, mr_sched_running(r->sched), memory_order_relaxed);
    atomic_store_explicit(&r->stats.waiting, mr_sched_waiting(r->sched), memory_order_relaxed);
    atomic_store_explicit(&r->stats.blocked, mr_sched_blocked(r->sched), memory_order_relaxed);
    atomic_store_explicit(&r->stats.kv_tokens_free, free_tokens, memory_order_relaxed);
    atomic_store_explicit(&r->stats.limit, r->pressure.limit, memory_order_relaxed);
    atomic_store_explicit(&r->stats.displaceable, mr_sched_displaceable(r->sched),
                          memory_order_relaxed);
}

/* ---- the thread ---- */

static mr_status load(mr_runner *r, mr_err *err) {
    const uint32_t n = r->conf.max_jobs;
    const struct mr_model *m;
    uint64_t kv_tokens;
    mr_status st;

    if ((st = mr_engine_open(&r->engine, &r->options, err)) != MR_OK) return st;
    r->lanes = calloc(r->conf.n_slots, sizeof *r->lanes);
    r->plan = calloc(n, sizeof *r->plan);
    r->items = calloc(n, sizeof *r->items);
    r->outs = calloc(n, sizeof *r->outs);
    r->bias = calloc(MR_MAX_LOGIT_BIAS, sizeof *r->bias);
    if (!r->lanes || !r->plan || !r->items || !r->outs || !r->bias)
        return mr_fail(err, MR_ENOMEM, "runner: no memory for %u jobs", (unsigned)n);

    const mr_status flights = mr_runner_open_flights(r, err);
    if (flights != MR_OK) return flights;
    m = mr_engine_model(r->engine);
    kv_tokens = (uint64_t)mr_engine_kv_blocks_total(r->engine) * mr_engine_block_len(r->engine);
    r->model = (mr_runner_model){
        .isa = mr_engine_isa(r->engine),
        .n_params = m->n_params,
        .weight_bytes = m->weight_bytes,
        .kv_bytes = mr_engine_kv_bytes(r->engine),
        .kv_tokens = kv_tokens,
        .kv_type = mr_engine_kv_type(r->engine),
        .n_ctx = mr_engine_n_ctx(r->engine),
        .n_vocab = mr_engine_n_vocab(r->engine),
        .n_threads = r->conf.n_threads ? r->conf.n_threads : (int)uv_available_parallelism(),
        .tokenizer = mr_engine_tokenizer(r->engine),
    };
    r->model.tokenizer_kind = mr_tokenizer_kind(r->model.tokenizer);
    r->model.device = mr_engine_device(r->engine, &r->model.no_gpu);
    r->model.pci = mr_engine_pci(r->engine);
    r->model.chat = mr_engine_template(r->engine, &r->model.chat_missing);
    r->model.chat_name = r->model.chat ? mr_template_name(r->model.chat) : "none";
    publish(r);
    return MR_OK;
}

static void *engine_main(void *arg) {
    mr_runner *r = arg;
    mr_event ev = mr_runner_event(MR_EVENT_READY, 0);
    mr_err err = {0};

    ev.status = load(r, &err);
    if (ev.status != MR_OK) mr_runner_set_text(&ev, err.text);
    mr_runner_emit(r, &ev);
    uv_async_send(&r->wake);
    while (ev.status == MR_OK && take_orders(r)) {
        mr_runner_turn(r);
        publish(r);
        uv_async_send(&r->wake);
    }
    if (ev.status == MR_OK) {
        mr_order o;
        /* so that each start has its end */
        while (mr_queue_pop(&r->inbox, &o)) mr_runner_take_order(r, &o);
        for (uint32_t i = 0; i < r->conf.n_slots; i++) {
            if (r->lanes[i].used) mr_runner_end_job(r, i, MR_END_CANCELLED, NULL);
        }
        publish(r);
    }
    ev = mr_runner_event(MR_EVENT_STOPPED, 0);
    mr_runner_emit(r, &ev);
    uv_async_send(&r->wake);
    return NULL;
}

/* ---- loop thread ---- */

static void free_memory(mr_slot_memory *m) {
    mr_text_close(m->text);
    free(m->tokens);
    m->text = NULL;
    m->tokens = NULL;
}

/* One wake-up may stand for many events: all of them, but no more than one outbox before other
 * handles have their turn. */
static void on_wake(uv_async_t *wake) {
    mr_runner *r = wake->data;
    mr_event ev;

    for (size_t left = r->outbox.cap; left > 0; left--) {
        if (!mr_queue_pop(&r->outbox, &ev)) {
            r->conf.on_idle(r->conf.owner);
            return;
        }
        if (ev.kind == MR_EVENT_END) free_memory(&r->memory[ev.slot]);
        r->conf.on_event(r->conf.owner, &ev);
    }
    r->conf.on_idle(r->conf.owner);
    uv_async_send(wake); /* perhaps more: come back on the next turn */
}

static void runner_free(mr_runner *r) {
    if (r->has_inbox) mr_queue_deinit(&r->inbox);
    if (r->has_outbox) mr_queue_deinit(&r->outbox);
    mr_engine_close(r->engine);
    mr_sched_close(r->sched);
    mr_runner_close_flights(r);
    free(r->lanes);
    free(r->plan);
    free(r->items);
    free(r->outs);
    free(r->bias);
    free(r->memory);
    free(r);
}

static void on_wake_closed(uv_handle_t *handle) {
    runner_free(handle->data);
}

/* Signals are the loop's business. */
static int start_thread(mr_runner *r) {
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&r->thread, NULL, engine_main, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static const char *or_null(const char *text) {
    return text && *text && strcmp(text, "auto") != 0 ? text : NULL;
}

static mr_status open_sched(mr_runner *r, mr_err *err) {
    const mr_sched_conf conf = {.n_ids = r->conf.n_slots,
                                .max_running = r->conf.max_jobs,
                                .step_tokens = r->conf.max_step_tokens,
                                .max_displaced = r->conf.max_preemptions};

    return mr_sched_open(&r->sched, &conf, err);
}

mr_status mr_runner_open(mr_runner **out, uv_loop_t *loop, const mr_runner_conf *conf,
                         mr_err *err) {
    mr_runner *r = calloc(1, sizeof *r);
    mr_status st = MR_OK;
    int rc;

    *out = NULL;
    if (!r) return mr_fail(err, MR_ENOMEM, "runner: out of memory");
    r->conf = *conf;
    r->options = (mr_engine_options){
        .model_path = conf->model_path,
        .n_threads = conf->n_threads,
        .n_ctx = conf->n_ctx,
        .kv_tokens = conf->kv_tokens,
        .kv_type = conf->kv_type,
        .repack_cache = conf->repack_cache,
        .max_seqs = conf->max_jobs,
        .max_step_tokens = conf->max_step_tokens,
        .isa = or_null(conf->isa),
        .device = or_null(conf->device),
        .gpu_layers = conf->gpu_layers,
        .tensor_parallel = conf->tensor_parallel,
        .gpu_quant = conf->gpu_quant,
        .swap_bytes = conf->swap_bytes,
        .gpu_memory = conf->gpu_memory,
        .host_sampling = conf->host_sampling,
        .no_graphs = conf->no_graphs,
        .not_reproducible = conf->not_reproducible,
        .chat_template = or_null(conf->chat_template),
    };
    mr_histogram_init(&r->histograms.tokens, &mr_buckets_step);
    mr_histogram_init(&r->histograms.took, &mr_buckets_call);
    mr_pressure_init(&r->pressure, conf->max_jobs);
    if ((st = open_sched(r, err)) != MR_OK) goto fail;
    r->memory = calloc(conf->n_slots, sizeof *r->memory);
    if (!r->memory) {
        st = mr_fail(err, MR_ENOMEM, "runner: no memory for %u slots", (unsigned)conf->n_slots);
        goto fail;
    }
    st = mr_queue_init(&r->inbox, (size_t)INBOX_PER_SLOT * conf->n_slots, sizeof(mr_order), err);
    if (st != MR_OK) goto fail;
    r->has_inbox = true;
    st = mr_queue_init(&r->outbox, (size_t)OUTBOX_PER_SLOT * conf->n_slots + OUTBOX_EXTRA,
                       sizeof(mr_event), err);
    if (st != MR_OK) goto fail;
    r->has_outbox = true;
    if ((rc = uv_async_init(loop, &r->wake, on_wake)) != 0) {
        st = mr_fail(err, MR_EINTERNAL, "runner: wake-up handle: %s", uv_strerror(rc));
        goto fail;
    }
    r->wake.data = r;
    if ((rc = start_thread(r)) != 0) {
        uv_close((uv_handle_t *)&r->wake, on_wake_closed); /* frees r */
        return mr_fail(err, MR_ENOMEM, "runner: engine thread: %s", strerror(rc));
    }
    r->has_thread = true;
    *out = r;
    return MR_OK;
fail:
    runner_free(r);
    return st;
}

const mr_runner_model *mr_runner_get_model(const mr_runner *r) {
    return &r->model;
}

mr_runner_stats mr_runner_get_stats(mr_runner *r) {
    return (mr_runner_stats){
        .running = atomic_load_explicit(&r->stats.running, memory_order_relaxed),
        .waiting = atomic_load_explicit(&r->stats.waiting, memory_order_relaxed),
        .blocked = atomic_load_explicit(&r->stats.blocked, memory_order_relaxed),
        .kv_tokens_free = atomic_load_explicit(&r->stats.kv_tokens_free, memory_order_relaxed),
        .steps = atomic_load_explicit(&r->stats.steps, memory_order_relaxed),
        .step_errors = atomic_load_explicit(&r->stats.step_errors, memory_order_relaxed),
        .prompt_tokens = atomic_load_explicit(&r->stats.prompt_tokens, memory_order_relaxed),
        .generated_tokens = atomic_load_explicit(&r->stats.generated_tokens, memory_order_relaxed),
        .limit = atomic_load_explicit(&r->stats.limit, memory_order_relaxed),
        .displaceable = atomic_load_explicit(&r->stats.displaceable, memory_order_relaxed),
        .ooms = atomic_load_explicit(&r->stats.ooms, memory_order_relaxed),
        .preemptions = atomic_load_explicit(&r->stats.preemptions, memory_order_relaxed),
        .swaps = atomic_load_explicit(&r->stats.swaps, memory_order_relaxed),
        .step_us = atomic_load_explicit(&r->stats.step_us, memory_order_relaxed),
        .prefix_queries = atomic_load_explicit(&r->stats.prefix_queries, memory_order_relaxed),
        .prefix_hits = atomic_load_explicit(&r->stats.prefix_hits, memory_order_relaxed),
        .step_began_ms = atomic_load(&r->stats.step_began_ms),
    };
}

const mr_runner_histograms *mr_runner_get_histograms(const mr_runner *r) {
    return &r->histograms;
}

/* Prompt and what is made already, with room for the rest. */
static int32_t *copy_tokens(const mr_work *w) {
    int32_t *tokens = calloc(w->n_tokens + w->max_new, sizeof *tokens);

    if (!tokens) return NULL;
    memcpy(tokens, w->tokens, w->n_tokens * sizeof *tokens);
    if (w->n_taken) memcpy(tokens + w->n_tokens, w->taken, w->n_taken * sizeof *tokens);
    return tokens;
}

mr_status mr_runner_start(mr_runner *r, const mr_work *w, mr_err *err) {
    mr_order o = {.kind = MR_ORDER_START, .work = *w};
    const mr_params *p = w->params;
    mr_slot_memory *m;
    mr_status st;

    MR_CHECK(w->slot < r->conf.n_slots && p->n_stop <= MR_TEXT_MAX_STOPS);
    MR_CHECK(w->n_tokens > 0 && w->n_taken <= w->max_new);
    m = &r->memory[w->slot];
    MR_CHECK(!m->text);
    for (size_t i = 0; i < p->n_stop; i++) m->stops[i] = (mr_str){p->stop[i], strlen(p->stop[i])};
    st = mr_text_open(&m->text, r->model.tokenizer, m->stops, p->n_stop, w->starts_line, err);
    if (st != MR_OK) return st;
    m->tokens = copy_tokens(w);
    if (!m->tokens) {
        free_memory(m);
        return mr_fail(err, MR_ENOMEM, "runner: no memory for %zu tokens",
                       w->n_tokens + w->max_new);
    }
    o.text = m->text;
    o.tokens = m->tokens;
    MR_CHECK(mr_queue_push(&r->inbox, &o)); /* never full, and closed only by the loop itself */
    return MR_OK;
}

void mr_runner_cancel(mr_runner *r, uint32_t slot) {
    mr_order o = {.kind = MR_ORDER_CANCEL, .work.slot = slot};

    if (!atomic_load(&r->stopping)) MR_CHECK(mr_queue_push(&r->inbox, &o));
}

void mr_runner_stop(mr_runner *r) {
    atomic_store(&r->stopping, true);
    mr_queue_close(&r->inbox);
}

void mr_runner_close(mr_runner *r) {
    if (!r) return;
    if (r->has_thread) pthread_join(r->thread, NULL);
    mr_queue_close(&r->outbox);
    uv_close((uv_handle_t *)&r->wake, on_wake_closed);
}
