/* attention.h - attention over the paged cache, a warp to 16 queries, with tensor cores.
 *
 * Queries that share keys go together: rows of a run (rows of one sequence that follow each other,
 * at most MR_RUN_ROWS, within one block of the cache) times the heads of one key head, cut into
 * tiles of 16. A warp goes through the positions block by block, keeps the largest score so far and
 * what belongs to it, and begins anew every MR_ATTN_SPAN positions: spans are then joined in order.
 * So it does not show whether one warp does all spans of a tile or each span has its own, nor which
 * queries share the tile: what an mma gives one row depends on that row alone.
 *
 * Exactness. Keys and values are f16 and go in as they are. A query, times scale and log2 e, is cut
 * into two f16 parts, a weight 2^(score - max) too, and both parts are multiplied: some 21 bits.
 * Bytes become f16 or bf16 in registers and lose nothing. Scales of keys multiply the sum of their
 * group, as f32; those of values multiply the weights, for each group anew, and as a weight may
 * then be of any size, its two parts are bf16: some 17 bits.
 *
 * Loads. A lane takes 16 bytes at a time. Of 32 numbers of a key, lane 4 g + c has 8 c .. 8 c + 7:
 * two mmas of 16 columns, each two pairs of them. Position n of score tile j is 8 (n / 2) + 2 j +
 * n % 2 of the block, so that the scores that a lane gets are of positions 8 c .. 8 c + 7: those
 * that it then has 16 bytes of each value for; of a cache of bytes 8, and 16 of scales. */
#ifndef MR_ENGINE_CUDA_ATTENTION_H
#define MR_ENGINE_CUDA_ATTENTION_H

#include "engine/cuda/turn.h"

#define MR_QUERIES     16
#define MR_RUN_ROWS    16 /* divides MR_KV_BLOCK_LEN */
#define MR_SCORE_TILES 4  /* of 8 positions: a block of the cache */
#define MR_LOG2_E      1.44269504088896340736f

typedef struct mr_run {
    uint32_t first, n_rows, pos; /* among the live rows; position of the first */
    uint32_t table;              /* where the block table begins */
    uint32_t n_parts;            /* 1: all spans in one go */
    uint32_t first_item, first_record;
} mr_run;

typedef struct mr_run_counts {
    uint32_t n_runs, n_items;
} mr_run_counts;

typedef struct mr_attention {
    float *out;     /* [n, n_head, d_head] */
    const float *q; /* the same */
    const mr_run *runs;
    const int32_t *tables;
    float *records; /* of parts: MR_ATTN_RECORD(d_head) floats each */
    mr_dev_cache cache;
    const mr_run_counts *counts; /* of runs and items */
    uint32_t n_items;            /* for which warps are started: as many, or more */
    uint32_t n;
    uint32_t n_head, n_kv_head, d_head;
    float scale;
} mr_attention;

/* ---- items: (run, part, key head, tile), the last one fastest ---- */

MR_BODY uint32_t mr_run_queries(const mr_run *r, uint32_t group) { /* of one key head */
    return r->n_rows * group;
}
MR_BODY uint32_t mr_run_tiles(const mr_run *r, uint32_t group) {
    return (mr_run_queries(r, group) + MR_QUERIES - 1) / MR_QUERIES;
}
MR_BODY uint32_t mr_run_spans(const mr_run *r) {
    return (r->pos + r->n_rows - 1) / MR_ATTN_SPAN + 1;
}
MR_BODY uint32_t mr_run_items(const mr_run *r, uint32_t group, uint32_t n_kv_head) {
    return r->n_parts * n_kv_head * mr_run_tiles(r, group);
}
MR_BODY uint32_t mr_run_records(const mr_run *r, uint32_t group, uint32_t n_kv_head) {
    return r->n_parts > 1 ? r->n_parts * n_kv_head * mr_run_queries(r, group) : 0;
}
/* Record of one query in one part. */
MR_BODY size_t mr_record_of(const mr_run *r, uint32_t group, uint32_t n_kv_head, uint32_t part,
                            uint32_t kv_head, uint32_t query) {
    return r->first_record + (size_t)(part * n_kv_head + kv_head) * mr_run_queries(r, group) +
           query;
}

