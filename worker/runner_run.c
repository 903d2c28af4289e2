/* runner_run.c - the engine thread's jobs: their tokens, their steps, who starts and who waits.
 *
 * Text leaves as it may be shown: a token whose text is held back (half a character, perhaps a stop
 * string) has an event with less text, and the last token of an answer carries the rest. Texts of
 * all events joined are the text of the answer. After a cancel the held-back rest is not shown.
 *
 * A job that goes on behind tokens made elsewhere has them told first, through the same text state
 * and with the same ends as tokens made here; then its sequence is prompt and tokens, and sampling
 * goes on at the next index. One that is displaced goes on in the same way behind its own tokens,
 * which were told before; a GPU's engine may have kept what was computed. So nothing in what it
 * tells shows where it was cut.
 *
 * A step that fails must not end everybody in it: it is tried again in halves, and only who fails
 * alone ends with an error. When what fails is memory, the halves stay small for the rest of the
 * step, a prompt is cut into smaller chunks before its job is given up, fewer jobs may run from now
 * on (pressure.h), and no part of a later step is larger than that. When nobody found memory, those
 * who wait come back, too: another worker may have some. */
#include "worker/runner_internal.h"

#include <string.h>

#include "base/clock.h"
#include "engine/tokenizer.h"

/* ---- events ---- */

void mr_runner_emit(mr_runner *r, const mr_event *ev) {
    if (mr_queue_push(&r->outbox, ev)) return;
    uv_async_send(&r->wake); /* full: the loop must know before we wait for it */
    MR_CHECK(mr_queue_push_wait(&r->outbox, ev)); /* the outbox is closed only after the join */
}

mr_event mr_runner_event(mr_event_kind kind, uint32_t slot) {
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

void mr_runner_set_text(mr_event *ev, const char *text) {
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
            mr_runner_emit(r, ev);
            ev->kind = MR_EVENT_TOKEN;
            ev->text_len = 0;
        }
    }
}

void mr_runner_end_job(mr_runner *r, uint32_t slot, mr_end end, const char *why) {
    mr_lane *l = &r->lanes[slot];
    mr_event ev = mr_runner_event(MR_EVENT_END, slot);

    if (l->running) mr_engine_drop(r->engine, l->seq);
    if (l->is_parked) mr_engine_forget(r->engine, l->parked);
    mr_sched_drop(r->sched, slot);
    *l = (mr_lane){0};
    ev.end = end;
    if (why) mr_runner_set_text(&ev, why);
    mr_runner_emit(r, &ev);
}

/* ---- tokens ---- */

static bool is_stop_token(const mr_runner *r, const mr_params *p, int32_t token) {
    if (!p->ignore_eos && mr_tokenizer_is_eog(r->model.tokenizer, token)) return true;
    for (size_t i = 0; i < p->n_stop_token_ids; i++) {
        if (p->stop_token_ids[i] == token) return true;
    }
    return false;
}

/* Tells the next token of the answer with its text; the job may have ended with it. */
static void tell_token(mr_runner *r, uint32_t slot, mr_event *ev) {
    mr_lane *l = &r->lanes[slot];
    const bool stop = is_stop_token(r, l->work.params, ev->token);
    const bool last = l->n_told + 1 == l->work.max_new;
    bool cut = false;
    mr_str shown = {0};

    ev->index = l->n_told++;
    if (ev->index == l->n_made) l->tokens[l->work.n_tokens + l->n_made++] = ev->token;
    if (!stop) {
        cut = mr_text_push(l->text, ev->token, &shown);
        add_text(r, ev, shown);
    }
    if ((stop || last) && !cut) {
        mr_text_finish(l->text, &shown);
        add_text(r, ev, shown);
    }
    mr_runner_emit(r, ev);
    if (stop || cut) {
        mr_runner_end_job(r, slot, MR_END_STOP, NULL);
    } else if (last) {
        mr_runner_end_job(r, slot, MR_END_LENGTH, NULL);
    }
}

static void tell_made(mr_runner *r, uint32_t slot, const mr_engine_out *out) {
    mr_event ev = mr_runner_event(MR_EVENT_TOKEN, slot);

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
    const mr_lane *l = &r->lanes[slot];
    const mr_work w = l->work;

    for (size_t i = 0; i < w.n_taken && l->running; i++) {
        mr_event ev = mr_runner_event(MR_EVENT_TOKEN, slot);
        ev.token = w.taken[i];
        ev.taken = true;
        tell_token(r, slot, &ev);
    }
}

void mr_runner_take_result(mr_runner *r, const mr_sched_item *item, const mr_engine_out *out) {
    mr_lane *l = &r->lanes[item->id];

    if (!l->prefilled)
        atomic_fetch_add_explicit(&r->stats.prompt_tokens, item->n_tokens, memory_order_relaxed);
    if (out->token >= 0) {
        l->prefilled = true;
        tell_made(r, item->id, out);
    }
    if (l->running) mr_sched_computed(r->sched, item->id, mr_engine_pending(r->engine, l->seq));
}

