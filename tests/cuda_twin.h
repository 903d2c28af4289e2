/* cuda_twin.h - a device that is plain C: every kernel's body, block by block, in host memory.
 *
 * Late, it does nothing until it is waited for, and then no more than what was before the mark: a
 * list that the host changes too early is a list that the kernels see changed.
 *
 * With it the CUDA backend runs on any machine and under sanitizers: its layouts, lists and index
 * arithmetic are those of the GPU, line by line. n_units decides how products and contexts are cut.
 */
#ifndef MR_TESTS_CUDA_TWIN_H
#define MR_TESTS_CUDA_TWIN_H

#include <stdlib.h>

#include "engine/cuda/device.h"
#include "engine/cuda/product_e.h"
#include "engine/cuda/product_f.h"
#include "engine/cuda/product_q.h"

typedef struct twin {
    mr_device base;
    uint64_t free_bytes;
    size_t n_reserved;       /* pieces of memory that nobody has given back */
    size_t n_asked;          /* pieces that were ever asked for */
    uint64_t bytes_asked;    /* ... and their bytes */
    size_t refuses;          /* which of them there is no memory for, from 1; 0: none */
    size_t n_rows_out;       /* that rows_out has copied */
    size_t n_waits, lost_at; /* from which wait or mark reached on it is lost; 0: none */
    _Atomic bool lost;       /* as a GPU behind a fault; any thread may say so */
    bool records_not;        /* a recording comes to nothing */
    bool never_records;      /* ... does not even begin */
    bool late;
    bool strict; /* kernels are put in line only while it is the one chosen last */
    size_t n_replays, n_matmuls;
    bool no_library;         /* it cannot be opened */
    uint32_t refuses_tokens; /* products of so many, and more, are not its business; 0: all are */
    double product_ms, matmul_ms; /* what each takes; 0: not said, and all times are 1 */
    double clock_ms, marked_ms[MR_DEV_MARKS];
    struct twin_recording *recording; /* under way; NULL: none */
    struct twin_call *line;           /* late: what is to be done */
    size_t n_line, line_room;
    bool doing; /* ... is being done */
} twin;

static twin *twin_chosen;

/* What was put in line, late or while a recording was under way. */
typedef enum twin_kind {
    TWIN_EMBED,
    TWIN_FEED,
    TWIN_GATHER,
    TWIN_TOTAL,
    TWIN_TURN,
    TWIN_PRODUCT,
    TWIN_MATMUL,
    TWIN_ATTEND,
    TWIN_DRAW,
    TWIN_MOVE,
    TWIN_ROWS_IN,
    TWIN_ROWS_OUT,
    TWIN_MARK,
    TWIN_REPLAY
} twin_kind;
typedef struct twin_move {
    void *to;
    const void *from;
    size_t bytes, pitch, n; /* the last two: of rows */
} twin_move;
typedef struct twin_call {
    twin_kind kind;
    union {
        mr_embed embed;
        mr_feed feed;
        mr_gather gather;
        mr_total total;
        mr_turn turn;
        mr_product product;
        mr_attention attend;
        mr_draws draw;
        twin_move move;
        uint32_t mark;
        void *recording;
    } a;
} twin_call;

enum { TWIN_MAX_CALLS = 400 };

typedef struct twin_recording {
    twin_call calls[TWIN_MAX_CALLS];
    size_t n;
} twin_recording;

static inline twin_call *twin_next_in_line(twin *t) {
    if (t->n_line == t->line_room) {
        t->line_room = 2 * t->line_room + 64;
        t->line = realloc(t->line, t->line_room * sizeof *t->line);
        MR_CHECK(t->line);
    }
    return &t->line[t->n_line++];
}