/* The last run that begins at or before an item (by_item), or a row. */
MR_BODY uint32_t mr_run_of(const mr_run *runs, uint32_t n, uint32_t i, bool by_item) {
    uint32_t lo = 0, hi = n;

    while (hi - lo > 1) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if ((by_item ? runs[mid].first_item : runs[mid].first) <= i)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* ---- what a warp works on ---- */

typedef struct mr_tile_of_queries {
    mr_run run;
    uint32_t first_query, n_queries; /* among those of run and key head; 1 .. 16 */
    uint32_t kv_head, group, part;
    uint32_t span0, span1;
} mr_tile_of_queries;

MR_BODY mr_tile_of_queries mr_item_open(const mr_attention *a, uint32_t item) {
    mr_tile_of_queries w;

    w.run = a->runs[mr_run_of(a->runs, a->counts->n_runs, item, true)];
    w.group = a->n_head / a->n_kv_head;
    const uint32_t n_tiles = mr_run_tiles(&w.run, w.group), i = item - w.run.first_item;
    w.first_query = i % n_tiles * MR_QUERIES;
    w.n_queries = mr_least(MR_QUERIES, mr_run_queries(&w.run, w.group) - w.first_query);
    w.kv_head = i / n_tiles % a->n_kv_head;
    w.part = i / n_tiles / a->n_kv_head;
    w.span0 = w.part;
    w.span1 = w.run.n_parts > 1 ? w.part + 1 : mr_run_spans(&w.run);
    return w;
}

/* Query i of the tile; one that there is not is taken for the first. */
MR_BODY uint32_t mr_query_row(const mr_tile_of_queries *w, uint32_t i) {
    return i < w->n_queries ? (w->first_query + i) / w->group : w->first_query / w->group;
}
MR_BODY uint32_t mr_query_head(const mr_tile_of_queries *w, uint32_t i) {
    const uint32_t query = w->first_query + (i < w->n_queries ? i : 0);
    return w->kv_head * w->group + query % w->group;
}
/* First value of the query's head in q and out. */
MR_BODY size_t mr_query_at(const mr_attention *a, const mr_tile_of_queries *w, uint32_t i) {
    const size_t row = w->run.first + mr_query_row(w, i);
    return (row * a->n_head + mr_query_head(w, i)) * a->d_head;
}

/* D: d_head up to 64, 128 or 256. All of it is each lane's own, kept here to save registers. */
#define MR_ATTENTION_TYPES(D)                                                                      \
    typedef struct mr_attend_shared_##D {                                                          \
        mr_words4 q[(D) / 16][2][MR_WARP]; /* fragments: high parts, low parts */                  \
        float joined[(D) / 8][4][MR_WARP]; /* sums of the spans so far */                          \
    } mr_attend_shared_##D;

typedef struct mr_attend_own {
    float score[MR_SCORE_TILES][4], max[2], total[2], keep[2], top[2]; /* [2]: rows g, g + 8 */
    float joined_max[2], joined_total[2];
    float acc[MR_MAX_D_HEAD / 8][4];
    uint32_t a_hi[4], a_lo[4], b[MR_SCORE_TILES][2];
    mr_words4 kv[MR_SCORE_TILES];
    float part[MR_SCORE_TILES][4]; /* a cache of bytes: scores of one group, without its scales */
    mr_words4 scales;              /* likewise: of positions 8 c .. 8 c + 7 */
} mr_attend_own;

/* ---- the steps of a warp ---- */

