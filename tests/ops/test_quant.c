/* Goal: every block format means exactly what its definition says, and the quantizers choose good
 * blocks.
 *
 * Method: blocks of random bytes against values from make_quant.py's interpreter of the formats,
 * bit by bit; quantize and decode, and bound the error; all 65,536 half floats there and back. */
#include "tests/ops/ops_test.h"

#include "engine/quant.h"

#include "tests/ops/quant_vectors.h"

static const mr_type types[] = {MR_TYPE_F32,  MR_TYPE_F16,  MR_TYPE_BF16, MR_TYPE_Q8_0,
                                MR_TYPE_Q4_0, MR_TYPE_Q4_K, MR_TYPE_Q5_K, MR_TYPE_Q6_K};

static void check_vectors(mr_type type, const uint8_t *blocks, size_t n_bytes, const uint32_t *want,
                          size_t n) {
    CHECK_I64(n_bytes, mr_type_row_bytes(type, n));
    float *y = malloc(n * sizeof *y);
    mr_dequantize_row(y, blocks, type, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        const float plain = y[i] + 0.0f; /* the vectors have no -0 */
        memcpy(&bits, &plain, 4);
        if (bits != want[i])
            fail_msg("%s: value %zu is %a (%08x), not %08x", mr_type_name(type), i, (double)y[i],
                     bits, want[i]);
    }
    free(y);
}

#define CHECK_VECTORS(t)                                                                           \
    check_vectors(MR_TYPE_##t, blocks_##t, sizeof blocks_##t, values_##t, MR_COUNT(values_##t))

TEST(blocks_mean_what_the_format_says) {
    CHECK_VECTORS(Q8_0);
    CHECK_VECTORS(Q4_0);
    CHECK_VECTORS(Q4_K);
    CHECK_VECTORS(Q5_K);
    CHECK_VECTORS(Q6_K);
}

TEST(quantizers_lose_little) {
    /* root mean square error over that of the values, normal distribution */
    static const double bound[] = {0, 3e-4, 2.4e-3, 6e-3, 0.1, 0.075, 0.037, 0.02};
    const size_t n = 256 * 32;
    float *x = random_floats(n, 1), *y = malloc(n * sizeof *y);
    uint8_t *row = malloc(n * sizeof(float));

    for (size_t k = 0; k < MR_COUNT(types); k++) {
        double error = 0, power = 0;
        CHECK_I64(mr_quantize_row(row, x, types[k], n), MR_OK);
        mr_dequantize_row(y, row, types[k], n);
        for (size_t i = 0; i < n; i++) {
            error += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
            power += (double)x[i] * x[i];
        }
        CHECK_NEAR(sqrt(error / power), 0, bound[k], mr_type_name(types[k]));
    }
    free(x);
    free(y);
    free(row);
}

/* Rows that leave a quantizer nothing to divide by, or need one end of a range. */
TEST(quantizers_take_special_rows) {
    static const float fills[] = {0, 1e-30f, -1e-44f, 1, -1, 65504, -65504};
    float x[256], y[256];
    uint8_t row[256 * 4];

    for (size_t k = 0; k < MR_COUNT(types); k++) {
        for (size_t f = 0; f < MR_COUNT(fills); f++) {
            for (int one = 0; one < 2; one++) { /* all values, or the last of each 64 only */
                for (int i = 0; i < 256; i++) x[i] = one && i % 64 != 63 ? 0 : fills[f];
                CHECK_I64(mr_quantize_row(row, x, types[k], 256), MR_OK);
                mr_dequantize_row(y, row, types[k], 256);
                for (int i = 0; i < 256; i++)
                    CHECK_NEAR(y[i], x[i], 0.02 * fabs(fills[f]) + 1e-6, mr_type_name(types[k]));
            }
        }
    }
}

TEST(quantizers_refuse_what_they_cannot_store) {
    float x[256] = {0};
    uint8_t row[1024];
    CHECK_I64(mr_quantize_row(row, x, MR_TYPE_Q8_0, 31), MR_EINVAL);
    CHECK_I64(mr_quantize_row(row, x, MR_TYPE_Q4_K, 128), MR_EINVAL);
    CHECK_I64(mr_quantize_row(row, x, (mr_type)77, 256), MR_EINVAL);
    x[3] = NAN;
    CHECK_I64(mr_quantize_row(row, x, MR_TYPE_Q6_K, 256), MR_EINVAL);
    x[3] = INFINITY;
    CHECK_I64(mr_quantize_row(row, x, MR_TYPE_BF16, 256), MR_EINVAL);
    x[3] = 70000;
    CHECK_I64(mr_quantize_row(row, x, MR_TYPE_F16, 256), MR_EINVAL);
    CHECK_I64(mr_quantize_row(row, x, MR_TYPE_BF16, 256), MR_OK);
}

TEST(half_floats_go_there_and_back) {
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = mr_f16_to_f32((mr_f16)h);
        const bool nan = (h & 0x7fff) > 0x7c00;
        CHECK(isnan(f) == nan);
        CHECK_I64(mr_f32_to_f16(f), nan ? h | 0x200 : h); /* a NaN turns quiet */
    }
}

/* Values between two halves: ties go to the even one, all else to the nearest. */
TEST(rounding_to_half_is_to_nearest_even) {
    enum { N = 3 * 31744 };
    static float x[N];
    static mr_f16 want[N], got[N];
    for (uint32_t h = 0; h < 31744; h++) { /* all finite positive halves */
        const float a = mr_f16_to_f32((mr_f16)h);
        const float b = h == 31743 ? 65536 : mr_f16_to_f32((mr_f16)(h + 1));
        const float mid = (a + b) / 2; /* exact */
        x[3 * h] = nextafterf(mid, 0);
        x[3 * h + 1] = mid;
        x[3 * h + 2] = nextafterf(mid, 1e9f);
        want[3 * h] = (mr_f16)h;
        want[3 * h + 1] = (mr_f16)(h + h % 2);
        want[3 * h + 2] = (mr_f16)(h + 1);
    }
    FOR_EACH_OPS(o) {
        for (int sign = 0; sign < 2; sign++) {
            o->to_f16(got, x, N);
            assert_memory_equal(want, got, sizeof want);
            for (int i = 0; i < N; i++) x[i] = -x[i], want[i] ^= 0x8000;
        }
        for (size_t n = 0; n < 40; n++) { /* odd lengths touch no more than they should */
            float *in = malloc(n * sizeof *in + 1);
            mr_f16 *out = malloc(n * sizeof *out + 1);
            if (n) memcpy(in, x, n * sizeof *in);
            o->to_f16(out, in, n);
            if (n) assert_memory_equal(out, want, n * sizeof *out);
            free(in);
            free(out);
        }
    }
}

TEST(types_have_names_and_sizes) {
    mr_type t;
    for (size_t k = 0; k < MR_COUNT(types); k++) {
        CHECK(mr_type_parse(mr_type_name(types[k]), &t));
        CHECK_I64(t, types[k]);
    }
    CHECK(mr_type_parse("q4_k", &t));
    CHECK_I64(t, MR_TYPE_Q4_K);
    CHECK(!mr_type_parse("q4", &t));
    CHECK(!mr_type_parse("", &t));
    CHECK_I64(mr_type_row_bytes(MR_TYPE_Q6_K, 512), 420);
    CHECK_I64(mr_type_row_bytes(MR_TYPE_F16, 5), 10);
    CHECK_I64(mr_type_block((mr_type)3), 0);
    CHECK_I64(mr_type_block_bytes((mr_type)3), 0);
    CHECK_STR(mr_type_name((mr_type)3), "unknown");
}

MR_TEST_MAIN
