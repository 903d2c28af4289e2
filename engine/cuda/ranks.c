/* ranks.c - see ranks.h. The host puts each step in line on one device after the other; they meet
 * where parts are gathered.
 *
 * A pass waits for the one before on all devices together, by way of peers.h: who waits for one of
 * them alone may wait for ever, if another is lost. What is lost stays lost. */
#include "engine/cuda/ranks.h"

#include <stdlib.h>

#include "engine/cuda/backend_internal.h"
#include "engine/cuda/peers.h"
#include "engine/shard.h"

typedef struct ranks {
    mr_backend base;
    mr_peers *peers;
    mr_model slices[MR_DEVICES_MAX];
    mr_backend *each[MR_DEVICES_MAX];
    uint32_t n;
    mr_err failed; /* MR_OK: nothing, so far */
} ranks;

static ranks *of(mr_backend *b) {
    return (ranks *)b; /* its first member */
}

/* Rank i, whose kernels come next. */
static mr_backend *turn_to(ranks *r, uint32_t i) {
    mr_device *d = mr_gpu_of(r->each[i])->d;

    d->calls->choose(d);
    return r->each[i];
}

static mr_status say(const ranks *r, mr_err *err) {
    return mr_fail(err, r->failed.status, "%s", r->failed.text);
}

static mr_status wait_all(ranks *r, mr_err *err) {
    if (r->failed.status == MR_OK) (void)r->peers->calls->wait(r->peers, &r->failed);
    return r->failed.status == MR_OK ? MR_OK : say(r, err);
}

/* ---- the steps ---- */

typedef void layer_step(mr_backend *b, uint32_t layer);

static void on_each(mr_backend *b, layer_step *step, uint32_t layer) {
    ranks *r = of(b);

    for (uint32_t i = 0; i < r->n; i++) step(turn_to(r, i), layer);
}

/* Everybody's part to everybody, and all of them to x. */
static void join(mr_backend *b) {
    ranks *r = of(b);
    const mr_gpu *first = mr_gpu_of(r->each[0]);
    float *lists[MR_DEVICES_MAX];

    for (uint32_t i = 0; i < r->n; i++) lists[i] = mr_gpu_of(r->each[i])->parts;
    r->peers->calls->gather(r->peers, lists, (size_t)first->n * first->m->hp.n_embd);
    for (uint32_t i = 0; i < r->n; i++) mr_gpu_total(mr_gpu_of(turn_to(r, i)));
}

static mr_status step_begin(mr_backend *b, const mr_row *rows, uint32_t n, mr_err *err) {
    ranks *r = of(b);
    mr_status st = wait_all(r, err);

    for (uint32_t i = 0; i < r->n && st == MR_OK; i++) {
        st = mr_gpu_begin(turn_to(r, i), rows, n, &r->failed);
        if (st != MR_OK) return say(r, err);
    }
    return st;
}

static void step_qkv(mr_backend *b, uint32_t layer) {
    on_each(b, mr_gpu_qkv, layer);
}

static void step_rotate(mr_backend *b, uint32_t layer) {
    on_each(b, mr_gpu_rotate, layer);
}

static void step_keep_wanted(mr_backend *b) {
    ranks *r = of(b);

    for (uint32_t i = 0; i < r->n; i++) mr_gpu_keep_wanted(turn_to(r, i));
}

static void step_attend(mr_backend *b, uint32_t layer) {
    on_each(b, mr_gpu_attend, layer);
}

static void step_attn_out(mr_backend *b, uint32_t layer) {
    on_each(b, mr_gpu_attn_out, layer);
    join(b);
}

static void step_gate_up(mr_backend *b, uint32_t layer) {
    on_each(b, mr_gpu_gate_up, layer);
}

static void step_down(mr_backend *b, uint32_t layer) {
    on_each(b, mr_gpu_down, layer);
    join(b);
}

static mr_status step_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err) {
    ranks *r = of(b);

    mr_gpu_send_head(mr_gpu_of(turn_to(r, 0)), first, n, logits);
    return wait_all(r, err);
}