/* True: it is kept, not done. */
static inline bool twin_keep(mr_device *d, twin_kind kind, const void *a, size_t bytes) {
    twin *t = (twin *)d;
    twin_recording *r = t->recording;
    twin_call *c;

    MR_CHECK(!t->strict || t->doing || kind >= TWIN_MOVE || twin_chosen == t);
    if (!r && (!t->late || t->doing)) return false;
    MR_CHECK(!r || (r->n < TWIN_MAX_CALLS && kind < TWIN_MOVE));
    c = r ? &r->calls[r->n++] : twin_next_in_line(t);
    c->kind = kind;
    memcpy(&c->a, a, bytes);
    return true;
}
#define TWIN_KEEP(d, kind, a)                                                                      \
    if (twin_keep(d, kind, a, sizeof *(a))) return

static inline mr_status twin_reserve(mr_device *d, void **out, size_t bytes, const char *what,
                                     mr_err *err) {
    twin *t = (twin *)d;

    t->bytes_asked += bytes;
    *out = ++t->n_asked == t->refuses ? NULL : aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!*out) return mr_fail(err, MR_ENOMEM, "twin: no %zu bytes for %s", bytes, what);
    memset(*out, 0, (bytes + 255) / 256 * 256);
    t->n_reserved++;
    return MR_OK;
}

static inline void twin_do(twin *t, size_t n);

static inline void twin_release(mr_device *d, void *p) {
    twin_do((twin *)d, SIZE_MAX);
    if (p) ((twin *)d)->n_reserved--;
    free(p);
}

static inline uint64_t twin_free_bytes(mr_device *d) {
    return ((twin *)d)->free_bytes;
}

static inline void twin_copy(mr_device *d, void *to, const void *from, size_t bytes) {
    const twin_move move = {.to = to, .from = from, .bytes = bytes};

    TWIN_KEEP(d, TWIN_MOVE, &move);
    memcpy(to, from, bytes);
}

static inline void twin_rows_in(mr_device *d, void *to, const void *from, size_t bytes,
                                size_t pitch, size_t n) {
    const twin_move move = {to, from, bytes, pitch, n};

    TWIN_KEEP(d, TWIN_ROWS_IN, &move);
    for (size_t i = 0; i < n; i++)
        memcpy((char *)to + i * pitch, (const char *)from + i * bytes, bytes);
}

static inline void twin_rows_out(mr_device *d, void *to, const void *from, size_t bytes,
                                 size_t pitch, size_t n) {
    const twin_move move = {to, from, bytes, pitch, n};

    TWIN_KEEP(d, TWIN_ROWS_OUT, &move);
    ((twin *)d)->n_rows_out += n;
    for (size_t i = 0; i < n; i++)
        memcpy((char *)to + i * bytes, (const char *)from + i * pitch, bytes);
}

/* What it says when it has been waited for. */
static inline mr_status twin_say(twin *t, mr_err *err) {
    if (++t->n_waits == t->lost_at) t->lost = true;
    return t->lost ? mr_fail(err, MR_EUNAVAIL, "twin: lost") : MR_OK;
}

static inline mr_status twin_wait(mr_device *d, mr_err *err) {
    twin_do((twin *)d, SIZE_MAX);
    return twin_say((twin *)d, err);
}

static inline void twin_choose(mr_device *d) {
    twin_chosen = (twin *)d;
}

static inline void twin_embed(mr_device *d, const mr_embed *a) {
    TWIN_KEEP(d, TWIN_EMBED, a);
    for (uint32_t x = 0; x < a->n; x++) mr_embed_row(a, (mr_coord){x, 0});
}

static inline void twin_feed(mr_device *d, const mr_feed *a) {
    mr_feed_shared sh;

    TWIN_KEEP(d, TWIN_FEED, a);
    for (uint32_t x = 0; x < a->n; x++) mr_feed_row(a, &sh, (mr_coord){x, 0});
}

static inline void twin_gather(mr_device *d, const mr_gather *a) {
    TWIN_KEEP(d, TWIN_GATHER, a);
    for (uint32_t x = 0; x < a->n; x++) mr_gather_row(a, (mr_coord){x, 0});
}

static inline void twin_total(mr_device *d, const mr_total *a) {
    TWIN_KEEP(d, TWIN_TOTAL, a);
    for (uint32_t x = 0; x < a->n; x++) mr_total_row(a, (mr_coord){x, 0});
}

