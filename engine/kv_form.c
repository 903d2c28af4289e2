/* kv_form.c - one position's keys and values into a block of the cache; kv_form.h has the layout.
 *
 * Bytes are made in plain C, the same on every machine: a position is written once and read by each
 * one behind it, so this is a small part of a step, and a kernel for it would have to be proved
 * equal. */
#include "engine/kv_form.h"

#include <math.h>
#include <string.h>

#include "engine/ops.h"

static const char *const names[] = {[MR_KV_F16] = "f16", [MR_KV_Q8_0] = "q8_0"};

bool mr_kv_type_parse(const char *text, mr_kv_type *out) {
    for (size_t i = 0; i < MR_COUNT(names); i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (mr_kv_type)i;
        return true;
    }
    return false;
}

const char *mr_kv_type_name(mr_kv_type type) {
    return names[type];
}

static void write_f16(mr_f16 *keys, mr_f16 *values, const mr_ops *ops, const float *k,
                      const float *v, size_t d_head, mr_f16 *scratch) {
    ops->to_f16(scratch, k, d_head);
    for (size_t d = 0; d < d_head; d++) keys[d * MR_KV_RUN] = scratch[d];
    ops->to_f16(values, v, d_head);
}

/* As whole numbers, the bits of a NaN are the largest. */
static float largest_magnitude(const float *x, size_t n) {
    uint32_t most = 0;
    float f;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    memcpy(&f, &most, sizeof f);
    return f;
}

/* q[n] of a group; returns its scale. */
static mr_f16 round_group(int8_t *q, const float *x, size_t n) {
    const float to_whole = 0x1.8p23f; /* what is added to it loses its fraction */
    const mr_f16 half = mr_f32_to_f16(largest_magnitude(x, n) / 127);
    const float scale = mr_f16_to_f32(half);

    if (!(scale > 0) || !isfinite(scale)) {
        memset(q, 0, n);
        return half;
    }
    const float inv = 1 / scale;
    for (size_t i = 0; i < n; i++) {
        const float whole = x[i] * inv + to_whole - to_whole;
        q[i] = (int8_t)(whole > 127 ? 127 : whole < -127 ? -127 : whole);
    }
    return half;
}

/* q[d_head], and scales [groups] that lie MR_KV_BLOCK_LEN apart. */
static void round_all(int8_t *q, mr_f16 *scales, const float *x, size_t d_head) {
    for (size_t d = 0; d < d_head; d += MR_KV_GROUP, scales += MR_KV_BLOCK_LEN)
        *scales = round_group(q + d, x + d, d_head - d < MR_KV_GROUP ? d_head - d : MR_KV_GROUP);
}

void mr_kv_write(uint8_t *block, mr_kv_type type, const mr_ops *ops, uint32_t in, const float *k,
                 const float *v, size_t d_head, void *scratch) {
    uint8_t *values = block + mr_kv_half(type, d_head);
    const size_t first = mr_kv_key_at(d_head, in, 0);
    int8_t *keys = (int8_t *)block + first, *q = scratch;

    if (type == MR_KV_F16) {
        write_f16((mr_f16 *)block + first, (mr_f16 *)values + in * d_head, ops, k, v, d_head,
                  scratch);
        return;
    }
    round_all(q, (mr_f16 *)(block + mr_kv_scales_at(d_head)) + in, k, d_head);
    for (size_t d = 0; d < d_head; d++) keys[d * MR_KV_RUN] = q[d];
    round_all((int8_t *)values + in * d_head, (mr_f16 *)(values + mr_kv_scales_at(d_head)) + in, v,
              d_head);
}
