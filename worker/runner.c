/* runner.c - the engine thread and the two queues between it and the loop.
 *
 * The thread repeats: take orders, end what is past its deadline, start who may, make one step,
 * report it. It sleeps only when it has no job. A cancel or a deadline thus takes effect between
 * two steps, and frees slot and KV blocks there.
 *
 * One failing step must not end everybody in it: the sequences of a failed step are tried again one
 * by one, and only those that fail alone end with an error.
 *
 * Text leaves as it may be shown: a token whose text is held back (half a character, perhaps a stop
 * string) has an event with less text, and the last token of an answer carries the rest. Texts of
 * all events joined are the text of the answer. After a cancel the held-back rest is not shown.
 *
 * A job that goes on behind tokens made elsewhere has them told first, through the same text state
 * and with the same ends as tokens made here; then its sequence is prompt and tokens, and sampling
 * goes on at the next index. So nothing in what it tells shows where it was cut.
 *
 * Bounds: inbox 4 orders per slot (between two of its readings a slot can see a cancel of the old
 * job and start and cancel of a new one), outbox 4 events per slot and 64. All memory is reserved
 * before MR_EVENT_READY, but for the text state of a job, which the loop makes and frees. */
#include "worker/runner.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/queue.h"
#include "engine/model.h"
#include "engine/template.h"
#include "engine/text.h"
#include "engine/tokenizer.h"
#include "millrace/engine.h"
#include "worker/sched.h"

#define INBOX_PER_SLOT  4
#define OUTBOX_PER_SLOT 4
#define OUTBOX_EXTRA    64

_Static_assert(MR_JOB_MAX_STOPS <= MR_TEXT_MAX_STOPS, "every stop string of a job has its place");
_Static_assert(MR_JOB_MAX_STOP_BYTES <= MR_TEXT_MAX_STOP_BYTES, "and fits there");
_Static_assert(MR_JOB_MAX_LOGIT_BIAS <= MR_MAX_LOGIT_BIAS, "every bias has its place");
_Static_assert(MR_JOB_MAX_TOP_LOGPROBS <= MR_MAX_TOP_LOGPROBS, "as many as the engine gives");

typedef enum order_kind { ORDER_START, ORDER_CANCEL } order_kind;

typedef struct order {
    order_kind kind;
    mr_work work; /* CANCEL: slot only */
    mr_text *text;
} order;

typedef struct lane { /* engine thread: one slot's job */
    bool used, running;
    uint32_t seq;
    uint32_t n_told; /* tokens of the answer, taken ones included */
    mr_work work;
    mr_text *text;
} lane;

typedef struct slot_text { /* loop thread: lives from start to end of a job */
    mr_text *text;
    mr_str stops[MR_TEXT_MAX_STOPS]; /* borrowed by text */
} slot_text;

typedef struct shared_stats { /* written by the engine thread */
    _Atomic uint32_t running, waiting, blocked;
    _Atomic uint64_t kv_tokens_free, steps, step_errors, prompt_tokens, generated_tokens, step_us;
    _Atomic uint64_t step_began_ms;
} shared_stats;

struct mr_runner {
    mr_runner_conf conf;
    mr_engine_options options;
    mr_queue inbox, outbox;
    bool has_inbox, has_outbox, has_thread;
    pthread_t thread;
    uv_async_t wake;
    _Atomic bool stopping;
    shared_stats stats;
    mr_runner_model model;

    /* loop thread */
    slot_text *texts; /* [n_slots] */
    /* engine thread */
    mr_engine *engine;
    mr_sched *sched;
    lane *lanes;              /* [n_slots] */
    mr_sched_item *plan;      /* [max_jobs] */
    mr_engine_item *items;    /* [max_jobs] */
    mr_engine_out *outs;      /* [max_jobs] */
    mr_logit_bias *bias;      /* [MR_MAX_LOGIT_BIAS] */
    int32_t *joined;          /* [n_ctx] prompt and taken tokens of a job that goes on */
};

/* ---- events, engine thread ---- */