static inline void twin_turn(mr_device *d, const mr_turn *a) {
    mr_turn_shared sh;

    TWIN_KEEP(d, TWIN_TURN, a);
    for (uint32_t x = 0; x < a->n; x++)
        for (uint32_t head = 0; head < a->n_head + 2 * a->n_kv_head; head++)
            mr_turn_head(a, &sh, x, head);
}

/* One block of a product, cut as it says. What shared memory holds at first is not to matter. */
static inline void twin_product_block(const mr_product *a, mr_cut_kind kind, mr_coord block) {
    static const mr_shape large = MR_SHAPE_LARGE, small = MR_SHAPE_SMALL;
    const mr_shape *shape = kind == MR_CUT_LARGE ? &large : &small;
    static union {
        mr_few_e_shared few_e;
        mr_few_q_shared few_q;
        mr_many_q_shared many_q;
        mr_waiting few_f[MR_FEW_WARPS];
        mr_many_f_shared many_f;
    } sh;

    memset(&sh, 0xff, sizeof sh);
    if (a->w.type == MR_DEV_E4M3 && kind == MR_CUT_FEW)
        mr_few_e(a, &sh.few_e, block);
    else if (a->w.type == MR_DEV_E4M3)
        mr_many_e(a, shape, &sh.many_q, block);
    else if (mr_is_plain(a->w.type) && kind == MR_CUT_FEW)
        mr_few_f(a, a->w.type, sh.few_f, block);
    else if (mr_is_plain(a->w.type))
        mr_many_f(a, a->w.type, shape, &sh.many_f, block);
    else if (kind == MR_CUT_FEW)
        mr_few_q(a, a->w.type, &sh.few_q, block);
    else
        mr_many_q(a, a->w.type, shape, &sh.many_q, block);
}

static inline void twin_product_cut(const mr_product *a, mr_cut cut) {
    for (uint32_t y = 0; y < cut.y; y++)
        for (uint32_t x = 0; x < cut.x; x++) twin_product_block(a, cut.kind, (mr_coord){x, y});
}

static inline void twin_product(mr_device *d, const mr_product *a) {
    TWIN_KEEP(d, TWIN_PRODUCT, a);
    MR_CHECK(!a->w.in_rows);
    ((twin *)d)->clock_ms += ((twin *)d)->product_ms;
    if (a->n_tok > 0) twin_product_cut(a, mr_cut_of(&a->w, a->n_tok, d->n_units));
}

static inline float twin_half(uint16_t h, mr_type type) {
    return type == MR_TYPE_F16 ? mr_of_half(h) : mr_float_of((uint32_t)h << 16);
}

/* f32 sums of the numbers as rounded, columns in order. */
static inline void twin_matmul_halves(const mr_product *a) {
    const mr_dev_mat *w = &a->w;
    const uint16_t *rows = (const uint16_t *)(const void *)w->tiles;

    for (uint32_t tok = 0; tok < a->n_tok; tok++)
        for (uint32_t row = 0; row < w->rows; row++) {
            float sum = 0;
            for (uint32_t i = 0; i < w->cols; i++)
                sum += twin_half(rows[(size_t)row * w->cols + i], w->type) *
                       twin_half(a->halves[(size_t)tok * w->cols + i], w->type);
            mr_product_store(a, row, tok, sum);
        }
}

/* Likewise, of all tokens that there are to be; then as where a library knows no scales. */
static inline void twin_matmul_codes(const mr_product *a) {
    const mr_dev_mat *w = &a->w;
    const uint32_t n_tok = (a->n_tok + MR_PAD_CODES - 1) / MR_PAD_CODES * MR_PAD_CODES;
    float values[256];

    MR_CHECK(w->rows % MR_TILE == 0 && w->cols % MR_TILE == 0 && (!a->adds || a->raw != a->y));
    for (uint32_t code = 0; code < 256; code++) values[code] = mr_of_e4m3((uint8_t)code);
    for (uint32_t tok = 0; tok < n_tok; tok++)
        for (uint32_t row = 0; row < w->rows; row++) {
            const uint8_t *u = w->tiles + (size_t)row * w->cols,
                          *v = a->codes + (size_t)tok * w->cols;
            float sum = 0;
            for (uint32_t i = 0; i < w->cols; i++) sum += values[u[i]] * values[v[i]];
            a->raw[(size_t)tok * w->rows + row] = sum;
        }
    for (uint32_t y = 0; y < mr_scale_blocks(w); y++)
        for (uint32_t x = 0; x < a->n_tok; x++) mr_scale_sums(a, (mr_coord){x, y});
}