/* Fragments of the queries; columns 32 (step / 2) + 8 c + 4 (step % 2) .. + 3 are the lane's. */
MR_BODY void mr_attend_queries(mr_words4 (*q)[2][MR_WARP], const mr_attention *a,
                               const mr_tile_of_queries *w, uint32_t n_steps, uint32_t t) {
    const float scale = a->scale * MR_LOG2_E;

    for (uint32_t step = 0; step < n_steps; step++) {
        MR_UNROLL
        for (uint32_t k = 0; k < 4; k++) { /* rows g, g + 8, g, g + 8; two columns, two more */
            const uint32_t d = step / 2 * 32 + t % 4 * 8 + step % 2 * 4 + k / 2 * 2;
            const float *x = a->q + mr_query_at(a, w, t / 4 + k % 2 * 8) + d;
            const float u = d < a->d_head ? x[0] * scale : 0;
            const float v = d + 1 < a->d_head ? x[1] * scale : 0;
            q[step][0][t].w[k] = mr_pack_f16(u, v);
            q[step][1][t].w[k] = mr_pack_f16(mr_after_f16(u), mr_after_f16(v));
        }
    }
}

/* Position of a lane's score number k of tile j, in the block. */
MR_BODY uint32_t mr_score_position(uint32_t t, uint32_t j, uint32_t k) {
    return t % 4 * 8 + 2 * j + k % 2;
}
/* Position whose key a lane loads for tile j. */
MR_BODY uint32_t mr_key_position(uint32_t t, uint32_t j) {
    return t / 4 / 2 * 8 + 2 * j + t / 4 % 2;
}

/* Scale k % 2 of the two that a lane has for score tile j. */
MR_BODY float mr_scale_of(const mr_words4 *scales, uint32_t j, uint32_t k) {
    return mr_of_half((uint16_t)(scales->w[j] >> 16 * (k % 2) & 0xffff));
}
MR_BODY mr_words4 mr_group_scales(const uint8_t *half, uint32_t pitch, uint32_t group, uint32_t t) {
    const mr_words4 zero = {{0, 0, 0, 0}};
    const uint32_t first = group * MR_KV_BLOCK_LEN + t % 4 * 8;

    if (group * MR_KV_GROUP >= pitch) return zero;
    return mr_load4(half + mr_cache_scales_at(pitch) + first * sizeof(mr_f16));
}

/* 8 numbers of a key, from place `at` of the half on, as f16. */
MR_BODY mr_words4 mr_key_words(const uint8_t *keys, size_t at, mr_kv_type type) {
    mr_words4 v;

    if (type == MR_KV_F16) return mr_load4(keys + at * sizeof(mr_f16));
    const mr_words2 bytes = mr_load2(keys + at);
    MR_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        v.w[i] = mr_pack_f16(mr_byte_of(bytes.w[i / 2], i % 2 * 2),
                             mr_byte_of(bytes.w[i / 2], i % 2 * 2 + 1));
    return v;
}

/* Of 32 columns: a lane's part of the keys, and where their products are added up. */
MR_BODY void mr_attend_keys(mr_attend_own *o, const uint8_t *keys, uint32_t pitch, uint32_t chunk,
                            mr_kv_type type, uint32_t t) {
    const mr_words4 zero = {{0, 0, 0, 0}};
    const uint32_t d = chunk * 32 + t % 4 * 8;

    MR_UNROLL
    for (uint32_t j = 0; j < MR_SCORE_TILES; j++) {
        const size_t at = (size_t)mr_key_position(t, j) * pitch + d;
        o->kv[j] = d < pitch ? mr_key_words(keys, at, type) : zero;
    }
    if (type == MR_KV_F16) return;
    o->scales = mr_group_scales(keys, pitch, chunk, t);
    memset(o->part, 0, sizeof o->part);
}

MR_BODY void mr_attend_scale(mr_attend_own *o) {
    MR_UNROLL
    for (uint32_t i = 0; i < MR_SCORE_TILES * 4; i++) {
        float *score = &o->score[i / 4][i % 4];
        *score = fmaf(o->part[i / 4][i % 4], mr_scale_of(&o->scales, i / 4, i), *score);
    }
}

static_assert(MR_KV_GROUP == 32, "32 columns are one group");

