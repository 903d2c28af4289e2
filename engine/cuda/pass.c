/* pass.c - how a pass begins, and how its results come back.
 *
 * Host and device meet twice in a pass: begin sends the lists of the pass, head or collect wait for
 * its results. The lists have two places on the host: while one is on its way, or its pass at work,
 * the next pass fills the other.
 *
 * A pass whose rows are all asked for tokens, a decode step, is recorded (recordings.h) and from
 * then on put in line as a whole; padding rows read and write a block of the cache that no sequence
 * has. Marks on the device say when the passes that drew began and ended. */
#include "engine/cuda/backend_internal.h"

/* Marks of the device: the lists in a stage are sent; a pass that draws begins, ends. */
#define STAGE_MARK 0u
#define START_MARK MR_GPU_STAGES
#define END_MARK   (START_MARK + MR_GPU_TIMED)
_Static_assert(END_MARK + MR_GPU_TIMED <= MR_DEV_MARKS, "marks");

/* ---- begin ---- */

void mr_gpu_ask(mr_backend *b, const mr_asks *asks) {
    mr_gpu_of(b)->asks = *asks;
}

/* Every row draws: it is filled up with rows that nobody looks at. */
static const mr_row *pad_rows(mr_gpu *g, const mr_row *rows, uint32_t *n) {
    const uint32_t most = g->base.max_rows < g->max_head ? g->base.max_rows : g->max_head;

    if (!g->may_record || g->asks.n != *n || *n > most) return rows;
    const uint32_t n_padded = mr_rows_padded(*n, most);
    memcpy(g->padded, rows, *n * sizeof *rows);
    for (uint32_t i = *n; i < n_padded; i++) g->padded[i] = (mr_row){0, 0, &g->spare, true};
    *n = n_padded;
    return g->padded;
}

/* False: no room. */
static bool list_draws(mr_gpu *g) {
    const mr_plan_lists *to = &g->plan.host;

    mr_draws_start(&g->draws, to->draws, to->edits, mr_plan_first_edit(&g->plan),
                   mr_plan_end_edit(&g->plan));
    for (uint32_t i = 0; i < g->asks.n; i++)
        if (!mr_draws_add(&g->draws, &g->asks.asks[i])) return false;
    while (g->draws.n < g->plan.n_kept) mr_draws_pad(&g->draws, g->max_head);
    mr_plan_send_edits(&g->plan, g->draws.n_edits);
    return true;
}

/* What the pass is, as far as a recording fixes it. */
static void note_kind(mr_gpu *g, bool is_padded) {
    const mr_pass_kind kind = {g->plan.n, mr_items_padded(g->plan.n_items[0]),
                               g->plan.n_records[0] > 0};
    bool is_new = true;

    g->kind = is_padded ? mr_recordings_find(&g->recordings, kind, &is_new) : NULL;
    g->recording = g->kind && !is_new && !g->kind->made;
    g->n_items = g->kind ? kind.n_items : 0;
}

static void note_time(mr_gpu *g) {
    const uint64_t i = g->n_drew++;

    g->last_of[g->asks.ticket] = i;
    g->d->calls->mark(g->d, (uint32_t)(START_MARK + i % MR_GPU_TIMED));
}

mr_status mr_gpu_begin(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err) {
    mr_gpu *g = mr_gpu_of(b);
    const mr_device_calls *calls = g->d->calls;
    const bool follows = g->draws.n > 0;
    mr_status st;

    g->turn = (g->turn + 1) % MR_GPU_STAGES;
    if ((st = calls->reach(g->d, STAGE_MARK + g->turn, err)) != MR_OK) return st;
    const mr_row *padded = pad_rows(g, rows, &n);
    g->plan.host = mr_plan_lists_in(&g->plan, g->stages[g->turn]);
    mr_plan_pass(&g->plan, padded, n);
    g->draws.n = 0;
    if (g->asks.n > 0 && !list_draws(g)) {
        g->asks.n = g->draws.n = 0;
        return mr_fail(err, MR_ELIMIT, "step: too many changes of logits for the device");
    }
    g->n = n;
    g->which = 0;
    note_kind(g, padded == g->padded);
    g->follows[g->n_drew % MR_GPU_TIMED] = follows;
    if (g->asks.n > 0) note_time(g);
    calls->copy_in(g->d, g->plan_device, g->stages[g->turn], g->plan.used_bytes);
    calls->mark(g->d, STAGE_MARK + g->turn);
    if (g->asks.n == 0) mr_gpu_embed(g);
    return MR_OK;
}

/* ---- between two places ---- */

mr_status mr_gpu_hand_out(mr_backend *b, const float **x, mr_err *err) {
    const mr_gpu *g = mr_gpu_of(b);

    g->d->calls->copy_out(g->d, g->hand, g->x, mr_gpu_x_bytes(g, g->n));
    *x = g->hand;
    return g->d->calls->wait(g->d, err);
}

void mr_gpu_hand_in(mr_backend *b, const float *x) {
    const mr_gpu *g = mr_gpu_of(b);

    g->d->calls->copy_in(g->d, g->x, x, mr_gpu_x_bytes(g, g->n));
    (void)g->d->calls->wait(g->d, NULL); /* a failure is said by the next wait */
}

/* ---- passes that draw ---- */

/* The pass is in line; behind it, its answers. */
static bool answer(mr_gpu *g) {
    const mr_asks *asks = &g->asks;
    mr_drawn *to = g->answers + asks->ticket * g->max_head + asks->first;

    g->d->calls->copy_out(g->d, to, g->drawn, asks->n * sizeof *to);
    g->d->calls->mark(g->d, (uint32_t)(END_MARK + g->last_of[asks->ticket] % MR_GPU_TIMED));
    g->asks.n = 0;
    return true;
}

bool mr_gpu_replay(mr_backend *b) {
    mr_gpu *g = mr_gpu_of(b);

    if (g->kind && g->kind->made) {
        g->d->calls->replay(g->d, g->kind->made);
        return answer(g);
    }
    if (g->recording && !g->d->calls->record(g->d)) g->recording = g->may_record = false;
    mr_gpu_embed(g);
    return false;
}

bool mr_gpu_finish(mr_backend *b) {
    mr_gpu *g = mr_gpu_of(b);

    if (!g->recording) return answer(g);
    g->recording = false;
    g->kind->made = g->d->calls->recorded(g->d);
    if (g->kind->made) {
        g->d->calls->replay(g->d, g->kind->made);
        return answer(g);
    }
    g->may_record = false; /* it would come to nothing again */
    mr_gpu_embed(g);
    return false;
}

mr_status mr_gpu_collect(mr_backend *b, uint32_t ticket, mr_engine_out *outs, uint32_t n,
                         mr_err *err) {
    mr_gpu *g = mr_gpu_of(b);
    const mr_device_calls *calls = g->d->calls;
    const uint32_t at = g->last_of[ticket] % MR_GPU_TIMED,
                   before = (at + MR_GPU_TIMED - 1) % MR_GPU_TIMED;
    const mr_status st = n > 0 ? calls->reach(g->d, END_MARK + at, err) : MR_OK;

    if (st != MR_OK || n == 0) return st;
    b->busy_ms += (double)calls->between(g->d, START_MARK + at, END_MARK + at);
    if (g->follows[at])
        b->idle_ms += (double)calls->between(g->d, END_MARK + before, START_MARK + at);
    for (uint32_t i = 0; i < n; i++) mr_drawn_read(&g->answers[ticket * g->max_head + i], &outs[i]);
    return MR_OK;
}