static inline void twin_matmul(mr_device *d, const mr_product *a) {
    TWIN_KEEP(d, TWIN_MATMUL, a);
    MR_CHECK(a->w.in_rows && (!a->bias || a->scale == 1));
    ((twin *)d)->clock_ms += ((twin *)d)->matmul_ms;
    ((twin *)d)->n_matmuls++;
    if (a->w.type == MR_DEV_E4M3)
        twin_matmul_codes(a);
    else
        twin_matmul_halves(a);
}

static inline bool twin_try_matmul(mr_device *d, const mr_product *a) {
    const uint32_t refused = ((twin *)d)->refuses_tokens;

    if (refused > 0 && a->n_tok >= refused) return false;
    twin_matmul(d, a);
    return true;
}

static inline mr_status twin_open_library(mr_device *d, void *workspace, size_t bytes,
                                          mr_err *err) {
    MR_CHECK(workspace && bytes > 0);
    if (!((twin *)d)->no_library) return MR_OK;
    return mr_fail(err, MR_EUNSUPPORTED, "twin: without cuBLASLt");
}

static inline void twin_attend(mr_device *d, const mr_attention *a) {
    static mr_attend_shared_64 sh64;
    static mr_attend_shared_128 sh128;
    static mr_attend_shared_256 sh256;

    TWIN_KEEP(d, TWIN_ATTEND, a);
    for (uint32_t i = 0; i < a->n_items; i++) {
        if (a->d_head <= 64)
            mr_attend_item(a, sh64.q, sh64.joined, i, 64, a->cache.type);
        else if (a->d_head <= 128)
            mr_attend_item(a, sh128.q, sh128.joined, i, 128, a->cache.type);
        else
            mr_attend_item(a, sh256.q, sh256.joined, i, 256, a->cache.type);
    }
    if (!a->records) return;
    for (uint32_t row = 0; row < a->n; row++)
        for (uint32_t head = 0; head < a->n_head; head++) mr_attend_collect(a, row, head);
}

static inline void twin_draw(mr_device *d, const mr_draws *a) {
    static mr_draw_shared sh;

    TWIN_KEEP(d, TWIN_DRAW, a);
    memset(&sh, 0xff, sizeof sh);
    for (uint32_t x = 0; x < a->n; x++) mr_draw_row(a, &sh, (mr_coord){x, 0});
}

/* ---- marks and recordings ---- */

static inline void twin_mark(mr_device *d, uint32_t mark) {
    MR_CHECK(mark < MR_DEV_MARKS);
    TWIN_KEEP(d, TWIN_MARK, &mark);
    ((twin *)d)->marked_ms[mark] = ((twin *)d)->clock_ms;
}
static inline mr_status twin_reach(mr_device *d, uint32_t mark, mr_err *err) {
    twin *t = (twin *)d;
    size_t n = t->n_line; /* to the last of these marks */

    MR_CHECK(mark < MR_DEV_MARKS);
    while (n > 0 && (t->line[n - 1].kind != TWIN_MARK || t->line[n - 1].a.mark != mark)) n--;
    twin_do(t, n);
    return twin_say(t, err);
}
static inline float twin_between(mr_device *d, uint32_t from, uint32_t to) {
    const twin *t = (const twin *)d;

    if (t->product_ms > 0) return (float)(t->marked_ms[to] - t->marked_ms[from]);
    return from == to ? 0 : 1;
}