MR_BODY void mr_attend_scores(mr_attend_own *th, mr_words4 (*q)[2][MR_WARP], const uint8_t *keys,
                              uint32_t pitch, uint32_t D, mr_kv_type type) {
    MR_LANES (t) memset(th[MR_OWN(t)].score, 0, sizeof th[0].score);
    MR_UNROLL
    for (uint32_t chunk = 0; chunk < D / 32; chunk++) {
        MR_LANES (t) mr_attend_keys(&th[MR_OWN(t)], keys, pitch, chunk, type, t);
        MR_UNROLL
        for (uint32_t i = 0; i < 2; i++) {
            MR_LANES (t) {
                mr_attend_own *o = &th[MR_OWN(t)];
                const mr_words4 hi = mr_read4(&q[2 * chunk + i][0][t]);
                const mr_words4 lo = mr_read4(&q[2 * chunk + i][1][t]);
                memcpy(o->a_hi, hi.w, sizeof hi.w);
                memcpy(o->a_lo, lo.w, sizeof lo.w);
            }
            MR_UNROLL
            for (uint32_t j = 0; j < MR_SCORE_TILES; j++) {
                if (type == MR_KV_F16) {
                    MR_MMA(mr_mma_f16, th, MR_WARP, score[j], a_lo, kv[j].w + 2 * i);
                    MR_MMA(mr_mma_f16, th, MR_WARP, score[j], a_hi, kv[j].w + 2 * i);
                } else {
                    MR_MMA(mr_mma_f16, th, MR_WARP, part[j], a_lo, kv[j].w + 2 * i);
                    MR_MMA(mr_mma_f16, th, MR_WARP, part[j], a_hi, kv[j].w + 2 * i);
                }
            }
        }
        MR_LANES (t)
            if (type != MR_KV_F16) mr_attend_scale(&th[MR_OWN(t)]);
    }
}

/* Scores become weights of the largest so far; what was summed up is brought down to it. */
MR_BODY void mr_attend_weights(mr_attend_own *th, const mr_tile_of_queries *w, uint32_t pos,
                               uint32_t D) {
    MR_LANES (t) {
        mr_attend_own *o = &th[MR_OWN(t)];
        o->top[0] = o->max[0];
        o->top[1] = o->max[1];
        MR_UNROLL
        for (uint32_t j = 0; j < MR_SCORE_TILES; j++) {
            MR_UNROLL
            for (uint32_t k = 0; k < 4; k++) {
                const uint32_t last = w->run.pos + mr_query_row(w, t / 4 + k / 2 * 8);
                if (pos + mr_score_position(t, j, k) > last) o->score[j][k] = -INFINITY;
                o->top[k / 2] = mr_larger(o->top[k / 2], o->score[j][k]);
            }
        }
    }
    MR_QUAD_MAX(th, MR_WARP, top[0]);
    MR_QUAD_MAX(th, MR_WARP, top[1]);
    MR_LANES (t) {
        mr_attend_own *o = &th[MR_OWN(t)];
        MR_UNROLL
        for (uint32_t r = 0; r < 2; r++) {
            o->keep[r] = exp2f(o->max[r] - o->top[r]);
            o->max[r] = o->top[r];
            o->total[r] *= o->keep[r];
        }
        MR_UNROLL
        for (uint32_t i = 0; i < D / 8 * 4; i++) o->acc[i / 4][i % 4] *= o->keep[i % 4 / 2];
        MR_UNROLL
        for (uint32_t i = 0; i < MR_SCORE_TILES * 4; i++) {
            float *p = &o->score[i / 4][i % 4];
            *p = exp2f(*p - o->max[i % 4 / 2]);
            o->total[i % 4 / 2] += *p;
        }
    }
}

/* Of 8 values the first n; what is behind the sequence's end may be anything. */
MR_BODY mr_words4 mr_first_of(mr_words4 v, uint32_t n) {
    MR_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        if (n < 2 * i + 2) v.w[i] &= 0xffff;
        if (n < 2 * i + 1) v.w[i] = 0;
    }
    return v;
}