static void emit(mr_runner *r, const mr_event *ev) {
    if (mr_queue_push(&r->outbox, ev)) return;
    uv_async_send(&r->wake); /* full: the loop must know before we wait for it */
    MR_CHECK(mr_queue_push_wait(&r->outbox, ev)); /* the outbox is closed only after the join */
}

static mr_event event_of(mr_event_kind kind, uint32_t slot) {
    mr_event ev;

    ev.kind = kind;
    ev.slot = slot;
    ev.at_ms = mr_clock_mono_ms();
    ev.end = MR_END_STOP;
    ev.status = MR_OK;
    ev.token = -1;
    ev.index = 0;
    ev.taken = false;
    ev.logprob = 0;
    ev.n_top = 0;
    ev.text_len = 0;
    ev.text[0] = 0;
    return ev;
}

static void set_text(mr_event *ev, const char *text) {
    const size_t n = strnlen(text, sizeof ev->text - 1);

    memcpy(ev->text, text, n);
    ev->text[n] = 0;
    ev->text_len = (uint32_t)n;
}

/* Appends to the event; what does not fit goes ahead in events of its own. */
static void add_text(mr_runner *r, mr_event *ev, mr_str s) {
    while (s.len > 0) {
        const size_t room = sizeof ev->text - ev->text_len;
        const size_t n = s.len < room ? s.len : room;
        memcpy(ev->text + ev->text_len, s.ptr, n);
        ev->text_len += (uint32_t)n;
        s.ptr += n;
        s.len -= n;
        if (s.len > 0) {
            ev->kind = MR_EVENT_TEXT;
            emit(r, ev);
            ev->kind = MR_EVENT_TOKEN;
            ev->text_len = 0;
        }
    }
}

/* The job's one end: frees its sequence and its place in the scheduler. */
static void end_job(mr_runner *r, uint32_t slot, mr_end end, const char *why) {
    lane *l = &r->lanes[slot];
    mr_event ev = event_of(MR_EVENT_END, slot);

    if (l->running) mr_engine_drop(r->engine, l->seq);
    mr_sched_drop(r->sched, slot);
    *l = (lane){0};
    ev.end = end;
    if (why) set_text(&ev, why);
    emit(r, &ev);
}

/* ---- one step, engine thread ---- */

static bool is_stop_token(const mr_runner *r, const mr_params *p, int32_t token) {
    if (!p->ignore_eos && mr_tokenizer_is_eog(r->model.tokenizer, token)) return true;
    for (size_t i = 0; i < p->n_stop_token_ids; i++) {
        if (p->stop_token_ids[i] == token) return true;
    }
    return false;
}

/* Tells the next token of the answer with its text; the job may have ended with it. */
static void tell_token(mr_runner *r, uint32_t slot, mr_event *ev) {
    lane *l = &r->lanes[slot];
    const bool stop = is_stop_token(r, l->work.params, ev->token);
    const bool last = l->n_told + 1 == l->work.max_new;
    bool cut = false;
    mr_str shown = {0};

    ev->index = l->n_told++;
    if (!stop) {
        cut = mr_text_push(l->text, ev->token, &shown);
        add_text(r, ev, shown);
    }
    if ((stop || last) && !cut) {
        mr_text_finish(l->text, &shown);
        add_text(r, ev, shown);
    }
    emit(r, ev);
    if (stop || cut) {
        end_job(r, slot, MR_END_STOP, NULL);
    } else if (last) {
        end_job(r, slot, MR_END_LENGTH, NULL);
    }
}

static void tell_made(mr_runner *r, uint32_t slot, const mr_engine_out *out) {
    mr_event ev = event_of(MR_EVENT_TOKEN, slot);

    ev.token = out->token;
    ev.logprob = out->logprob;
    if (r->lanes[slot].work.params->logprobs) {
        ev.n_top = (uint32_t)out->n_top;
        for (int i = 0; i < out->n_top; i++)
            ev.top[i] = (mr_event_top){out->top[i].token, out->top[i].logprob};
    }
    atomic_fetch_add_explicit(&r->stats.generated_tokens, 1, memory_order_relaxed);
    tell_token(r, slot, &ev);
}

