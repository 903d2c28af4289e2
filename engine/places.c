/* places.c - see places.h.
 *
 * Where no device is named the first one is taken; only if the model does not fit it others join,
 * one by one: a pass goes through them one after the other, so two are not faster than one. What
 * still does not fit is left to the processor. */
#include "engine/places.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/chain.h"
#include "engine/cpu/backend.h"
#include "engine/cuda/backend.h"
#include "engine/cuda/ranks.h"
#include "engine/memory.h"

#define USUAL_SHARE 0.9f

mr_status mr_places_pick(mr_places *p, const char *name, mr_err *err) {
    p->any = !name || strcmp(name, "auto") == 0;
    return mr_device_pick_all(p->devices, &p->n, name, err);
}

static mr_status pick_first(mr_places *p, uint32_t n, mr_err *err) {
    mr_status st = MR_OK;

    while (p->n < n && st == MR_OK) {
        char name[16];
        snprintf(name, sizeof name, "cuda:%u", p->n);
        st = mr_device_pick(&p->devices[p->n], name, err);
        p->n += st == MR_OK;
    }
    return st;
}

mr_status mr_places_pick_shared(mr_places *p, const char *name, uint32_t n, mr_err *err) {
    const bool named = name && strcmp(name, "auto") != 0 && strcmp(name, "cuda") != 0;
    mr_err why = {0};
    mr_status st;

    if (n > MR_DEVICES_MAX)
        return mr_fail(err, MR_EINVAL, "tensor_parallel: %u; at most %d", n, MR_DEVICES_MAX);
    st = named ? mr_device_pick_all(p->devices, &p->n, name, &why) : pick_first(p, n, &why);
    p->shared = true;
    if (st == MR_OK && p->n == n) return MR_OK;
    if (st == MR_OK)
        return mr_fail(err, MR_EINVAL, "tensor_parallel: %u GPUs, and device names %u: \"%.40s\"",
                       n, p->n, name);
    return mr_fail(err, st, "tensor_parallel: %u GPUs are asked for: %.200s", n, why.text);
}

void mr_places_deinit(mr_places *p) {
    for (uint32_t i = 0; i < p->n; i++) mr_device_close(p->devices[i]);
    *p = (mr_places){0};
}

/* ---- sizes ---- */

typedef struct sizes {
    mr_split_place places[MR_SPLIT_MAX]; /* the processor, then the devices */
    uint64_t *layer_bytes;               /* [MR_SPLIT_MAX, n_layer] */
} sizes;

static uint64_t file_bytes(const mr_mat *w) {
    return (uint64_t)w->rows * w->row_bytes;
}

static void size_cpu(mr_split_place *s, uint64_t *layer_bytes, const mr_places_conf *c) {
    const mr_hparams *hp = &c->m->hp;

    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const mr_layer *y = &c->m->layers[i];
        layer_bytes[i] = file_bytes(&y->wq) + file_bytes(&y->wk) + file_bytes(&y->wv) +
                         file_bytes(&y->wo) + file_bytes(&y->gate) + file_bytes(&y->up) +
                         file_bytes(&y->down);
    }
    *s = (mr_split_place){
        .name = "the processor",
        .room = mr_memory_available(),
        .work = mr_cpu_backend_bytes(c->m, &c->room, mr_pool_size(c->pool)),
        .layer_bytes = layer_bytes,
        .block_bytes = mr_kv_bytes_for(c->room.kv_type, 1, hp->n_kv_head, hp->d_head, 1),
    };
}