/* n: positions of the block that are the sequence's by now, 1 .. 32. */
MR_BODY void mr_attend_values(mr_attend_own *th, const uint8_t *values, uint32_t n, uint32_t pitch,
                              uint32_t D) {
    MR_UNROLL
    for (uint32_t half = 0; half < 2; half++) { /* 16 positions each, score tiles 2 half, + 1 */
        MR_LANES (t) {
            mr_attend_own *o = &th[MR_OWN(t)];
            MR_UNROLL
            for (uint32_t k = 0; k < 4; k++) { /* rows g, g + 8, g, g + 8 */
                const float *p = &o->score[2 * half + k / 2][k % 2 * 2];
                o->a_hi[k] = mr_pack_f16(p[0], p[1]);
                o->a_lo[k] = mr_pack_f16(mr_after_f16(p[0]), mr_after_f16(p[1]));
            }
        }
        MR_UNROLL
        for (uint32_t i = 0; i < D / 8; i++) {
            MR_LANES (t) {
                mr_attend_own *o = &th[MR_OWN(t)];
                const uint32_t d = 8 * i + t / 4, at = t % 4 * 8;
                mr_words4 v = {{0, 0, 0, 0}};
                if (d < pitch)
                    v = mr_load4(values + ((size_t)d * MR_KV_BLOCK_LEN + at) * sizeof(mr_f16));
                if (n < MR_KV_BLOCK_LEN) v = mr_first_of(v, n > at ? n - at : 0);
                o->b[0][0] = v.w[2 * half];
                o->b[0][1] = v.w[2 * half + 1];
            }
            MR_MMA(mr_mma_f16, th, MR_WARP, acc[i], a_lo, b[0]);
            MR_MMA(mr_mma_f16, th, MR_WARP, acc[i], a_hi, b[0]);
        }
    }
}

/* ---- values that are bytes ---- */

/* Of a group: a lane's bytes in kv[].w[0] and w[1], and its scales, 0 for positions that are not
 * the sequence's. */
MR_BODY void mr_attend_group(mr_attend_own *o, const uint8_t *values, uint32_t n, uint32_t pitch,
                             uint32_t group, uint32_t t) {
    const uint32_t at = t % 4 * 8;

    MR_UNROLL
    for (uint32_t j = 0; j < MR_KV_GROUP / 8; j++) {
        const uint32_t d = group * MR_KV_GROUP + 8 * j + t / 4;
        mr_words2 v = {{0, 0}};
        if (d < pitch) v = mr_load2(values + (size_t)d * MR_KV_BLOCK_LEN + at);
        memcpy(o->kv[j].w, v.w, sizeof v.w);
    }
    o->scales = mr_group_scales(values, pitch, group, t);
    if (n < MR_KV_BLOCK_LEN) o->scales = mr_first_of(o->scales, n > at ? n - at : 0);
}

/* Weights of 16 positions times their scales: score tiles 2 half, + 1. */
MR_BODY void mr_attend_scaled(mr_attend_own *o, uint32_t half) {
    MR_UNROLL
    for (uint32_t k = 0; k < 4; k++) { /* rows g, g + 8, g, g + 8 */
        const uint32_t j = 2 * half + k / 2;
        const float *p = &o->score[j][k % 2 * 2];
        mr_split_bf16(&o->a_hi[k], &o->a_lo[k], p[0] * mr_scale_of(&o->scales, j, 0),
                      p[1] * mr_scale_of(&o->scales, j, 1));
    }
}

MR_BODY void mr_attend_bytes(mr_attend_own *th, const uint8_t *values, uint32_t n, uint32_t pitch,
                             uint32_t D) {
    MR_UNROLL
    for (uint32_t group = 0; group < D / MR_KV_GROUP; group++) {
        MR_LANES (t) mr_attend_group(&th[MR_OWN(t)], values, n, pitch, group, t);
        MR_UNROLL
        for (uint32_t i = 0; i < 8; i++) { /* half, then 8 columns */
            const uint32_t half = i / 4, j = i % 4;
            MR_LANES (t) {
                mr_attend_own *o = &th[MR_OWN(t)];
                const uint32_t w = o->kv[j].w[half];
                if (j == 0) mr_attend_scaled(o, half);
                o->b[0][0] = mr_pack_bf16(mr_byte_of(w, 0), mr_byte_of(w, 1));
                o->b[0][1] = mr_pack_bf16(mr_byte_of(w, 2), mr_byte_of(w, 3));
            }
            MR_MMA(mr_mma_bf16, th, MR_WARP, acc[4 * group + j], a_lo, b[0]);
            MR_MMA(mr_mma_bf16, th, MR_WARP, acc[4 * group + j], a_hi, b[0]);
        }
    }
}

