/* Goal: slices are disjoint, together they are the whole, and what cannot be cut is refused.
 * Method: a layer of F32 numbers, and of blocks: every number of a slice is compared with the one
 * of the whole that shard.h says. */
#include "engine/shard.h"
#include "tests/test.h"

enum { N_EMBD = 3, D_HEAD = 2, N_HEAD = 8, N_KV_HEAD = 4, N_FF = 12, N_Q = N_HEAD * D_HEAD };

static float numbers[4096], bias[N_Q];

static mr_mat mat_of(float *at, uint32_t rows, uint32_t cols) {
    return (mr_mat){.data = at,
                    .type = MR_TYPE_F32,
                    .rows = rows,
                    .cols = cols,
                    .row_bytes = cols * sizeof(float)};
}

static mr_model model_of(mr_layer *y) {
    for (size_t i = 0; i < MR_COUNT(numbers); i++) numbers[i] = (float)(i * 31 % 257);
    for (size_t i = 0; i < MR_COUNT(bias); i++) bias[i] = (float)i;
    *y = (mr_layer){.bq = bias,
                    .bk = bias,
                    .bo = bias,
                    .wq = mat_of(numbers, N_Q, N_EMBD),
                    .wk = mat_of(numbers + 100, N_KV_HEAD * D_HEAD, N_EMBD),
                    .wv = mat_of(numbers + 200, N_KV_HEAD * D_HEAD, N_EMBD),
                    .wo = mat_of(numbers + 300, N_EMBD, N_Q),
                    .gate = mat_of(numbers + 400, N_FF, N_EMBD),
                    .up = mat_of(numbers + 500, N_FF, N_EMBD),
                    .down = mat_of(numbers + 600, N_EMBD, N_FF)};
    return (mr_model){.hp = {.n_layer = 1,
                             .n_head = N_HEAD,
                             .n_kv_head = N_KV_HEAD,
                             .d_head = D_HEAD,
                             .n_embd = N_EMBD,
                             .n_ff = N_FF},
                      .layers = y};
}

static float at(const mr_mat *w, uint32_t row, uint32_t col) {
    float v;

    CHECK(row < w->rows && col < w->cols);
    memcpy(&v, (const char *)w->data + row * w->row_bytes + col * sizeof v, sizeof v);
    return v;
}

static void check_rows(const mr_mat *part, const mr_mat *whole, uint32_t rank, uint32_t n) {
    CHECK_I64(part->rows * n, whole->rows);
    CHECK_I64(part->cols, whole->cols);
    for (uint32_t r = 0; r < part->rows; r++)
        for (uint32_t c = 0; c < part->cols; c++)
            CHECK(at(part, r, c) == at(whole, rank * part->rows + r, c));
}

static void check_cols(const mr_mat *part, const mr_mat *whole, uint32_t rank, uint32_t n) {
    CHECK_I64(part->cols * n, whole->cols);
    CHECK_I64(part->rows, whole->rows);
    for (uint32_t r = 0; r < part->rows; r++)
        for (uint32_t c = 0; c < part->cols; c++)
            CHECK(at(part, r, c) == at(whole, r, rank * part->cols + c));
}

static void check_slice(const mr_model *m, uint32_t rank, uint32_t n) {
    const mr_layer *y = m->layers;
    mr_model slice;
    mr_err err;

    CHECK_OK(mr_shard_open(&slice, m, rank, n, &err), err);
    const mr_layer *part = slice.layers;
    CHECK_I64(slice.hp.n_head, N_HEAD / n);
    CHECK_I64(slice.hp.n_kv_head, N_KV_HEAD / n);
    CHECK_I64(slice.hp.n_ff, N_FF / n);
    CHECK_I64(slice.hp.n_embd, N_EMBD);
    check_rows(&part->wq, &y->wq, rank, n);
    check_rows(&part->wk, &y->wk, rank, n);
    check_rows(&part->wv, &y->wv, rank, n);
    check_rows(&part->gate, &y->gate, rank, n);
    check_rows(&part->up, &y->up, rank, n);
    check_cols(&part->wo, &y->wo, rank, n);
    check_cols(&part->down, &y->down, rank, n);
    CHECK(part->bq == bias + rank * N_Q / n);
    CHECK(part->bk == bias + rank * N_KV_HEAD * D_HEAD / n);
    CHECK(part->bv == NULL);
    CHECK(part->bo == (rank == 0 ? bias : NULL));
    mr_shard_close(&slice);
}

TEST(slices_are_disjoint_and_together_the_whole) {
    mr_layer y;
    const mr_model m = model_of(&y);

    for (uint32_t n = 1; n <= 4; n *= 2) {
        CHECK_I64(mr_shard_check(&m, n, NULL), MR_OK);
        for (uint32_t rank = 0; rank < n; rank++) check_slice(&m, rank, n);
    }
}

static void check_refused(const mr_model *m, uint32_t n, const char *text) {
    mr_err err;

    CHECK_I64(mr_shard_check(m, n, &err), MR_EUNSUPPORTED);
    CHECK_ERR(err, text);
}

TEST(what_does_not_divide_is_refused_with_the_numbers) {
    mr_layer y;
    mr_model m = model_of(&y);

    check_refused(&m, 0, "0 does not divide");
    check_refused(&m, 8,
                  "8 does not divide all of this model's 8 heads, 4 heads of keys and "
                  "values, and 12 values");
    m.hp.n_ff = 13;
    check_refused(&m, 2, "and 13 values");
}

/* A type's blocks stay whole. */
TEST(a_slice_of_columns_begins_with_a_block) {
    mr_layer y;
    const mr_model m = model_of(&y);

    y.wo.type = MR_TYPE_Q8_0;
    y.wo.cols = 256;
    y.wo.row_bytes = mr_type_row_bytes(MR_TYPE_Q8_0, 256);
    CHECK_I64(mr_shard_check(&m, 4, NULL), MR_OK);
    for (uint32_t rank = 0; rank < 4; rank++) {
        mr_model slice;
        CHECK_I64(mr_shard_open(&slice, &m, rank, 4, NULL), MR_OK);
        const mr_mat *part = &slice.layers[0].wo;
        CHECK_I64((const char *)part->data - (const char *)y.wo.data,
                  rank * mr_type_row_bytes(MR_TYPE_Q8_0, 64));
        CHECK_I64(part->row_bytes, y.wo.row_bytes);
        mr_shard_close(&slice);
    }
    y.down.type = MR_TYPE_Q4_K;
    y.down.cols = 512;
    CHECK_I64(mr_shard_check(&m, 2, NULL), MR_OK);
    check_refused(&m, 4,
                  "4 makes 128 of the 512 columns of ffn_down in layer 0, whose type has "
                  "blocks of 256");
}

MR_TEST_MAIN
