/* draw.h - a token for each row of logits: what sample.c defines, to the bit.
 *
 * A block has one row. What sample.c finds with heaps and levels is found here by halving: "the
 * best tokens whose number, or whose weights, reach a goal" are all ranks from some rank on, and
 * that one is looked for, bit by bit. Numbers and weights are whole (sample_math.h), so it does not
 * show in which order threads add them up. A draw is such a search, too.
 *
 * To halve 40 times over 150,000 tokens would take long; so those that can matter are first listed
 * in shared memory. Of the best k none is worse than the k-th of the best tokens of all threads; of
 * the best that reach a share, mr_floor_of. A list that finds no room (a flat row, a large k) is
 * not made, and the row itself is searched: right, and slow.
 *
 * The sum of all weights is ops.h's exp_sums with the arithmetic of the processor's vectors: 16
 * sums of a run, folded as they fold them.
 *
 * Penalties, biases and bans are made in the row and undone behind the draw, as sample.c does. A
 * token that only the device knows, the one drawn last of the sequence, counts for penalties too.
 *
 * Limits: MR_DRAW_MAX_VOCAB; MR_DRAW_LIST listed tokens. */
#ifndef MR_ENGINE_CUDA_DRAW_H
#define MR_ENGINE_CUDA_DRAW_H

#include "engine/cuda/machine.h"
#include "engine/sample_math.h"
#include "millrace/engine.h"

#define MR_DRAW           1024 /* threads */
#define MR_DRAW_LIST      4096
#define MR_DRAW_RUNS      512
#define MR_DRAW_LANES     16 /* of the processor's vectors */
#define MR_DRAW_MAX_VOCAB ((uint32_t)MR_DRAW_RUNS * MR_EXP_RUN)

typedef struct mr_edit { /* of a logit */
    int32_t id;          /* -1: the token that the device knows, or none */
    float bias;
    uint32_t seen; /* in the output */
    float old;     /* the device's */
} mr_edit;

#define MR_NO_SEQ 0xffffffffu

typedef struct mr_draw { /* of one row */
    mr_pick pick;
    float rep, freq, pres;
    uint32_t first_edit, n_seen, n_bias, n_ban; /* penalized ones, each once; biases; banned ones */
    uint32_t behind; /* the sequence whose last token penalties do not know: n_seen has a place for
                        it, its last; MR_NO_SEQ: none */
    uint32_t seq;    /* whose token this is */
    uint32_t n_top;
    uint32_t reports; /* log probabilities are wanted */
} mr_draw;

#define MR_DRAWN_NOT_FINITE (-1)
#define MR_DRAWN_NO_TOKEN   (-2)

typedef struct mr_drawn {
    int32_t token;
    uint32_t reports, n_top;
    float raw, top; /* logits of the token, and the largest; with sum only if it reports */
    double sum;     /* of e^(logit - top) */
    float logit[MR_MAX_TOP_LOGPROBS];
    int32_t id[MR_MAX_TOP_LOGPROBS]; /* best first */
} mr_drawn;

typedef struct mr_draws {
    const mr_draw *draws; /* [n] */
    mr_edit *edits;
    float *logits;   /* [n, n_vocab], changed meanwhile */
    int32_t *latest; /* [sequences]: the token drawn last of each */
    mr_drawn *out;   /* [n] */
    uint32_t n_vocab, n;
} mr_draws;

typedef struct mr_draw_own {
    uint64_t best, sum;
} mr_draw_own;

typedef struct mr_draw_shared {
    union {
        uint64_t list[MR_DRAW_LIST]; /* ranks */
        float lanes[MR_DRAW_RUNS * MR_DRAW_LANES];
    } u;
    float runs[MR_DRAW_RUNS];
    uint64_t part[MR_DRAW / MR_WARP], total;
    double sum, left;
    uint32_t n_list, run, found;
} mr_draw_shared;

/* ---- what all threads find together ---- */

/* The sum of member sum, for everybody. */
MR_BODY uint64_t mr_draw_total(mr_draw_own *th, mr_draw_shared *sh) {
    MR_WARP_SUM(th, MR_DRAW, sum);
    MR_THREADS (t, MR_DRAW)
        if (t % MR_WARP == 0) sh->part[t / MR_WARP] = th[MR_OWN(t)].sum;
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW) th[MR_OWN(t)].sum = sh->part[t % MR_WARP];
    MR_WARP_SUM(th, MR_DRAW, sum);
    MR_THREADS (t, MR_DRAW)
        if (t == 0) sh->total = th[MR_OWN(t)].sum;
    MR_BARRIER();
    return sh->total;
}

