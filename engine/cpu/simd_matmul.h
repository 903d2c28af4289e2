/* simd_matmul.h - y = W x for a range of rows and a batch of tokens, from packed tiles.
 *
 * simd_matmul_q.h multiplies quantized weights, simd_matmul_f.h the others; amx_short.h and
 * amx_floats.h do so in the matrix unit of CPUs that have one. In all of them a lane of a vector is
 * a row of a tile (engine/pack.h), so a result is complete when its last column is done: nothing is
 * folded across lanes, and the order of sums is the same for one token and for many. */

/* Asked for ahead of the loads of weights that are used once or nearly so. With products between
 * the loads hardware alone does not keep memory busy. */
#define FETCH_BYTES 1024

/* Of weights at p, n bytes. */
INLINE void fetch_ahead(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i += 64) _mm_prefetch((const char *)p + FETCH_BYTES + i, _MM_HINT_T0);
}

typedef struct product {
    float *y; /* of the first row and token */
    size_t ldy;
    const mr_mat *w;
    const mr_input *in;
    size_t n_tok;
} product;

INLINE const uint8_t *tile_of(const mr_mat *w, uint32_t r) {
    return (const uint8_t *)w->tiles + r / MR_TILE * mr_tile_bytes(w->type, w->cols);
}

/* Up to 16 results of one token, fewer in the last tile. */
INLINE vec load_tile_row(const product *p, uint32_t r, size_t t) {
    const float *y = p->y + t * p->ldy + r;
    const uint32_t n = p->w->rows - r;

    return n >= MR_TILE ? v_load(y) : v_load_n(y, n);
}

INLINE void store_tile_row(const product *p, uint32_t r, size_t t, vec v) {
    float *y = p->y + t * p->ldy + r;
    const uint32_t n = p->w->rows - r;

    if (n >= MR_TILE)
        v_store(y, v);
    else
        v_store_n(y, v, n);
}

#include "engine/cpu/simd_tile.h"

#include "engine/cpu/simd_matmul_q.h"

#include "engine/cpu/simd_matmul_f.h"

static void simd_matmul(float *y, size_t ldy, const mr_mat *w, uint32_t r0, uint32_t r1,
                        const mr_input *in, size_t n_tok, void *scratch) {
    const product p = {y, ldy, w, in, n_tok};

    /* clang-format off */
    switch (w->type) {
    case MR_TYPE_F32: multiply_f32(&p, r0, r1, scratch); return;
    case MR_TYPE_F16: multiply_f16(&p, r0, r1, scratch); return;
    case MR_TYPE_BF16: multiply_bf16(&p, r0, r1, scratch); return;
    default: break;
    }
    /* clang-format on */
    for (uint32_t r = r0; r < r1; r += MR_TILE) dots[w->type](&p, r);
}