/* The tokens that were made before; the job may have ended with one of them. */
static void tell_taken(mr_runner *r, uint32_t slot) {
    const lane *l = &r->lanes[slot];
    const mr_work w = l->work;

    for (size_t i = 0; i < w.n_taken && l->running; i++) {
        mr_event ev = event_of(MR_EVENT_TOKEN, slot);
        ev.token = w.taken[i];
        ev.taken = true;
        tell_token(r, slot, &ev);
    }
}

static void take_result(mr_runner *r, const mr_sched_item *item, const mr_engine_out *out) {
    const lane *l = &r->lanes[item->id];

    if (l->n_told == l->work.n_taken)
        atomic_fetch_add_explicit(&r->stats.prompt_tokens, item->n_tokens, memory_order_relaxed);
    if (out->token >= 0) tell_made(r, item->id, out);
    if (l->running) mr_sched_computed(r->sched, item->id, mr_engine_pending(r->engine, l->seq));
}

static mr_status step(mr_runner *r, const mr_sched_item *plan, size_t n, mr_err *err) {
    const uint64_t began_us = mr_clock_mono_us();
    mr_status st;

    for (size_t i = 0; i < n; i++)
        r->items[i] = (mr_engine_item){r->lanes[plan[i].id].seq, plan[i].n_tokens};
    atomic_store(&r->stats.step_began_ms, mr_clock_mono_ms());
    st = mr_engine_step(r->engine, r->items, n, r->outs, err);
    atomic_store(&r->stats.step_began_ms, 0);
    atomic_fetch_add_explicit(&r->stats.step_us, mr_clock_mono_us() - began_us,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&r->stats.steps, 1, memory_order_relaxed);
    if (st != MR_OK) atomic_fetch_add_explicit(&r->stats.step_errors, 1, memory_order_relaxed);
    return st;
}

static void make_step(mr_runner *r) {
    const size_t n = mr_sched_plan(r->sched, r->plan);
    mr_err err = {0};

    if (n == 0) return;
    if (step(r, r->plan, n, &err) == MR_OK) {
        for (size_t i = 0; i < n; i++) take_result(r, &r->plan[i], &r->outs[i]);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (step(r, &r->plan[i], 1, &err) == MR_OK) {
            take_result(r, &r->plan[i], &r->outs[0]);
        } else {
            end_job(r, r->plan[i].id, MR_END_FAILED, err.text);
        }
    }
}

/* ---- orders and starts, engine thread ---- */

static void take_order(mr_runner *r, const order *o) {
    lane *l = &r->lanes[o->work.slot];

    if (o->kind == ORDER_CANCEL) {
        if (l->used) end_job(r, o->work.slot, MR_END_CANCELLED, NULL);
        return;
    }
    MR_CHECK(!l->used);
    *l = (lane){.used = true, .work = o->work, .text = o->text};
    mr_sched_add(r->sched, o->work.slot, o->work.priority,
                 mr_engine_blocks_for(r->engine, o->work.n_tokens + o->work.max_new));
}

/* False: time to stop. */
static bool take_orders(mr_runner *r) {
    order o;

    if (mr_sched_running(r->sched) + mr_sched_waiting(r->sched) == 0) {
        if (!mr_queue_pop_wait(&r->inbox, &o, -1)) return false;
        take_order(r, &o);
    }
    while (!atomic_load(&r->stopping) && mr_queue_pop(&r->inbox, &o)) take_order(r, &o);
    return !atomic_load(&r->stopping);
}

static void end_expired(mr_runner *r) {
    const uint64_t now_ms = mr_clock_wall_ms();

    for (uint32_t i = 0; i < r->conf.n_slots; i++) {
        const lane *l = &r->lanes[i];
        if (l->used && l->work.expires_ms && l->work.expires_ms <= now_ms)
            end_job(r, i, MR_END_EXPIRED, NULL);
    }
}

/* Prompt and taken tokens, as the engine wants them. */
static mr_status join_tokens(mr_runner *r, const mr_work *w, const int32_t **tokens, mr_err *err) {
    *tokens = w->tokens;
    if (w->n_taken == 0) return MR_OK;
    if (w->n_tokens + w->n_taken > r->model.n_ctx)
        return mr_fail(err, MR_EINVAL, "%zu tokens and %zu taken over, the context is %u",
                       w->n_tokens, w->n_taken, (unsigned)r->model.n_ctx);
    memcpy(r->joined, w->tokens, w->n_tokens * sizeof *r->joined);
    memcpy(r->joined + w->n_tokens, w->taken, w->n_taken * sizeof *r->joined);
    *tokens = r->joined;
    return MR_OK;
}