static mr_status size_device(mr_split_place *s, uint64_t *layer_bytes, mr_device *d,
                             uint32_t n_ranks, const mr_places_conf *c, mr_err *err) {
    const float part = c->gpu_memory > 0 ? c->gpu_memory : USUAL_SHARE;
    const uint64_t free_bytes = d->calls->free_bytes(d);
    mr_status st = d->calls->wait(d, err); /* it could be asked, that is */

    if (st != MR_OK) return st;
    if (part > 1) return mr_fail(err, MR_EINVAL, "gpu_memory: %g is more than 1", (double)part);
    if (n_ranks > 1)
        st = mr_cuda_ranks_sizes(s, layer_bytes, d, c->m, &c->room, n_ranks, c->quant, err);
    else
        mr_cuda_backend_sizes(s, layer_bytes, d, c->m, &c->room, c->quant);
    if (st != MR_OK) return st;
    s->name = d->name;
    s->room = (uint64_t)((double)free_bytes * (double)part);
    return MR_OK;
}

static mr_status plan(const mr_places *p, mr_split *split, const mr_places_conf *c, sizes *s,
                      mr_err *err) {
    const uint32_t n_layer = c->m->hp.n_layer;
    const mr_split_wish wish = {.n_layer = n_layer,
                                .on_devices = c->gpu_layers ? c->gpu_layers : MR_SPLIT_AUTO,
                                .has_cpu = p->any || c->gpu_layers > 0,
                                .least_blocks = c->least_blocks,
                                .most_blocks = c->most_blocks};
    const uint32_t skip = wish.has_cpu ? 0 : 1;
    mr_status st = MR_OK;

    size_cpu(&s->places[0], s->layer_bytes, c);
    for (uint32_t i = 0; i < p->n && st == MR_OK; i++)
        st = size_device(&s->places[i + 1], s->layer_bytes + (size_t)(i + 1) * n_layer,
                         p->devices[i], 1, c, err);
    if (st == MR_OK) st = mr_split_plan(split, s->places + skip, p->n + 1 - skip, &wish, err);
    if (st != MR_OK || skip == 0) return st;
    memmove(split->at + 1, split->at, p->n * sizeof *split->at); /* place 0 is the processor's */
    memmove(split->bytes + 1, split->bytes, p->n * sizeof *split->bytes);
    split->at[0] = (mr_layers){0, 0};
    split->bytes[0] = 0;
    return MR_OK;
}

/* Each has a slice of all layers; the cache has as many blocks as the one with the least room. */
static mr_status plan_shared(const mr_places *p, mr_split *split, const mr_places_conf *c, sizes *s,
                             mr_err *err) {
    mr_split_wish wish = {.n_layer = c->m->hp.n_layer,
                          .on_devices = MR_SPLIT_AUTO,
                          .least_blocks = c->least_blocks,
                          .most_blocks = c->most_blocks};
    mr_status st = MR_OK;

    *split = (mr_split){.n_blocks = wish.most_blocks};
    for (uint32_t i = 0; i < p->n && st == MR_OK; i++) {
        mr_split alone;
        st = size_device(&s->places[0], s->layer_bytes, p->devices[i], p->n, c, err);
        if (st == MR_OK) st = mr_split_plan(&alone, s->places, 1, &wish, err);
        if (st != MR_OK) return st;
        split->at[i + 1] = alone.at[0];
        wish.most_blocks = split->n_blocks = alone.n_blocks;
    }
    return st;
}

/* One more device, if there is one. */
static bool join(mr_places *p) {
    char name[16];

    if (!p->any || p->n == MR_DEVICES_MAX) return false;
    snprintf(name, sizeof name, "cuda:%u", p->n);
    if (mr_device_pick(&p->devices[p->n], name, NULL) != MR_OK) return false;
    p->n++;
    return true;
}

static void describe_shared(mr_places *p) {
    size_t len = 0;

    for (uint32_t i = 0; i < p->n && len < sizeof p->text; i++)
        len +=
            (size_t)snprintf(p->text + len, sizeof p->text - len, "%s%.24s%s", i > 0 ? " + " : "",
                             p->devices[i]->name, i + 1 < p->n ? "" : " (each layer shared)");
}

