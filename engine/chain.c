/* chain.c - see chain.h. A part that fails when a pass comes to it cannot say so at that step: the
 * pass does nothing any more, and head, or the next begin, says it. What is lost stays lost. */
#include "engine/chain.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct chain {
    mr_backend base;
    mr_part parts[MR_SPLIT_MAX];
    uint32_t n, at; /* at: the part that the pass is in */
    char name[64];

    /* The pass at work. */
    const mr_row *rows;
    uint32_t n_rows;
    mr_err failed; /* MR_OK: nothing, so far */
} chain;

static chain *of(mr_backend *b) {
    return (chain *)b; /* its first member */
}

/* The next part begins first: its lists are on their way while the last layers are computed. */
static void hand_over(chain *c) {
    mr_backend *from = c->parts[c->at].backend, *to = c->parts[++c->at].backend;
    const float *x;

    if (to->steps->begin(to, c->rows, c->n_rows, &c->failed) != MR_OK) return;
    if (from->steps->hand_out(from, &x, &c->failed) != MR_OK) return;
    to->steps->hand_in(to, x);
}

/* The part that has the layer; NULL: the pass has failed. */
static mr_backend *part_of(chain *c, uint32_t layer) {
    if (layer >= c->parts[c->at].layers.end && c->failed.status == MR_OK) hand_over(c);
    return c->failed.status == MR_OK ? c->parts[c->at].backend : NULL;
}

static mr_status say(const chain *c, mr_err *err) {
    return mr_fail(err, c->failed.status, "%s", c->failed.text);
}

/* ---- the steps ---- */

static mr_status step_begin(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err) {
    chain *c = of(b);
    mr_backend *first = c->parts[0].backend;

    if (c->failed.status != MR_OK) return say(c, err);
    c->rows = rows;
    c->n_rows = n;
    c->at = 0;
    return first->steps->begin(first, rows, n, err);
}

static void step_qkv(mr_backend *b, uint32_t layer) {
    mr_backend *p = part_of(of(b), layer);
    if (p) p->steps->qkv(p, layer);
}

static void step_rotate(mr_backend *b, uint32_t layer) {
    mr_backend *p = part_of(of(b), layer);
    if (p) p->steps->rotate(p, layer);
}

static void step_keep_wanted(mr_backend *b) {
    chain *c = of(b);
    mr_backend *p = c->parts[c->n - 1].backend;
    if (c->failed.status == MR_OK) p->steps->keep_wanted(p);
}

static void step_attend(mr_backend *b, uint32_t layer) {
    mr_backend *p = part_of(of(b), layer);
    if (p) p->steps->attend(p, layer);
}

static void step_attn_out(mr_backend *b, uint32_t layer) {
    mr_backend *p = part_of(of(b), layer);
    if (p) p->steps->attn_out(p, layer);
}

static void step_gate_up(mr_backend *b, uint32_t layer) {
    mr_backend *p = part_of(of(b), layer);
    if (p) p->steps->gate_up(p, layer);
}

static void step_down(mr_backend *b, uint32_t layer) {
    mr_backend *p = part_of(of(b), layer);
    if (p) p->steps->down(p, layer);
}

static mr_status step_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err) {
    chain *c = of(b);
    mr_backend *last = c->parts[c->n - 1].backend;

    if (c->failed.status != MR_OK) return say(c, err);
    return last->steps->head(last, first, n, logits, err);
}

static float *reserve_logits(mr_backend *b, size_t n_rows, mr_err *err) {
    mr_backend *last = of(b)->parts[of(b)->n - 1].backend;
    return last->steps->reserve_logits(last, n_rows, err);
}

/* A block is the parts' blocks, one behind the other. */
static void save(mr_backend *b, int32_t block, void *host) {
    chain *c = of(b);
    char *at = host;

    for (uint32_t i = 0; i < c->n; at += c->parts[i++].backend->block_bytes)
        c->parts[i].backend->steps->save(c->parts[i].backend, block, at);
}

static void load(mr_backend *b, int32_t block, const void *host) {
    chain *c = of(b);
    const char *at = host;

    for (uint32_t i = 0; i < c->n; at += c->parts[i++].backend->block_bytes)
        c->parts[i].backend->steps->load(c->parts[i].backend, block, at);
}

static mr_status settle(mr_backend *b, mr_err *err) {
    chain *c = of(b);
    mr_status st = MR_OK;

    for (uint32_t i = 0; i < c->n && st == MR_OK; i++)
        st = c->parts[i].backend->steps->settle(c->parts[i].backend, err);
    return st;
}

static void *reserve_swap(mr_backend *b, size_t bytes, mr_err *err) {
    mr_backend *last = of(b)->parts[of(b)->n - 1].backend;
    return last->steps->reserve_swap(last, bytes, err);
}

static void chain_close(mr_backend *b) {
    chain *c = of(b);

    for (uint32_t i = c->n; i-- > 0;) c->parts[i].backend->steps->close(c->parts[i].backend);
    free(c);
}

static const mr_steps chain_steps = {
    .begin = step_begin,
    .qkv = step_qkv,
    .rotate = step_rotate,
    .keep_wanted = step_keep_wanted,
    .attend = step_attend,
    .attn_out = step_attn_out,
    .gate_up = step_gate_up,
    .down = step_down,
    .head = step_head,
    .save = save,
    .load = load,
    .settle = settle,
    .reserve_swap = reserve_swap,
    .reserve_logits = reserve_logits,
    .close = chain_close,
};

mr_status mr_chain_open(mr_backend **out, const mr_part *parts, uint32_t n, mr_err *err) {
    chain *c = calloc(1, sizeof *c);
    size_t len = 0;

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    MR_CHECK(n > 1 && n <= MR_SPLIT_MAX && parts[0].layers.first == 0);
    c->base = (mr_backend){
        .steps = &chain_steps, .name = c->name, .max_rows = parts[0].backend->max_rows};
    c->n = n;
    for (uint32_t i = 0; i < n; i++) {
        MR_CHECK(i == 0 || (parts[i].backend->steps->hand_in &&
                            parts[i].layers.first == parts[i - 1].layers.end));
        c->parts[i] = parts[i];
        c->base.block_bytes += parts[i].backend->block_bytes;
        if (parts[i].backend->max_rows < c->base.max_rows)
            c->base.max_rows = parts[i].backend->max_rows;
        if (len < sizeof c->name) /* "amx+cuda" */
            len += (size_t)snprintf(c->name + len, sizeof c->name - len, "%s%s", i > 0 ? "+" : "",
                                    parts[i].backend->name);
    }
    *out = &c->base;
    return MR_OK;
}
