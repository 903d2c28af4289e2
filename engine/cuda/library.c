/* library.c - one handle of cuBLASLt, and the ways it has chosen so far.
 *
 * To the library, which counts columns first, our rows are columns: y^T = (W^T)^T x^T, so W is
 * transposed and nothing is moved. Inputs are F16, BF16 or e4m3, sums and outputs f32; adding to y
 * and the scale are its beta and alpha, a bias its epilogue.
 *
 * Of e4m3 rows of W and tokens have scales. From 12.9 on the library multiplies by such vectors on
 * some GPUs; where it refuses, and for a bias, which would have to be BF16 then, its sums stay raw
 * and a kernel of ours does the rest. It wants sizes in whole 16, so tokens are filled up to that.
 * Sums are the slow ones, which lose no bits on the way (CUBLASLT_MATMUL_DESC_FAST_ACCUM is 0).
 *
 * Which of its kernels does a product depends on all of its sizes and is the library's guess, asked
 * for once and kept. Its descriptions of matrices are made at open and filled in for each product.
 *
 * Limit: WAYS kept; one more takes the place of another and that one is asked for again.
 *
 * Source: NVIDIA, "cuBLAS library", cublasLtMatmul(): types, sizes and scales of FP8. */
#include "engine/cuda/library.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdlib.h>

#include "engine/cuda/launch.h"

#define WAYS     1024u
#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define LIBRARY  "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

typedef struct call { /* of cublasLtMatmul */
    const mr_product *a;
    float *y;
    const float *bias;
    float alpha, beta;
    uint32_t n_tok; /* as many as are filled up to */
    bool scaled;    /* by vectors */
} call;

typedef struct way {
    uint32_t rows, cols, n_tok; /* n_tok 0: none here */
    mr_type type;
    bool has_bias, scaled;
    cublasLtMatmulAlgo_t algo;
} way;

struct mr_library {
    void *library, *workspace;
    size_t workspace_bytes;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product, scaled; /* scaled: NULL where there are no vectors of scales */
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulPreference_t preference;
    way ways[WAYS];

    __typeof__(cublasLtCreate) *create;
    __typeof__(cublasLtDestroy) *destroy;
    __typeof__(cublasLtMatmulDescCreate) *product_create;
    __typeof__(cublasLtMatmulDescDestroy) *product_destroy;
    __typeof__(cublasLtMatmulDescSetAttribute) *product_set;
    __typeof__(cublasLtMatrixLayoutCreate) *layout_create;
    __typeof__(cublasLtMatrixLayoutDestroy) *layout_destroy;
    __typeof__(cublasLtMatrixLayoutSetAttribute) *layout_set;
    __typeof__(cublasLtMatmulPreferenceCreate) *preference_create;
    __typeof__(cublasLtMatmulPreferenceDestroy) *preference_destroy;
    __typeof__(cublasLtMatmulPreferenceSetAttribute) *preference_set;
    __typeof__(cublasLtMatmulAlgoGetHeuristic) *choose;
    __typeof__(cublasLtMatmul) *multiply;
};

/* ---- vectors of scales ---- */

#if CUBLAS_VERSION >= 120900

static cublasStatus_t say_vectors(const mr_library *l) {
    const int32_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    cublasStatus_t rc =
        l->product_set(l->scaled, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, sizeof mode);

    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->product_set(l->scaled, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, sizeof mode);
    return rc;
}

static cublasStatus_t set_vectors(const mr_library *l, const mr_product *a) {
    const void *w = a->w.tiles + a->w.scales_at, *x = a->code_scales;
    cublasStatus_t rc =
        l->product_set(l->scaled, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &w, sizeof w);

    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->product_set(l->scaled, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &x, sizeof x);
    return rc;
}

#else