static mr_status add_sequence(mr_runner *r, lane *l, mr_err *err) {
    const mr_work *w = &l->work;
    const mr_params *p = w->params;
    const int32_t *tokens;
    mr_status st;
    const mr_sampling sampling = {
        .temperature = p->temperature,
        .top_k = p->top_k,
        .top_p = p->top_p,
        .min_p = p->min_p,
        .repetition_penalty = p->repetition_penalty,
        .frequency_penalty = p->frequency_penalty,
        .presence_penalty = p->presence_penalty,
        .seed = w->seed,
        .logprobs = p->logprobs,
        .n_top_logprobs = p->logprobs ? p->top_logprobs : 0,
        .bias = r->bias,
        .n_bias = p->n_logit_bias,
        .ban_eog = p->ignore_eos,
    };

    MR_CHECK(p->n_logit_bias <= MR_MAX_LOGIT_BIAS);
    for (size_t i = 0; i < p->n_logit_bias; i++)
        r->bias[i] = (mr_logit_bias){p->logit_bias[i].token, p->logit_bias[i].bias};
    if ((st = join_tokens(r, w, &tokens, err)) != MR_OK) return st;
    return mr_engine_add(r->engine, tokens, w->n_tokens + w->n_taken, w->n_taken,
                         w->max_new - w->n_taken, w->salt, &sampling, &l->seq, err);
}

static void start_waiting(mr_runner *r) {
    uint32_t slot;

    while (mr_sched_next(r->sched, mr_engine_kv_blocks_free(r->engine), &slot)) {
        lane *l = &r->lanes[slot];
        mr_event ev = event_of(MR_EVENT_STARTED, slot);
        mr_err err = {0};
        const mr_status st = add_sequence(r, l, &err);
        if (st == MR_ELIMIT && mr_sched_running(r->sched) > 0) return; /* when one has ended */
        if (st != MR_OK) {
            end_job(r, slot, st == MR_EINVAL ? MR_END_REFUSED : MR_END_FAILED, err.text);
            continue;
        }
        l->running = true;
        ev.index = mr_engine_cached(r->engine, l->seq);
        mr_sched_start(r->sched, slot, mr_engine_pending(r->engine, l->seq));
        emit(r, &ev);
        tell_taken(r, slot);
    }
}

static void publish(mr_runner *r) {
    const uint64_t free_tokens =
        (uint64_t)mr_engine_kv_blocks_free(r->engine) * mr_engine_block_len(r->engine);

    atomic_store_explicit(&r->stats.running, mr_sched_running(r->sched), memory_order_relaxed);
    atomic_store_explicit(&r->stats.waiting, mr_sched_waiting(r->sched), memory_order_relaxed);
    atomic_store_explicit(&r->stats.blocked, mr_sched_blocked(r->sched), memory_order_relaxed);
    atomic_store_explicit(&r->stats.kv_tokens_free, free_tokens, memory_order_relaxed);
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
    r->joined = calloc(mr_engine_n_ctx(r->engine), sizeof *r->joined);
    if (!r->lanes || !r->plan || !r->items || !r->outs || !r->bias || !r->joined)
        return mr_fail(err, MR_ENOMEM, "runner: no memory for %u jobs", (unsigned)n);

    m = mr_engine_model(r->engine);
    kv_tokens = (uint64_t)mr_engine_kv_blocks_total(r->engine) * mr_engine_block_len(r->engine);
    r->model = (mr_runner_model){
        .isa = mr_engine_isa(r->engine),
        .n_params = m->n_params,
        .weight_bytes = m->weight_bytes,
        .kv_bytes = mr_engine_kv_bytes(r->engine),
        .kv_tokens = kv_tokens,
        .n_ctx = mr_engine_n_ctx(r->engine),
        .n_vocab = mr_engine_n_vocab(r->engine),
        .n_threads = r->conf.n_threads ? r->conf.n_threads : (int)uv_available_parallelism(),
        .tokenizer = mr_engine_tokenizer(r->engine),
    };
    r->model.tokenizer_kind = mr_tokenizer_kind(r->model.tokenizer);
    r->model.device = mr_engine_device(r->engine, &r->model.no_gpu);
    r->model.chat = mr_engine_template(r->engine, &r->model.chat_missing);
    r->model.chat_name = r->model.chat ? mr_template_name(r->model.chat) : "none";
    publish(r);
    return MR_OK;
}