/* The largest member best. */
MR_BODY uint64_t mr_draw_best(mr_draw_own *th, mr_draw_shared *sh) {
    MR_WARP_TOP(th, MR_DRAW, best);
    MR_THREADS (t, MR_DRAW)
        if (t % MR_WARP == 0) sh->part[t / MR_WARP] = th[MR_OWN(t)].best;
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW) th[MR_OWN(t)].best = sh->part[t % MR_WARP];
    MR_WARP_TOP(th, MR_DRAW, best);
    MR_THREADS (t, MR_DRAW)
        if (t == 0) sh->total = th[MR_OWN(t)].best;
    MR_BARRIER();
    return sh->total;
}

#define MR_RANK_BAD  (0xffffffffull << MR_ID_BITS) /* of NaN and +inf, whichever their id */
#define MR_RANK_NONE mr_rank_of(-INFINITY, 0)      /* none above: all are -inf */

/* The best token of each thread, of every n-th; of a bad row MR_RANK_BAD. */
MR_BODY void mr_draw_bests(mr_draw_own *th, const float *z, uint32_t n) {
    MR_THREADS (t, MR_DRAW) {
        uint64_t best = 0;
        for (uint32_t i = t; i < n; i += MR_DRAW) {
            const uint64_t rank = z[i] < INFINITY ? mr_rank_of(z[i], i) : MR_RANK_BAD;
            best = rank > best ? rank : best;
        }
        th[MR_OWN(t)].best = best;
    }
}

/* ---- the sum of all weights ---- */

/* As the processor's vectors have it, for x <= 0. */
MR_BODY float mr_exp_lane(float x) {
    const float lo = -87.3365f, z = x > lo ? x : lo;
    const float n = rintf(z * 1.44269504f);
    const float r = fmaf(n, -0x1.7f7d1cp-20f, fmaf(n, -0x1.62e4p-1f, z));
    float p = 0x1.6a23cep-10f;

    p = fmaf(p, r, 0x1.123a2p-7f);
    p = fmaf(p, r, 0x1.5558f2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r, 1);
    p = fmaf(p, r, 1);
    return x < lo ? 0 : p * mr_float_of((uint32_t)((int32_t)n + 127) << 23);
}

MR_BODY float mr_lane_sum(const float *z, uint32_t n, uint32_t first, float top, float inv_t) {
    float sum = 0;

    for (uint32_t i = first; i < n; i += MR_DRAW_LANES) sum += mr_exp_lane((z[i] - top) * inv_t);
    return sum;
}

MR_BODY float mr_fold_lanes(const float *v) {
    float four[4];

    MR_UNROLL
    for (uint32_t i = 0; i < 4; i++) four[i] = (v[i] + v[i + 8]) + (v[i + 4] + v[i + 12]);
    return (four[0] + four[1]) + (four[2] + four[3]);
}

/* sh->runs and their sum. */
MR_BODY double mr_draw_weigh(mr_draw_shared *sh, const float *z, uint32_t n, float top,
                             float inv_t) {
    const uint32_t n_runs = (n + MR_EXP_RUN - 1) / MR_EXP_RUN;

    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < n_runs * MR_DRAW_LANES; i += MR_DRAW) {
            const uint32_t run = i / MR_DRAW_LANES * MR_EXP_RUN;
            sh->u.lanes[i] =
                mr_lane_sum(z + run, mr_least(n - run, MR_EXP_RUN), i % MR_DRAW_LANES, top, inv_t);
        }
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < n_runs; i += MR_DRAW)
            sh->runs[i] = mr_fold_lanes(&sh->u.lanes[i * MR_DRAW_LANES]);
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW) {
        double sum = 0;
        for (uint32_t i = 0; t == 0 && i < n_runs; i++) sum += (double)sh->runs[i];
        if (t == 0) sh->sum = sum;
    }
    MR_BARRIER();
    return sh->sum;
}

/* ---- searches ---- */

typedef enum mr_look_at { MR_LOOK_LIST, MR_LOOK_ROW, MR_LOOK_IDS } mr_look_at;