static void describe(mr_places *p) {
    size_t len = 0;

    if (p->shared) {
        describe_shared(p);
        return;
    }
    for (uint32_t i = 0; i <= p->n && len < sizeof p->text; i++) {
        const mr_layers l = p->split.at[i];
        const char *name = i == 0 ? "cpu" : p->devices[i - 1]->name;
        if (l.first == l.end) continue;
        len += (size_t)snprintf(p->text + len, sizeof p->text - len,
                                p->n == 1 && l.first == 0 && i > 0 ? "%s%s" : "%s%s (layers %u-%u)",
                                len > 0 ? " + " : "", name, l.first, l.end - 1);
    }
}

mr_status mr_places_plan(mr_places *p, const mr_places_conf *c, mr_err *err) {
    sizes s = {.layer_bytes = calloc(c->m->hp.n_layer, MR_SPLIT_MAX * sizeof(uint64_t))};
    mr_status st;

    if (!s.layer_bytes) return mr_fail(err, MR_ENOMEM, "engine: out of memory");
    do {
        st = p->shared ? plan_shared(p, &p->split, c, &s, err) : plan(p, &p->split, c, &s, err);
    } while ((st == MR_ENOMEM || (st == MR_OK && p->split.at[0].end > 0 && !c->gpu_layers)) &&
             join(p));
    free(s.layer_bytes);
    if (st == MR_OK) describe(p);
    return st;
}

/* ---- open ---- */

static mr_status open_cpu(mr_part *part, const mr_places_conf *c, mr_kv *kv, mr_err *err) {
    mr_room room = c->room;
    mr_status st = MR_OK;

    room.layers = part->layers;
    if (c->ops->reads_tiles) st = mr_model_pack(c->m, part->layers.end, c->pool, NULL, err);
    if (st != MR_OK) return st;
    return mr_cpu_backend_open(&part->backend, c->m, c->ops, c->pool, kv, &room, err);
}

static mr_status open_part(const mr_places *p, mr_part *part, uint32_t place, uint32_t n_blocks,
                           const mr_places_conf *c, mr_kv *kv, mr_err *err) {
    mr_room room = c->room;

    if (place == 0) return open_cpu(part, c, kv, err);
    room.layers = part->layers;
    return mr_cuda_backend_open(&part->backend, p->devices[place - 1], c->m, c->pool, &room,
                                c->quant, n_blocks, err);
}

static mr_status open_all(mr_places *p, mr_backend **out, const mr_places_conf *c, mr_kv *kv,
                          mr_err *err) {
    const mr_split *split = &p->split;
    mr_part parts[MR_SPLIT_MAX];
    mr_status st = MR_OK;
    uint32_t n = 0;

    if (p->shared)
        return mr_cuda_ranks_open(out, p->devices, p->n, c->m, c->pool, &c->room, c->quant,
                                  split->n_blocks, err);
    for (uint32_t i = 0; i <= p->n && st == MR_OK; i++) {
        parts[n] = (mr_part){NULL, split->at[i]};
        if (split->at[i].first == split->at[i].end) continue;
        st = open_part(p, &parts[n], i, split->n_blocks, c, kv, err);
        n += st == MR_OK;
    }
    if (st == MR_OK && n == 1)
        *out = parts[0].backend;
    else if (st == MR_OK)
        st = mr_chain_open(out, parts, n, err);
    while (st != MR_OK && n-- > 0) parts[n].backend->steps->close(parts[n].backend);
    return st;
}

mr_status mr_places_open(mr_places *p, mr_backend **out, const mr_places_conf *c, mr_kv *kv,
                         mr_err *err) {
    const mr_hparams *hp = &c->m->hp;
    const uint32_t on_cpu = p->split.at[0].end, n_blocks = p->split.n_blocks;
    const mr_kv_type type = c->room.kv_type;
    mr_status st;

    *out = NULL;
    st = on_cpu > 0
             ? mr_kv_init(kv, type, on_cpu, hp->n_kv_head, hp->d_head, n_blocks, err)
             : mr_kv_init_lists(kv, type, hp->n_layer, hp->n_kv_head, hp->d_head, n_blocks, err);
    if (st != MR_OK) return st;
    if ((st = open_all(p, out, c, kv, err)) != MR_OK) mr_kv_deinit(kv);
    return st;
}