static inline bool twin_record(mr_device *d) {
    twin *t = (twin *)d;

    MR_CHECK(!t->recording);
    if (t->never_records) return false;
    t->recording = calloc(1, sizeof *t->recording);
    MR_CHECK(t->recording);
    return true;
}
static inline void *twin_recorded(mr_device *d) {
    twin *t = (twin *)d;
    twin_recording *r = t->recording;

    t->recording = NULL;
    if (!t->records_not) {
        t->n_reserved++;
        return r;
    }
    free(r);
    return NULL;
}

static inline void twin_replay(mr_device *d, void *recording);

static inline void twin_call_again(mr_device *d, const twin_call *c) {
    const twin_move *m = &c->a.move; /* if it is one */

    switch (c->kind) {
    case TWIN_EMBED:
        twin_embed(d, &c->a.embed);
        return;
    case TWIN_FEED:
        twin_feed(d, &c->a.feed);
        return;
    case TWIN_GATHER:
        twin_gather(d, &c->a.gather);
        return;
    case TWIN_TOTAL:
        twin_total(d, &c->a.total);
        return;
    case TWIN_TURN:
        twin_turn(d, &c->a.turn);
        return;
    case TWIN_PRODUCT:
        twin_product(d, &c->a.product);
        return;
    case TWIN_MATMUL:
        twin_matmul(d, &c->a.product);
        return;
    case TWIN_ATTEND:
        twin_attend(d, &c->a.attend);
        return;
    case TWIN_DRAW:
        twin_draw(d, &c->a.draw);
        return;
    case TWIN_MOVE:
        twin_copy(d, m->to, m->from, m->bytes);
        return;
    case TWIN_ROWS_IN:
        twin_rows_in(d, m->to, m->from, m->bytes, m->pitch, m->n);
        return;
    case TWIN_ROWS_OUT:
        twin_rows_out(d, m->to, m->from, m->bytes, m->pitch, m->n);
        return;
    case TWIN_MARK:
        twin_mark(d, c->a.mark);
        return;
    case TWIN_REPLAY:
        twin_replay(d, c->a.recording);
        return;
    }
}
static inline void twin_replay(mr_device *d, void *recording) {
    const twin_recording *r = recording;

    TWIN_KEEP(d, TWIN_REPLAY, &recording);
    ((twin *)d)->n_replays++;
    for (size_t i = 0; i < r->n; i++) twin_call_again(d, &r->calls[i]);
}

/* The first n in line are done, and leave it. */
static inline void twin_do(twin *t, size_t n) {
    if (n > t->n_line) n = t->n_line;
    t->doing = true;
    for (size_t i = 0; i < n; i++) twin_call_again(&t->base, &t->line[i]);
    t->doing = false;
    t->n_line -= n;
    if (t->n_line > 0) memmove(t->line, t->line + n, t->n_line * sizeof *t->line);
    if (t->n_line > 0) return;
    free(t->line);
    t->line = NULL;
    t->line_room = 0;
}

static inline void twin_close(mr_device *d) {
    (void)d; /* the test's own memory */
}

static const mr_device_calls twin_calls = {
    .reserve = twin_reserve,
    .pin = twin_reserve,
    .release = twin_release,
    .unpin = twin_release,
    .free_bytes = twin_free_bytes,
    .copy_in = twin_copy,
    .copy_out = twin_copy,
    .rows_in = twin_rows_in,
    .rows_out = twin_rows_out,
    .wait = twin_wait,
    .mark = twin_mark,
    .reach = twin_reach,
    .between = twin_between,
    .record = twin_record,
    .recorded = twin_recorded,
    .replay = twin_replay,
    .forget = twin_release,
    .choose = twin_choose,
    .embed = twin_embed,
    .feed = twin_feed,
    .product = twin_product,
    .matmul = twin_matmul,
    .try_matmul = twin_try_matmul,
    .turn = twin_turn,
    .attend = twin_attend,
    .gather = twin_gather,
    .total = twin_total,
    .draw = twin_draw,
    .open_library = twin_open_library,
    .close = twin_close,
};

static inline twin twin_of(uint32_t n_units) {
    return (twin){.base = {&twin_calls, "twin", n_units, "", 90, 90}, .free_bytes = 1u << 30};
}

#endif
