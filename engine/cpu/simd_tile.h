/* simd_tile.h - what a packed tile of quantized weights (engine/pack.h) holds, as vectors.
 *
 * Signed bytes feed the multipliers. Where a format's quants lie on one side of zero only after an
 * offset, the byte is a multiple of the quant that needs no shift to the right (16 times for Q4_0,
 * 4 times for Q6_K), and its scale is divided by the same power of two: exact, so the product has
 * the bits that ops.h defines. type and s are constants wherever these are inlined. */

/* Step s of a group: columns 4 s .. 4 s + 3 of 16 rows. */
INLINE bytes tile_step(const uint8_t *quants, const int s, const mr_type type) {
    if (type == MR_TYPE_Q8_0) return b_load(quants + 64 * s);

    const bytes n = b_load(quants + 64 * (s % 4));
    const uint8_t *bits = quants + 256;
    if (type == MR_TYPE_Q4_0) return b_and(s < 4 ? b_sll(n, 4) : n, 0xf0);
    if (type == MR_TYPE_Q6_K) {
        const bytes h = b_load(bits + 64 * (s / 4));
        const bytes two = s % 4 == 0 ? b_sll(h, 2) : b_srl(h, 2 * (s % 4) - 2);
        return b_or(b_and(s < 4 ? b_sll(n, 4) : n, 0xf0), b_and(two, 0x0c));
    }
    const bytes low = b_and(s < 4 ? n : b_srl(n, 4), 0x0f);
    if (type == MR_TYPE_Q4_K) return low;
    const bytes h = b_load(bits);
    return b_or(low, b_and(s < 4 ? b_sll(h, 4 - s) : b_srl(h, s - 4), 0x10));
}

typedef struct tile_scales {
    vec w[2]; /* of the first and the second half of the columns; differ for Q6_K only */
    vec min;  /* Q4_K, Q5_K */
} tile_scales;

INLINE bool has_min(const mr_type type) {
    return type == MR_TYPE_Q4_K || type == MR_TYPE_Q5_K;
}

/* Of group g; scales are those of the whole tile. */
INLINE tile_scales open_scales(const uint8_t *scales, size_t g, const mr_type type) {
    tile_scales o;

    if (type == MR_TYPE_Q8_0 || type == MR_TYPE_Q4_0) {
        o.w[0] = v_f16(scales + 32 * g);
        if (type == MR_TYPE_Q4_0) o.w[0] = v_mul(o.w[0], v_set1(0x1p-4f));
        o.w[1] = o.min = o.w[0];
        return o;
    }
    const size_t head = has_min(type) ? 64 : 32;
    const uint8_t *of_8 = scales + g / 8 * (head + 8 * 32);
    const uint8_t *own = of_8 + head + g % 8 * 32;
    const vec d = v_f16(of_8);

    if (type == MR_TYPE_Q6_K) {
        const vec quarter = v_mul(d, v_set1(0x1p-2f));
        o.w[0] = v_mul(quarter, v_i8(load_16_bytes(own)));
        o.w[1] = v_mul(quarter, v_i8(load_16_bytes(own + 16)));
        o.min = d;
        return o;
    }
    o.w[0] = o.w[1] = v_mul(d, v_i8(load_16_bytes(own))); /* 6 bits: signed or not */
    o.min = v_mul(v_f16(of_8 + 32), v_i8(load_16_bytes(own + 16)));
    return o;
}