/* ---- blocks of the cache: the ranks' blocks, one behind the other ---- */

static void save(mr_backend *b, int32_t block, void *host) {
    ranks *r = of(b);
    char *at = host;

    for (uint32_t i = 0; i < r->n; at += r->each[i++]->block_bytes)
        r->each[i]->steps->save(r->each[i], block, at);
}

static void load(mr_backend *b, int32_t block, const void *host) {
    ranks *r = of(b);
    const char *at = host;

    for (uint32_t i = 0; i < r->n; at += r->each[i++]->block_bytes)
        r->each[i]->steps->load(r->each[i], block, at);
}

static mr_status settle(mr_backend *b, mr_err *err) {
    return wait_all(of(b), err);
}

static void *reserve_swap(mr_backend *b, size_t bytes, mr_err *err) {
    mr_backend *first = of(b)->each[0];
    return first->steps->reserve_swap(first, bytes, err);
}

static float *reserve_logits(mr_backend *b, size_t n_rows, mr_err *err) {
    mr_backend *first = of(b)->each[0];
    return first->steps->reserve_logits(first, n_rows, err);
}

/* ---- open and close ---- */

static void ranks_close(mr_backend *b) {
    ranks *r = of(b);

    if (r->peers) (void)r->peers->calls->wait(r->peers, NULL);
    if (r->peers) r->peers->calls->close(r->peers);
    for (uint32_t i = r->n; i-- > 0;) {
        if (r->each[i]) r->each[i]->steps->close(r->each[i]);
        mr_shard_close(&r->slices[i]);
    }
    free(r);
}

static const mr_steps ranks_steps = {
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
    .close = ranks_close,
};

static mr_room room_of_rank(const mr_room *room, uint32_t rank, uint32_t n_ranks) {
    mr_room part = *room;

    part.rank = rank;
    part.n_ranks = n_ranks;
    return part;
}

mr_status mr_cuda_ranks_sizes(mr_split_place *p, uint64_t *layer_bytes, mr_device *d,
                              const mr_model *m, const mr_room *room, uint32_t n_ranks,
                              mr_gpu_quant quant, mr_err *err) {
    const mr_room part = room_of_rank(room, 0, n_ranks);
    mr_model slice;
    mr_status st = mr_shard_check(m, n_ranks, err);

    if (st == MR_OK) st = mr_shard_open(&slice, m, 0, n_ranks, err);
    if (st != MR_OK) return st;
    mr_cuda_backend_sizes(p, layer_bytes, d, &slice, &part, quant);
    mr_shard_close(&slice);
    return MR_OK;
}

mr_status mr_cuda_ranks_open(mr_backend **out, mr_device *const *devices, uint32_t n_ranks,
                             const mr_model *m, mr_pool *pool, const mr_room *room,
                             mr_gpu_quant quant, uint32_t n_blocks, mr_err *err) {
    mr_status st = mr_shard_check(m, n_ranks, err);
    ranks *r;

    *out = NULL;
    if (st != MR_OK) return st;
    MR_CHECK(n_ranks > 1 && n_ranks <= MR_DEVICES_MAX);
    if (!(r = calloc(1, sizeof *r))) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    r->base = (mr_backend){.steps = &ranks_steps, .name = "cuda"};
    r->n = n_ranks;
    st = mr_peers_open(&r->peers, devices, n_ranks, err); /* first: it is what may not be there */
    for (uint32_t i = 0; i < n_ranks && st == MR_OK; i++) {
        const mr_room part = room_of_rank(room, i, n_ranks);
        st = mr_shard_open(&r->slices[i], m, i, n_ranks, err);
        if (st == MR_OK)
            st = mr_cuda_backend_open(&r->each[i], devices[i], &r->slices[i], pool, &part, quant,
                                      n_blocks, err);
        if (st == MR_OK) r->base.block_bytes += r->each[i]->block_bytes;
    }
    if (st != MR_OK) {
        ranks_close(&r->base);
        return st;
    }
    r->base.max_rows = r->each[0]->max_rows;
    *out = &r->base;
    return MR_OK;
}