/* ---- memory and device ---- */

static void set_seats(mr_runner *r) {
    mr_pressure_tick(&r->pressure, mr_clock_mono_ms());
    mr_sched_set_seats(r->sched, r->pressure.limit);
}

static void lower_limit(mr_runner *r, size_t running) {
    mr_pressure_oom(&r->pressure, (uint32_t)running, mr_clock_mono_ms());
    set_seats(r);
}

/* While so many ran there was no memory. One alone may find some for fewer rows: see note_none. */
static void note_oom(mr_runner *r, size_t running) {
    atomic_fetch_add_explicit(&r->stats.ooms, 1, memory_order_relaxed);
    if (running > 1) lower_limit(r, running);
}

/* Not one job finds memory: those who wait need not wait here. */
static void note_none(mr_runner *r, const char *why) {
    lower_limit(r, 1);
    for (uint32_t i = 0; i < r->conf.n_slots; i++) {
        const mr_lane *l = &r->lanes[i];
        if (l->used && !l->running) mr_runner_end_job(r, i, MR_END_NO_MEMORY, why);
    }
}

void mr_runner_lose(mr_runner *r, const char *why) {
    mr_event ev = mr_runner_event(MR_EVENT_LOST, 0);

    r->lost = true;
    mr_runner_set_text(&ev, why);
    mr_runner_emit(r, &ev);
}

/* ---- one step ---- */

void mr_runner_count_step(mr_runner *r, mr_status st, size_t n_tokens, uint64_t took_us) {
    atomic_fetch_add_explicit(&r->stats.step_us, took_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->stats.steps, 1, memory_order_relaxed);
    if (st != MR_OK) {
        atomic_fetch_add_explicit(&r->stats.step_errors, 1, memory_order_relaxed);
        return;
    }
    mr_histogram_add(&r->histograms.tokens, n_tokens);
    mr_histogram_add(&r->histograms.took, took_us);
}

static mr_status step(mr_runner *r, const mr_sched_item *plan, size_t n, mr_err *err) {
    const uint64_t began_us = mr_clock_mono_us();
    size_t n_tokens = 0;
    mr_status st;

    for (size_t i = 0; i < n; i++) {
        r->items[i] = (mr_engine_item){r->lanes[plan[i].id].seq, plan[i].n_tokens};
        n_tokens += plan[i].n_tokens;
    }
    atomic_store(&r->stats.step_began_ms, mr_clock_mono_ms());
    st = mr_engine_step(r->engine, r->items, n, r->outs, err);
    atomic_store(&r->stats.step_began_ms, 0);
    mr_runner_count_step(r, st, n_tokens, mr_clock_mono_us() - began_us);
    return st;
}

/* A part of n items failed. True: a smaller one may do better. */
static bool shrink(mr_sched_item *part, size_t *n, mr_status failure) {
    if (*n > 1) {
        *n = (*n + 1) / 2;
        return true;
    }
    if (failure != MR_ENOMEM || part->n_tokens == 1) return false;
    part->n_tokens = (part->n_tokens + 1) / 2;
    return true;
}

/* Each turn of the loop ends with part of the plan done, with a job given up, or with less to try.
 */
void mr_runner_make_step(mr_runner *r) {
    const size_t n = mr_sched_plan(r->sched, r->plan);
    const size_t most = r->pressure.limit > 0 ? r->pressure.limit : 1;
    size_t at = 0, size = most;
    bool no_memory = false, any = false;
    mr_err err = {0};

    while (at < n) {
        mr_sched_item *part = r->plan + at;
        size_t k = size < n - at ? size : n - at;
        const mr_status st = step(r, part, k, &err);
        if (st == MR_OK) {
            for (size_t i = 0; i < k; i++) mr_runner_take_result(r, &part[i], &r->outs[i]);
            at += k;
            any = true;
            continue;
        }
        if (st == MR_EUNAVAIL) {
            mr_runner_lose(r, err.text);
            return;
        }
        if (st == MR_ENOMEM && !no_memory) note_oom(r, k);
        no_memory = no_memory || st == MR_ENOMEM;
        if (shrink(part, &k, st)) {
            size = k;
            continue;
        }
        mr_runner_end_job(r, part->id, st == MR_ENOMEM ? MR_END_NO_MEMORY : MR_END_FAILED,
                          err.text);
        at++;
        if (st != MR_ENOMEM) size = most; /* the one that did it is gone */
    }
    if (no_memory && !any) note_none(r, err.text);
}

/* ---- orders and starts ---- */

