/* turn.h - heads behind q, k, v: norm (qwen3), rotation, and keys and values into the cache.
 *
 * A warp has one head of one row: first the queries, then the keys, then the values. */
#ifndef MR_ENGINE_CUDA_TURN_H
#define MR_ENGINE_CUDA_TURN_H

#include "engine/cuda/cache.h"

#define MR_MAX_D_HEAD 256
#define MR_TURN_WARPS 4

typedef struct mr_turn {
    float *q, *k;                 /* [n, n_head, d_head], [n, n_kv_head, d_head] */
    const float *v;               /* [n, n_kv_head, d_head] */
    const float *q_norm, *k_norm; /* [d_head], or NULL */
    const float *cos, *sin;       /* [n, n_rot / 2] */
    const uint32_t *pos;          /* [n] */
    const uint32_t *table;        /* [n]: where the row's block table begins in tables */
    const int32_t *tables;
    mr_dev_cache cache;
    uint32_t n, n_head, n_kv_head, d_head, n_rot;
    float eps;
    bool neox;
} mr_turn;

typedef struct mr_turn_own {
    float sum, most, v;
} mr_turn_own;

typedef struct mr_turn_shared { /* of a warp */
    float x[MR_MAX_D_HEAD];
} mr_turn_shared;

/* x = norm(x), within the warp. */
MR_BODY void mr_turn_norm(mr_turn_shared *sh, const float *w, uint32_t d_head, float eps) {
    mr_turn_own th[MR_PRIVATE(MR_WARP)];

    MR_LANES (t) {
        float sum = 0;
        for (uint32_t d = t; d < d_head; d += MR_WARP) sum = fmaf(sh->x[d], sh->x[d], sum);
        th[MR_OWN(t)].sum = sum;
    }
    MR_WARP_SUM(th, MR_WARP, sum);
    MR_LANES (t) {
        const float inv = 1 / sqrtf(th[MR_OWN(t)].sum / (float)d_head + eps);
        for (uint32_t d = t; d < d_head; d += MR_WARP) sh->x[d] = sh->x[d] * inv * w[d];
    }
    MR_WARP_BARRIER();
}

MR_BODY void mr_turn_rotate(mr_turn_shared *sh, const mr_turn *a, uint32_t row) {
    const uint32_t half = a->n_rot / 2;

    MR_LANES (t)
        for (uint32_t i = t; i < half; i += MR_WARP) {
            const uint32_t first = a->neox ? i : 2 * i, second = a->neox ? half + i : 2 * i + 1;
            const float cosine = a->cos[(size_t)row * half + i],
                        sine = a->sin[(size_t)row * half + i];
            const float u = sh->x[first], v = sh->x[second];
            sh->x[first] = u * cosine - v * sine;
            sh->x[second] = u * sine + v * cosine;
        }
    MR_WARP_BARRIER();
}

/* Number of value d of a position, in a half. */
MR_BODY size_t mr_turn_place(const mr_turn *a, uint32_t in, uint32_t d, bool is_key) {
    return is_key ? (size_t)in * a->cache.pitch + d : (size_t)d * MR_KV_BLOCK_LEN + in;
}

MR_BODY void mr_turn_put_f16(const mr_turn_shared *sh, const mr_turn *a, mr_f16 *half, uint32_t in,
                             bool is_key) {
    MR_LANES (t)
        for (uint32_t d = t; d < a->d_head; d += MR_WARP)
            half[mr_turn_place(a, in, d, is_key)] = mr_to_half(sh->x[d]);
}

static_assert(MR_KV_GROUP == MR_WARP, "a lane has one value of a group");

/* As round_group of kv_form.c does it. */
MR_BODY void mr_turn_put_bytes(const mr_turn_shared *sh, const mr_turn *a, uint8_t *half,
                               uint32_t in, bool is_key) {
    mr_f16 *scales = (mr_f16 *)(half + mr_cache_scales_at(a->cache.pitch));
    mr_turn_own th[MR_PRIVATE(MR_WARP)];

    for (uint32_t first = 0; first < a->d_head; first += MR_KV_GROUP) {
        MR_LANES (t) {
            mr_turn_own *o = &th[MR_OWN(t)];
            o->v = first + t < a->d_head ? sh->x[first + t] : 0;
            o->most = fabsf(o->v);
        }
        MR_WARP_MAX(th, MR_WARP, most);
        MR_LANES (t) {
            const mr_turn_own *o = &th[MR_OWN(t)];
            const mr_f16 bits = mr_to_half(o->most / 127);
            const float scale = mr_of_half(bits), inv = 1 / scale;
            const bool zero = !(scale > 0) || !(scale < INFINITY);
            const float whole = zero ? 0 : rintf(o->v * inv);
            if (first + t < a->d_head)
                half[mr_turn_place(a, in, first + t, is_key)] =
                    (uint8_t)(int8_t)fminf(fmaxf(whole, -127), 127);
            if (t == 0) scales[first / MR_KV_GROUP * MR_KV_BLOCK_LEN + in] = bits;
        }
    }
}

MR_BODY void mr_turn_put(const mr_turn_shared *sh, const mr_turn *a, uint32_t row, uint32_t kv_head,
                         bool is_key) {
    const uint32_t pos = a->pos[row], in = pos % MR_KV_BLOCK_LEN;
    const int32_t block = a->tables[a->table[row] + pos / MR_KV_BLOCK_LEN];
    uint8_t *half = (is_key ? a->cache.k : a->cache.v) + mr_cache_at(&a->cache, block, kv_head);

    if (a->cache.type == MR_KV_F16)
        mr_turn_put_f16(sh, a, (mr_f16 *)half, in, is_key);
    else
        mr_turn_put_bytes(sh, a, half, in, is_key);
}

/* head: 0 .. n_head + 2 n_kv_head - 1 */
MR_BODY void mr_turn_head(const mr_turn *a, mr_turn_shared *sh, uint32_t row, uint32_t head) {
    const uint32_t n_q = a->n_head, n_kv = a->n_kv_head;
    const bool is_q = head < n_q, is_k = !is_q && head < n_q + n_kv;
    const uint32_t own = is_q ? head : is_k ? head - n_q : head - n_q - n_kv; /* among its kind */
    float *x = is_q ? a->q + ((size_t)row * n_q + own) * a->d_head
                    : a->k + ((size_t)row * n_kv + own) * a->d_head;
    const float *from = is_q || is_k ? x : a->v + ((size_t)row * n_kv + own) * a->d_head;
    const float *norm = is_q ? a->q_norm : a->k_norm;

    MR_LANES (t)
        for (uint32_t d = t; d < a->d_head; d += MR_WARP) sh->x[d] = from[d];
    MR_WARP_BARRIER();
    if ((is_q || is_k) && norm) mr_turn_norm(sh, norm, a->d_head, a->eps);
    if (is_q || is_k) mr_turn_rotate(sh, a, row);
    if (!is_q) {
        mr_turn_put(sh, a, row, own, is_k);
        return;
    }
    MR_LANES (t)
        for (uint32_t d = t; d < a->d_head; d += MR_WARP) x[d] = sh->x[d];
}

#endif
