/* cuda_twin.h - a device that is plain C: every kernel's body, block by block, in host memory.
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
    size_t refuses;          /* which of them there is no memory for, from 1; 0: none */
    size_t n_rows_out;       /* that rows_out has copied */
    size_t n_waits, lost_at; /* from which wait on it is lost; 0: none */
    bool lost;               /* as a GPU behind a fault */
} twin;

static inline mr_status twin_reserve(mr_device *d, void **out, size_t bytes, const char *what,
                                     mr_err *err) {
    twin *t = (twin *)d;

    *out = ++t->n_asked == t->refuses ? NULL : aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!*out) return mr_fail(err, MR_ENOMEM, "twin: no %zu bytes for %s", bytes, what);
    memset(*out, 0, (bytes + 255) / 256 * 256);
    t->n_reserved++;
    return MR_OK;
}

static inline void twin_release(mr_device *d, void *p) {
    if (p) ((twin *)d)->n_reserved--;
    free(p);
}

static inline uint64_t twin_free_bytes(mr_device *d) {
    return ((twin *)d)->free_bytes;
}

static inline void twin_copy(mr_device *d, void *to, const void *from, size_t bytes) {
    (void)d;
    memcpy(to, from, bytes);
}

static inline void twin_rows_in(mr_device *d, void *to, const void *from, size_t bytes,
                                size_t pitch, size_t n) {
    (void)d;
    for (size_t i = 0; i < n; i++)
        memcpy((char *)to + i * pitch, (const char *)from + i * bytes, bytes);
}

static inline void twin_rows_out(mr_device *d, void *to, const void *from, size_t bytes,
                                 size_t pitch, size_t n) {
    ((twin *)d)->n_rows_out += n;
    for (size_t i = 0; i < n; i++)
        memcpy((char *)to + i * bytes, (const char *)from + i * pitch, bytes);
}

static inline mr_status twin_wait(mr_device *d, mr_err *err) {
    twin *t = (twin *)d;

    if (++t->n_waits == t->lost_at) t->lost = true;
    return t->lost ? mr_fail(err, MR_EUNAVAIL, "twin: lost") : MR_OK;
}

static inline void twin_embed(mr_device *d, const mr_embed *a) {
    (void)d;
    for (uint32_t x = 0; x < a->n; x++) mr_embed_row(a, (mr_coord){x, 0});
}

static inline void twin_feed(mr_device *d, const mr_feed *a) {
    mr_feed_shared sh;

    (void)d;
    for (uint32_t x = 0; x < a->n; x++) mr_feed_row(a, &sh, (mr_coord){x, 0});
}

static inline void twin_gather(mr_device *d, const mr_gather *a) {
    (void)d;
    for (uint32_t x = 0; x < a->n; x++) mr_gather_row(a, (mr_coord){x, 0});
}

static inline void twin_turn(mr_device *d, const mr_turn *a) {
    mr_turn_shared sh;

    (void)d;
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
    if (a->n_tok > 0) twin_product_cut(a, mr_cut_of(&a->w, a->n_tok, d->n_units));
}

static inline void twin_attend(mr_device *d, const mr_attention *a) {
    static mr_attend_shared_64 sh64;
    static mr_attend_shared_128 sh128;
    static mr_attend_shared_256 sh256;

    (void)d;
    for (uint32_t i = 0; i < a->n_items; i++) {
        if (a->d_head <= 64)
            mr_attend_item(a, sh64.q, sh64.joined, i, 64);
        else if (a->d_head <= 128)
            mr_attend_item(a, sh128.q, sh128.joined, i, 128);
        else
            mr_attend_item(a, sh256.q, sh256.joined, i, 256);
    }
    if (!a->records) return;
    for (uint32_t row = 0; row < a->n; row++)
        for (uint32_t head = 0; head < a->n_head; head++) mr_attend_collect(a, row, head);
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
    .embed = twin_embed,
    .feed = twin_feed,
    .product = twin_product,
    .turn = twin_turn,
    .attend = twin_attend,
    .gather = twin_gather,
    .close = twin_close,
};

static inline twin twin_of(uint32_t n_units) {
    return (twin){.base = {&twin_calls, "twin", n_units, "", 90}, .free_bytes = 1u << 30};
}

#endif