static cublasStatus_t say_vectors(const mr_library *l) {
    (void)l;
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

static cublasStatus_t set_vectors(const mr_library *l, const mr_product *a) {
    (void)l, (void)a;
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

#endif

/* ---- a product ---- */

static cudaDataType_t type_of(const mr_product *a) {
    if (a->w.type == MR_DEV_E4M3) return CUDA_R_8F_E4M3;
    return a->w.type == MR_TYPE_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

/* A matrix of so many lines of `line` numbers each. */
static cublasStatus_t describe(const mr_library *l, cublasLtMatrixLayout_t m, cudaDataType_t type,
                               uint64_t line, uint64_t n) {
    const uint32_t code = (uint32_t)type;
    const int64_t pitch = (int64_t)line;
    cublasStatus_t rc;

    rc = l->layout_set(m, CUBLASLT_MATRIX_LAYOUT_TYPE, &code, sizeof code);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->layout_set(m, CUBLASLT_MATRIX_LAYOUT_ROWS, &line, sizeof line);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->layout_set(m, CUBLASLT_MATRIX_LAYOUT_COLS, &n, sizeof n);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->layout_set(m, CUBLASLT_MATRIX_LAYOUT_LD, &pitch, sizeof pitch);
    return rc;
}

static cublasStatus_t describe_bias(const mr_library *l, const call *c) {
    const int32_t epilogue = c->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = c->bias;
    cublasStatus_t rc =
        l->product_set(l->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);

    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->product_set(l->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    return rc;
}

static cublasStatus_t describe_all(const mr_library *l, const call *c) {
    const mr_dev_mat *w = &c->a->w;
    cublasStatus_t rc = describe(l, l->w, type_of(c->a), w->cols, w->rows);

    if (rc == CUBLAS_STATUS_SUCCESS) rc = describe(l, l->x, type_of(c->a), w->cols, c->n_tok);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = describe(l, l->y, CUDA_R_32F, w->rows, c->n_tok);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = c->scaled ? set_vectors(l, c->a) : describe_bias(l, c);
    return rc;
}

static way *place_of(mr_library *l, const call *c) {
    uint32_t hash = c->n_tok;

    hash = hash * 0x9e3779b1u + c->a->w.rows;
    hash = hash * 0x9e3779b1u + c->a->w.cols;
    hash = hash * 0x9e3779b1u + (uint32_t)c->a->w.type * 4 + c->scaled * 2u + (c->bias != NULL);
    return &l->ways[(hash ^ hash >> 16) % WAYS];
}

static bool is_for(const way *p, const call *c) {
    const mr_dev_mat *w = &c->a->w;

    return p->n_tok == c->n_tok && p->rows == w->rows && p->cols == w->cols && p->type == w->type &&
           p->scaled == c->scaled && p->has_bias == (c->bias != NULL);
}

/* Behind describe_all. */
static cublasStatus_t ask(mr_library *l, cublasLtMatmulDesc_t product, way *p, const call *c) {
    const mr_dev_mat *w = &c->a->w;
    cublasLtMatmulHeuristicResult_t result;
    int n = 0;

    p->n_tok = 0;
    const cublasStatus_t rc =
        l->choose(l->handle, product, l->w, l->x, l->y, l->y, l->preference, 1, &result, &n);
    if (rc != CUBLAS_STATUS_SUCCESS) return rc;
    if (n == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
    *p = (way){w->rows, w->cols, c->n_tok, w->type, c->bias != NULL, c->scaled, result.algo};
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t multiply(mr_library *l, cudaStream_t stream, const call *c) {
    const cublasLtMatmulDesc_t product = c->scaled ? l->scaled : l->product;
    const void *x = c->a->w.type == MR_DEV_E4M3 ? (const void *)c->a->codes : c->a->halves;
    way *p = place_of(l, c);
    cublasStatus_t rc = describe_all(l, c);

    if (rc == CUBLAS_STATUS_SUCCESS && !is_for(p, c)) rc = ask(l, product, p, c);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc =
            l->multiply(l->handle, product, &c->alpha, c->a->w.tiles, l->w, x, l->x, &c->beta, c->y,
                        l->y, c->y, l->y, &p->algo, l->workspace, l->workspace_bytes, stream);
    return rc;
}

/* The runtime's word for it: what cuBLASLt says is little more than that it failed. */
static cudaError_t code_of(cublasStatus_t rc) {
    switch (rc) {
    case CUBLAS_STATUS_SUCCESS:
        return cudaSuccess;
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return cudaErrorNotSupported;
    case CUBLAS_STATUS_INVALID_VALUE:
        return cudaErrorInvalidValue;
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return cudaErrorLaunchFailure;
    default:
        return cudaErrorUnknown;
    }
}

static void drop_scaled(mr_library *l) {
    if (l->scaled) (void)l->product_destroy(l->scaled);
    l->scaled = NULL;
}

/* One refusal is enough: all products of a model would meet it. */
static cudaError_t multiply_codes(mr_library *l, cudaStream_t stream, const mr_product *a) {
    const uint32_t n_tok = (a->n_tok + MR_PAD_CODES - 1) / MR_PAD_CODES * MR_PAD_CODES;
    const call scaled = {a, a->y, NULL, a->scale, a->adds ? 1 : 0, n_tok, true};
    const call raw = {a, a->raw, NULL, 1, 0, n_tok, false};

    if (l->scaled && !a->bias) {
        const cublasStatus_t rc = multiply(l, stream, &scaled);
        if (rc != CUBLAS_STATUS_NOT_SUPPORTED && rc != CUBLAS_STATUS_INVALID_VALUE)
            return code_of(rc);
        drop_scaled(l);
    }
    const cudaError_t rc = code_of(multiply(l, stream, &raw));
    return rc == cudaSuccess ? mr_launch_scale_e(stream, a) : rc;
}

cudaError_t mr_library_product(mr_library *l, cudaStream_t stream, const mr_product *a) {
    const call plain = {a, a->y, a->bias, a->scale, a->adds ? 1 : 0, a->n_tok, false};

    MR_CHECK(!a->bias || a->scale == 1);
    return a->w.type == MR_DEV_E4M3 ? multiply_codes(l, stream, a)
                                    : code_of(multiply(l, stream, &plain));
}

/* ---- open and close ---- */

/* ISO C has no conversion from an object's to a function's address; POSIX has this one. */
static bool find(const mr_library *l, const char *name, void *function, mr_err *err) {
    void *address = dlsym(l->library, name);

    if (address) memcpy(function, &address, sizeof address);
    if (!address) mr_fail(err, MR_EUNSUPPORTED, "reproducible: false: " LIBRARY " has no %s", name);
    return address != NULL;
}

static mr_status load(mr_library *l, mr_err *err) {
    l->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!l->library)
        return mr_fail(err, MR_EUNSUPPORTED, "reproducible: false needs cuBLASLt: %.160s",
                       dlerror());
    if (!find(l, "cublasLtCreate", &l->create, err) ||
        !find(l, "cublasLtDestroy", &l->destroy, err) ||
        !find(l, "cublasLtMatmulDescCreate", &l->product_create, err) ||
        !find(l, "cublasLtMatmulDescDestroy", &l->product_destroy, err) ||
        !find(l, "cublasLtMatmulDescSetAttribute", &l->product_set, err) ||
        !find(l, "cublasLtMatrixLayoutCreate", &l->layout_create, err) ||
        !find(l, "cublasLtMatrixLayoutDestroy", &l->layout_destroy, err) ||
        !find(l, "cublasLtMatrixLayoutSetAttribute", &l->layout_set, err) ||
        !find(l, "cublasLtMatmulPreferenceCreate", &l->preference_create, err) ||
        !find(l, "cublasLtMatmulPreferenceDestroy", &l->preference_destroy, err) ||
        !find(l, "cublasLtMatmulPreferenceSetAttribute", &l->preference_set, err) ||
        !find(l, "cublasLtMatmulAlgoGetHeuristic", &l->choose, err) ||
        !find(l, "cublasLtMatmul", &l->multiply, err))
        return MR_EUNSUPPORTED;
    return MR_OK;
}

static cublasStatus_t make_product(const mr_library *l, cublasLtMatmulDesc_t *out) {
    const int32_t transposed = CUBLAS_OP_T;
    const cublasStatus_t rc = l->product_create(out, CUBLAS_COMPUTE_32F, CUDA_R_32F);

    if (rc != CUBLAS_STATUS_SUCCESS) return rc;
    return l->product_set(*out, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
}

/* Sizes are filled in for each product. */
static cublasStatus_t make(mr_library *l) {
    cublasStatus_t rc = l->create(&l->handle);

    if (rc == CUBLAS_STATUS_SUCCESS) rc = make_product(l, &l->product);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = make_product(l, &l->scaled);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->layout_create(&l->w, CUDA_R_16F, 8, 8, 8);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->layout_create(&l->x, CUDA_R_16F, 8, 8, 8);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->layout_create(&l->y, CUDA_R_32F, 8, 8, 8);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->preference_create(&l->preference);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->preference_set(l->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                               &l->workspace_bytes, sizeof l->workspace_bytes);
    if (rc == CUBLAS_STATUS_SUCCESS && say_vectors(l) != CUBLAS_STATUS_SUCCESS) drop_scaled(l);
    return rc;
}

mr_status mr_library_open(mr_library **out, void *workspace, size_t bytes, mr_err *err) {
    mr_library *l = calloc(1, sizeof *l);
    mr_status st;

    *out = NULL;
    if (!l) return mr_fail(err, MR_ENOMEM, "cuBLASLt: out of memory");
    l->workspace = workspace;
    l->workspace_bytes = bytes;
    if ((st = load(l, err)) != MR_OK) goto fail;
    const cublasStatus_t rc = make(l);
    if (rc != CUBLAS_STATUS_SUCCESS) {
        st = mr_fail(err, MR_EUNAVAIL, "cuBLASLt does not start: code %d", (int)rc);
        goto fail;
    }
    *out = l;
    return MR_OK;
fail:
    mr_library_close(l);
    return st;
}

void mr_library_close(mr_library *l) {
    if (!l) return;
    if (l->preference) (void)l->preference_destroy(l->preference); /* nobody is left to be told */
    if (l->y) (void)l->layout_destroy(l->y);
    if (l->x) (void)l->layout_destroy(l->x);
    if (l->w) (void)l->layout_destroy(l->w);
    drop_scaled(l);
    if (l->product) (void)l->product_destroy(l->product);
    if (l->handle) (void)l->destroy(l->handle);
    if (l->library) dlclose(l->library); /* it stays mapped: CUDA knows its kernels */
    free(l);
}