typedef struct mr_look { /* at tokens first .. first + n - 1 of the row, or at the list */
    mr_look_at at;       /* IDS: as the row, but the lower id is the better */
    const float *z;
    uint32_t first, n;
    bool counts; /* tokens, not their weights */
    float top, inv_t;
} mr_look;

/* Of all tokens ranked `least` or better. */
MR_BODY uint64_t mr_draw_measure(mr_draw_own *th, mr_draw_shared *sh, const mr_look *l,
                                 uint64_t least) {
    MR_THREADS (t, MR_DRAW) {
        uint64_t sum = 0;
        for (uint32_t i = t; i < l->n; i += MR_DRAW) {
            const uint32_t id = l->first + i;
            const float logit = l->at == MR_LOOK_LIST ? mr_rank_logit(sh->u.list[i]) : l->z[id];
            const uint64_t rank = l->at == MR_LOOK_LIST  ? sh->u.list[i]
                                  : l->at == MR_LOOK_ROW ? mr_rank_of(logit, id)
                                                         : MR_ID_MASK - id;
            if (rank >= least) sum += l->counts ? 1 : mr_weight(logit, l->top, l->inv_t);
        }
        th[MR_OWN(t)].sum = sum;
    }
    return mr_draw_total(th, sh);
}

/* The highest rank from which on tokens reach the goal; `least` if they do not from there on. */
MR_BODY uint64_t mr_draw_search(mr_draw_own *th, mr_draw_shared *sh, const mr_look *l,
                                uint64_t goal, uint64_t least, uint64_t best) {
    uint64_t end = best + 1; /* behind it nothing is left */

    while (end - least > 1) {
        const uint64_t middle = least + (end - least) / 2;
        if (mr_draw_measure(th, sh, l, middle) >= goal)
            least = middle;
        else
            end = middle;
    }
    return least;
}

/* Tokens ranked `least` or better become the list; if they find no room, the row is looked at. */
MR_BODY void mr_draw_list(mr_draw_shared *sh, mr_look *l, uint32_t n_vocab, uint64_t least) {
    MR_THREADS (t, MR_DRAW)
        if (t == 0) sh->n_list = 0;
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < n_vocab; i += MR_DRAW) {
            const uint64_t rank = mr_rank_of(l->z[i], i);
            const uint32_t at = rank >= least ? MR_NEXT(&sh->n_list) : MR_DRAW_LIST;
            if (at < MR_DRAW_LIST) sh->u.list[at] = rank;
        }
    MR_BARRIER();
    const bool fits = sh->n_list <= MR_DRAW_LIST;
    l->at = fits ? MR_LOOK_LIST : MR_LOOK_ROW;
    l->first = 0;
    l->n = fits ? sh->n_list : n_vocab;
}

/* A rank that k tokens reach: that of the k-th of the threads' best, if there are so many. */
MR_BODY uint64_t mr_draw_floor(mr_draw_own *th, mr_draw_shared *sh, const float *z,
                               uint32_t n_vocab, uint32_t k) {
    const uint32_t n = mr_least(n_vocab, MR_DRAW);
    const mr_look l = {MR_LOOK_LIST, z, 0, n, true, 0, 0};

    if (k > n) return 0;
    mr_draw_bests(th, z, n_vocab);
    MR_THREADS (t, MR_DRAW) sh->u.list[t] = th[MR_OWN(t)].best;
    const uint64_t best = mr_draw_best(th, sh);
    return mr_draw_search(th, sh, &l, k, 0, best);
}

/* ---- the draw ---- */

/* Without a filter: the run that u falls into, then a token of it. */
MR_BODY uint32_t mr_draw_any(mr_draw_own *th, mr_draw_shared *sh, const float *z, uint32_t n,
                             const mr_pick *p, uint64_t best) {
    const uint32_t n_runs = (n + MR_EXP_RUN - 1) / MR_EXP_RUN;
    const float top = mr_rank_logit(best);
    const double sum = mr_draw_weigh(sh, z, n, top, p->inv_t);

    MR_THREADS (t, MR_DRAW)
        if (t == 0) {
            const double goal = (double)p->u * 0x1p-53 * sum;
            double at = 0;
            uint32_t run = 0;
            while (run + 1 < n_runs && at + (double)sh->runs[run] <= goal)
                at += (double)sh->runs[run++];
            sh->run = run;
            sh->left = goal - at;
        }
    MR_BARRIER();
    const uint32_t first = sh->run * MR_EXP_RUN;
    const mr_look l = {MR_LOOK_IDS, z,   first,   mr_least(n - first, MR_EXP_RUN),
                       false,       top, p->inv_t};
    const uint64_t all = mr_draw_measure(th, sh, &l, 0), goal = mr_goal_of(sh->left);

    if (all == 0) return mr_rank_id(best);
    return mr_rank_id(mr_draw_search(th, sh, &l, goal < all ? goal : all, 0, MR_ID_MASK));
}