void mr_runner_take_order(mr_runner *r, const mr_order *o) {
    mr_lane *l = &r->lanes[o->work.slot];

    if (o->kind == MR_ORDER_CANCEL) {
        if (l->used) mr_runner_end_job(r, o->work.slot, MR_END_CANCELLED, NULL);
        return;
    }
    MR_CHECK(!l->used);
    *l = (mr_lane){.used = true,
                   .n_made = (uint32_t)o->work.n_taken,
                   .work = o->work,
                   .text = o->text,
                   .tokens = o->tokens};
    mr_sched_add(r->sched, o->work.slot, o->work.priority,
                 mr_engine_blocks_for(r->engine, o->work.n_tokens + o->work.max_new));
}

static void end_expired(mr_runner *r) {
    const uint64_t now_ms = mr_clock_wall_ms();

    for (uint32_t i = 0; i < r->conf.n_slots; i++) {
        const mr_lane *l = &r->lanes[i];
        if (l->used && l->work.expires_ms && l->work.expires_ms <= now_ms)
            mr_runner_end_job(r, i, MR_END_EXPIRED, NULL);
    }
}

static mr_status add_sequence(mr_runner *r, mr_lane *l, mr_err *err) {
    const mr_work *w = &l->work;
    const mr_params *p = w->params;
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
    return mr_engine_add(r->engine, l->tokens, w->n_tokens + l->n_made, l->n_made,
                         w->max_new - l->n_made, w->salt, &sampling, &l->seq, err);
}

/* The job has a sequence. */
static void begin(mr_runner *r, uint32_t slot) {
    mr_lane *l = &r->lanes[slot];
    const bool resumed = l->started;
    mr_event ev = mr_runner_event(resumed ? MR_EVENT_RESUMED : MR_EVENT_STARTED, slot);

    const uint32_t n_tokens = (uint32_t)l->work.n_tokens + l->n_made;
    atomic_fetch_add_explicit(&r->stats.prefix_queries, n_tokens, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->stats.prefix_hits, mr_engine_cached(r->engine, l->seq),
                              memory_order_relaxed);
    if (l->is_parked) mr_engine_unpark(r->engine, l->seq, l->parked);
    l->is_parked = false;
    ev.index = n_tokens - mr_engine_pending(r->engine, l->seq);
    l->running = l->started = true;
    l->prefilled = false;
    l->begun = ++r->n_begun;
    mr_sched_start(r->sched, slot, mr_engine_pending(r->engine, l->seq));
    mr_runner_emit(r, &ev);
    if (!resumed) tell_taken(r, slot);
}

/* False: nobody else can start in this turn. */
static bool start(mr_runner *r, uint32_t slot) {
    const uint32_t running = mr_sched_running(r->sched);
    mr_err err = {0};
    const mr_status st = add_sequence(r, &r->lanes[slot], &err);

    if (st == MR_OK) {
        begin(r, slot);
        return true;
    }
    if (st == MR_EUNAVAIL) {
        mr_runner_lose(r, err.text);
        return false;
    }
    if (st == MR_ENOMEM) note_oom(r, running + 1);
    if (st == MR_ENOMEM && running == 0) {
        note_none(r, err.text);
        return false;
    }
    if ((st == MR_ENOMEM || st == MR_ELIMIT) && running > 0) return false; /* when one has ended */
    mr_runner_end_job(r, slot,
                      st == MR_EINVAL   ? MR_END_REFUSED
                      : st == MR_ELIMIT ? MR_END_NO_MEMORY
                                        : MR_END_FAILED,
                      err.text);
    return true;
}

/* Its tokens stay; it goes on behind them when it has a seat again. */
static void displace(mr_runner *r, uint32_t slot) {
    mr_lane *l = &r->lanes[slot];
    mr_event ev = mr_runner_event(MR_EVENT_DISPLACED, slot);

    MR_CHECK(l->running && l->n_told == l->n_made);
    l->is_parked = mr_engine_park(r->engine, l->seq, &l->parked);
    if (!l->is_parked) mr_engine_drop(r->engine, l->seq);
    l->running = false;
    ev.index = l->n_told;
    if (l->is_parked) atomic_fetch_add_explicit(&r->stats.swaps, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->stats.preemptions, 1, memory_order_relaxed);
    mr_runner_emit(r, &ev);
}

static void start_waiting(mr_runner *r) {
    uint32_t slot;

    while (!r->lost) {
        while (mr_sched_displace(r->sched, mr_engine_kv_blocks_free(r->engine), &slot))
            displace(r, slot);
        if (!mr_sched_next(r->sched, mr_engine_kv_blocks_free(r->engine), &slot)) return;
        if (!start(r, slot)) return;
    }
}

void mr_runner_turn(mr_runner *r) {
    end_expired(r);
    set_seats(r);
    start_waiting(r);
    if (r->lost) return;
    if (mr_engine_overlaps(r->engine))
        mr_runner_overlap(r);
    else
        mr_runner_make_step(r);
}