static void *engine_main(void *arg) {
    mr_runner *r = arg;
    mr_event ev = event_of(MR_EVENT_READY, 0);
    mr_err err = {0};

    ev.status = load(r, &err);
    if (ev.status != MR_OK) set_text(&ev, err.text);
    emit(r, &ev);
    uv_async_send(&r->wake);
    while (ev.status == MR_OK && take_orders(r)) {
        end_expired(r);
        start_waiting(r);
        make_step(r);
        publish(r);
        uv_async_send(&r->wake);
    }
    if (ev.status == MR_OK) {
        order o;
        while (mr_queue_pop(&r->inbox, &o)) take_order(r, &o); /* so that each start has its end */
        for (uint32_t i = 0; i < r->conf.n_slots; i++) {
            if (r->lanes[i].used) end_job(r, i, MR_END_CANCELLED, NULL);
        }
        publish(r);
    }
    ev = event_of(MR_EVENT_STOPPED, 0);
    emit(r, &ev);
    uv_async_send(&r->wake);
    return NULL;
}

/* ---- loop thread ---- */

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
        if (ev.kind == MR_EVENT_END) {
            mr_text_close(r->texts[ev.slot].text);
            r->texts[ev.slot].text = NULL;
        }
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
    free(r->lanes);
    free(r->plan);
    free(r->items);
    free(r->outs);
    free(r->bias);
    free(r->joined);
    free(r->texts);
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
        .max_seqs = conf->max_jobs,
        .max_step_tokens = conf->max_step_tokens,
        .isa = or_null(conf->isa),
        .device = or_null(conf->device),
        .gpu_memory = conf->gpu_memory,
        .chat_template = or_null(conf->chat_template),
    };
    st = mr_sched_open(&r->sched, conf->n_slots, conf->max_jobs, conf->max_step_tokens, err);
    if (st != MR_OK) goto fail;
    r->texts = calloc(conf->n_slots, sizeof *r->texts);
    if (!r->texts) {
        st = mr_fail(err, MR_ENOMEM, "runner: no memory for %u slots", (unsigned)conf->n_slots);
        goto fail;
    }
    st = mr_queue_init(&r->inbox, (size_t)INBOX_PER_SLOT * conf->n_slots, sizeof(order), err);
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
        .step_us = atomic_load_explicit(&r->stats.step_us, memory_order_relaxed),
        .step_began_ms = atomic_load(&r->stats.step_began_ms),
    };
}

mr_status mr_runner_start(mr_runner *r, const mr_work *w, mr_err *err) {
    order o = {.kind = ORDER_START, .work = *w};
    const mr_params *p = w->params;
    slot_text *t;
    mr_status st;

    MR_CHECK(w->slot < r->conf.n_slots && p->n_stop <= MR_TEXT_MAX_STOPS);
    MR_CHECK(w->n_taken <= w->max_new);
    t = &r->texts[w->slot];
    MR_CHECK(!t->text);
    for (size_t i = 0; i < p->n_stop; i++) t->stops[i] = (mr_str){p->stop[i], strlen(p->stop[i])};
    st = mr_text_open(&t->text, r->model.tokenizer, t->stops, p->n_stop, w->starts_line, err);
    if (st != MR_OK) return st;
    o.text = t->text;
    MR_CHECK(mr_queue_push(&r->inbox, &o)); /* never full, and closed only by the loop itself */
    return MR_OK;
}

void mr_runner_cancel(mr_runner *r, uint32_t slot) {
    order o = {.kind = ORDER_CANCEL, .work.slot = slot};

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