MR_BODY uint32_t mr_draw_filtered(mr_draw_own *th, mr_draw_shared *sh, const float *z, uint32_t n,
                                  const mr_pick *p, uint64_t best) {
    const float top = mr_rank_logit(best);
    mr_look l = {MR_LOOK_ROW, z, 0, n, false, top, p->inv_t};
    uint64_t least = 0;
    double sum = 0;

    if (p->top_k) {
        least = mr_draw_floor(th, sh, z, n, p->top_k);
    } else if (p->top_p > 0) {
        sum = mr_draw_weigh(sh, z, n, top, p->inv_t);
        least = mr_rank_of(mr_floor_of(top, p->t, p->top_p, sum, n), (uint32_t)MR_ID_MASK);
    } else {
        least = mr_rank_of(top + p->below, (uint32_t)MR_ID_MASK);
    }
    mr_draw_list(sh, &l, n, least);
    if (p->top_k) {
        l.counts = true;
        least = mr_draw_search(th, sh, &l, p->top_k, least, best);
        l.counts = false;
        sum = (double)mr_draw_measure(th, sh, &l, least) / (double)MR_UNITS;
    }
    if (p->top_p > 0) least = mr_draw_search(th, sh, &l, mr_goal_of(sum * p->top_p), least, best);
    const uint64_t floor = mr_rank_of(top + p->below, (uint32_t)MR_ID_MASK);
    if (p->below > -INFINITY && floor > least) least = floor;
    const uint64_t part = mr_part_of(mr_draw_measure(th, sh, &l, least), p->u);
    return mr_rank_id(mr_draw_search(th, sh, &l, part + 1, least, best));
}

/* ---- changes of the row ---- */

MR_BODY void mr_edit_seen(const mr_draw *d, mr_edit *e, float *z, int32_t id, uint32_t seen) {
    e->id = id;
    e->old = z[id];
    z[id] = mr_penalized(e->old, d->rep, d->freq, d->pres, seen);
}

/* latest: the token that the list does not know; -1: it knows all. */
MR_BODY void mr_draw_penalize(mr_draw_shared *sh, const mr_draw *d, mr_edit *e, float *z,
                              int32_t latest) {
    const uint32_t n = latest < 0 ? d->n_seen : d->n_seen - 1;

    MR_THREADS (t, MR_DRAW)
        if (t == 0) sh->found = 0;
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < n; i += MR_DRAW) {
            const bool again = e[i].id == latest;
            if (again) sh->found = 1;
            mr_edit_seen(d, &e[i], z, e[i].id, e[i].seen + again);
        }
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW)
        if (t == 0 && latest >= 0 && !sh->found) mr_edit_seen(d, &e[n], z, latest, 1);
    MR_BARRIER();
}

/* A token that has several biases: the thread of the first adds them up in order. */
MR_BODY bool mr_is_first(const mr_edit *e, uint32_t i) {
    for (uint32_t j = 0; j < i; j++)
        if (e[j].id == e[i].id) return false;
    return true;
}

MR_BODY void mr_draw_bias(const mr_draw *d, mr_edit *e, float *z) {
    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < d->n_bias; i += MR_DRAW) {
            if (!mr_is_first(e, i)) continue;
            float v = e[i].old = z[e[i].id];
            for (uint32_t j = i; j < d->n_bias; j++)
                if (e[j].id == e[i].id) v += e[j].bias;
            z[e[i].id] = v;
        }
    MR_BARRIER();
}

MR_BODY void mr_draw_ban(const mr_draw *d, mr_edit *e, float *z) {
    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < d->n_ban; i += MR_DRAW) {
            e[i].old = z[e[i].id];
            z[e[i].id] = -INFINITY;
        }
    MR_BARRIER();
}