/* ---- a span ---- */

/* Positions of one span: acc, max and total of every query. */
MR_BODY void mr_attend_span(mr_attend_own *th, mr_words4 (*q)[2][MR_WARP], const mr_attention *a,
                            const mr_tile_of_queries *w, uint32_t span, uint32_t D,
                            mr_kv_type type) {
    const uint32_t pitch = a->cache.pitch;
    const uint32_t len = w->run.pos + w->run.n_rows;
    const uint32_t end = mr_least(len, (span + 1) * MR_ATTN_SPAN);

    MR_LANES (t) {
        mr_attend_own *o = &th[MR_OWN(t)];
        o->max[0] = o->max[1] = -INFINITY;
        o->total[0] = o->total[1] = 0;
        memset(o->acc, 0, D / 8 * sizeof o->acc[0]);
    }
    for (uint32_t pos = span * MR_ATTN_SPAN; pos < end; pos += MR_KV_BLOCK_LEN) {
        const int32_t block = a->tables[w->run.table + pos / MR_KV_BLOCK_LEN];
        const size_t at = mr_cache_at(&a->cache, block, w->kv_head);
        const uint32_t n = mr_least(end - pos, MR_KV_BLOCK_LEN);

        mr_attend_scores(th, q, a->cache.k + at, pitch, D, type);
        mr_attend_weights(th, w, pos, D);
        if (type == MR_KV_F16)
            mr_attend_values(th, a->cache.v + at, n, pitch, D);
        else
            mr_attend_bytes(th, a->cache.v + at, n, pitch, D);
    }
    MR_QUAD_SUM(th, MR_WARP, total[0]);
    MR_QUAD_SUM(th, MR_WARP, total[1]);
}

/* ---- joining spans ---- */

typedef struct mr_join { /* of what came before, and of what comes */
    float keep, take, max;
} mr_join;

MR_BODY mr_join mr_join_of(float max, float next_max) {
    mr_join j;
    j.max = mr_larger(max, next_max);
    j.keep = exp2f(max - j.max);
    j.take = exp2f(next_max - j.max);
    return j;
}
MR_BODY float mr_joined(const mr_join *j, float sum, float next) {
    return sum * j->keep + next * j->take;
}

/* The span at hand joins those before it; D values of a query are in D / 8 places of a lane. */
MR_BODY void mr_attend_join(mr_attend_own *o, float (*joined)[4][MR_WARP], bool first, uint32_t D,
                            uint32_t t) {
    mr_join j[2];

    MR_UNROLL
    for (uint32_t r = 0; r < 2; r++) {
        j[r] = mr_join_of(o->joined_max[r], o->max[r]);
        o->joined_total[r] =
            first ? o->total[r] : mr_joined(&j[r], o->joined_total[r], o->total[r]);
        o->joined_max[r] = first ? o->max[r] : j[r].max;
    }
    MR_UNROLL
    for (uint32_t i = 0; i < D / 8 * 4; i++) {
        float *sum = &joined[i / 4][i % 4][t];
        const float next = o->acc[i / 4][i % 4];
        *sum = first ? next : mr_joined(&j[i % 4 / 2], *sum, next);
    }
}

/* Column of a lane's value i of a query, i < D / 4; i % 2: its neighbour. */
MR_BODY uint32_t mr_acc_column(uint32_t t, uint32_t i, uint32_t k) {
    return 8 * i + t % 4 * 2 + k % 2;
}

MR_BODY void mr_attend_finish(const mr_attend_own *o, float (*joined)[4][MR_WARP],
                              const mr_attention *a, const mr_tile_of_queries *w, uint32_t D,
                              uint32_t t) {
    for (uint32_t i = 0; i < D / 8; i++) {
        MR_UNROLL
        for (uint32_t k = 0; k < 4; k++) {
            const uint32_t query = t / 4 + k / 2 * 8, d = mr_acc_column(t, i, k);
            if (query >= w->n_queries || d >= a->d_head) continue;
            a->out[mr_query_at(a, w, query) + d] = joined[i][k][t] / o->joined_total[k / 2];
        }
    }
}

MR_BODY void mr_attend_record(const mr_attend_own *o, const mr_attention *a,
                              const mr_tile_of_queries *w, uint32_t D, uint32_t t) {
    MR_UNROLL
    for (uint32_t r = 0; r < 2; r++) {
        const uint32_t query = t / 4 + r * 8;
        if (query >= w->n_queries) continue;
        float *to = a->records + mr_record_of(&w->run, w->group, a->n_kv_head, w->part, w->kv_head,
                                              w->first_query + query) *
                                     MR_ATTN_RECORD(a->d_head);
        MR_UNROLL
        for (uint32_t i = 0; i < D / 8 * 2; i++) {
            const uint32_t d = mr_acc_column(t, i / 2, i % 2);
            if (d < a->d_head) to[d] = o->acc[i / 2][2 * r + i % 2];
        }
        if (t % 4 > 0) continue;
        to[a->d_head] = o->max[r];
        to[a->d_head + 1] = o->total[r];
    }
}

/* An item that there is not: nothing. type: the cache's. */
MR_BODY void mr_attend_item(const mr_attention *a, mr_words4 (*q)[2][MR_WARP],
                            float (*joined)[4][MR_WARP], uint32_t item, uint32_t D,
                            mr_kv_type type) {
    if (item >= a->counts->n_items) return;
    const mr_tile_of_queries w = mr_item_open(a, item);
    mr_attend_own th[MR_PRIVATE(MR_WARP)];

    MR_LANES (t) {
        mr_attend_queries(q, a, &w, D / 16, t);
        th[MR_OWN(t)].joined_max[0] = th[MR_OWN(t)].joined_max[1] = 0;
        th[MR_OWN(t)].joined_total[0] = th[MR_OWN(t)].joined_total[1] = 0;
    }
    if (w.run.n_parts > 1) {
        mr_attend_span(th, q, a, &w, w.part, D, type);
        MR_LANES (t) mr_attend_record(&th[MR_OWN(t)], a, &w, D, t);
        return;
    }
    for (uint32_t span = 0; span < w.span1; span++) {
        mr_attend_span(th, q, a, &w, span, D, type);
        MR_LANES (t) mr_attend_join(&th[MR_OWN(t)], joined, span == 0, D, t);
    }
    MR_LANES (t) mr_attend_finish(&th[MR_OWN(t)], joined, a, &w, D, t);
}

/* out of one (row, head) from the records of its parts: a warp. Rows of whole runs have none. */
MR_BODY void mr_attend_collect(const mr_attention *a, uint32_t row, uint32_t head) {
    const mr_run run = a->runs[mr_run_of(a->runs, a->counts->n_runs, row, false)];
    const uint32_t group = a->n_head / a->n_kv_head, kv_head = head / group;
    const uint32_t query = (row - run.first) * group + head % group, d_head = a->d_head;
    const size_t step = (size_t)a->n_kv_head * mr_run_queries(&run, group) * MR_ATTN_RECORD(d_head);
    const float *first = a->records + mr_record_of(&run, group, a->n_kv_head, 0, kv_head, query) *
                                          MR_ATTN_RECORD(d_head);

    if (run.n_parts < 2) return;
    MR_LANES (t)
        for (uint32_t d = t; d < d_head; d += MR_WARP) {
            float sum = first[d], max = first[d_head], total = first[d_head + 1];
            for (uint32_t i = 1; i < run.n_parts; i++) {
                const float *next = first + i * step;
                const mr_join j = mr_join_of(max, next[d_head]);
                sum = mr_joined(&j, sum, next[d]);
                total = mr_joined(&j, total, next[d_head + 1]);
                max = j.max;
            }
            a->out[((size_t)row * a->n_head + head) * d_head + d] = sum / total;
        }
}

MR_ATTENTION_TYPES(64)
MR_ATTENTION_TYPES(128)
MR_ATTENTION_TYPES(256)

#endif