/* The last change first. */
MR_BODY void mr_draw_undo(const mr_draw *d, mr_edit *seen, float *z) {
    mr_edit *bias = seen + d->n_seen, *ban = bias + d->n_bias;

    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < d->n_ban; i += MR_DRAW) z[ban[i].id] = ban[i].old;
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < d->n_bias; i += MR_DRAW)
            if (mr_is_first(bias, i)) z[bias[i].id] = bias[i].old;
    MR_BARRIER();
    MR_THREADS (t, MR_DRAW)
        for (uint32_t i = t; i < d->n_seen; i += MR_DRAW)
            if (seen[i].id >= 0) z[seen[i].id] = seen[i].old;
    MR_BARRIER();
}

/* ---- log probabilities ---- */

MR_BODY void mr_draw_report(mr_draw_own *th, mr_draw_shared *sh, const float *z, uint32_t n_vocab,
                            uint32_t n_top, mr_drawn *out, uint64_t best) {
    const float top = mr_rank_logit(best);
    const double sum = mr_draw_weigh(sh, z, n_vocab, top, 1);
    const uint32_t n = mr_least(n_top, n_vocab);
    mr_look l = {MR_LOOK_ROW, z, 0, n_vocab, true, top, 1};

    if (n > 0) mr_draw_list(sh, &l, n_vocab, mr_draw_floor(th, sh, z, n_vocab, n));
    for (uint32_t i = 0; i < n; i++) { /* best: not told yet */
        if (i > 0) best = mr_draw_search(th, sh, &l, i + 1, 0, best - 1);
        MR_THREADS (t, MR_DRAW)
            if (t == 0) {
                out->id[i] = (int32_t)mr_rank_id(best);
                out->logit[i] = z[mr_rank_id(best)]; /* a rank knows no -0 */
            }
    }
    MR_THREADS (t, MR_DRAW)
        if (t == 0) {
            out->n_top = n;
            out->top = top;
            out->sum = sum;
        }
    MR_BARRIER();
}

/* ---- a row ---- */

MR_BODY uint64_t mr_draw_row_best(mr_draw_own *th, mr_draw_shared *sh, const float *z,
                                  uint32_t n_vocab) {
    mr_draw_bests(th, z, n_vocab);
    return mr_draw_best(th, sh);
}

MR_BODY int32_t mr_draw_token(mr_draw_own *th, mr_draw_shared *sh, const float *z, uint32_t n,
                              const mr_pick *p, uint64_t best) {
    if (best <= MR_RANK_NONE || best >= MR_RANK_BAD) return MR_DRAWN_NO_TOKEN;
    if (!(p->inv_t > 0)) return (int32_t)mr_rank_id(best);
    if (!p->top_k && !(p->top_p > 0) && p->below == -INFINITY)
        return (int32_t)mr_draw_any(th, sh, z, n, p, best);
    return (int32_t)mr_draw_filtered(th, sh, z, n, p, best);
}

MR_BODY void mr_draw_row(const mr_draws *a, mr_draw_shared *sh, mr_coord block) {
    const mr_draw *d = &a->draws[block.x];
    const uint32_t n = a->n_vocab;
    float *z = a->logits + (size_t)block.x * n;
    mr_drawn *out = &a->out[block.x];
    mr_edit *edits = a->edits + d->first_edit;
    const bool changes = d->n_seen + d->n_bias + d->n_ban > 0;
    int32_t token = MR_DRAWN_NOT_FINITE;
    mr_draw_own th[MR_PRIVATE(MR_DRAW)];
    uint64_t best = mr_draw_row_best(th, sh, z, n);

    if (best > MR_RANK_NONE && best < MR_RANK_BAD) {
        if (d->reports) mr_draw_report(th, sh, z, n, d->n_top, out, best);
        if (changes) {
            const bool behind = d->behind != MR_NO_SEQ && d->n_seen > 0;
            mr_draw_penalize(sh, d, edits, z, behind ? a->latest[d->behind] : -1);
            mr_draw_bias(d, edits + d->n_seen, z);
            mr_draw_ban(d, edits + d->n_seen + d->n_bias, z);
            best = mr_draw_row_best(th, sh, z, n);
        }
        token = mr_draw_token(th, sh, z, n, &d->pick, best);
        if (changes) mr_draw_undo(d, edits, z);
    }
    MR_THREADS (t, MR_DRAW)
        if (t == 0) {
            out->token = token;
            out->reports = d->reports;
            if (token >= 0) out->raw = z[token];
            a->latest[d->seq] = token < 0 ? 0 : token; /* any will do for a spoiled one */
        }
}

#endif
