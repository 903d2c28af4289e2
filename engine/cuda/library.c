/* library.c - one handle of cuBLASLt, and the ways it has chosen so far.
 *
 * To the library, which counts columns first, our rows are columns: y^T = (W^T)^T x^T, so W is
 * transposed and nothing is moved. Inputs are F16 or BF16, sums and outputs f32; adding to y and
 * the scale are its beta and alpha, a bias its epilogue.
 *
 * Which of its kernels does a product depends on all of its sizes and is the library's guess, asked
 * for once and kept. Its descriptions of matrices are made at open and filled in for each product.
 *
 * Limit: WAYS kept; one more takes the place of another and that one is asked for again. */
#include "engine/cuda/library.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdlib.h>

#define WAYS     1024u
#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define LIBRARY  "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

typedef struct way {
    uint32_t rows, cols, n_tok; /* n_tok 0: none here */
    mr_type type;
    bool has_bias;
    cublasLtMatmulAlgo_t algo;
} way;

struct mr_library {
    void *library, *workspace;
    size_t workspace_bytes;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
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

/* ---- a product ---- */

static cudaDataType_t type_of(const mr_product *a) {
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

static cublasStatus_t describe_all(const mr_library *l, const mr_product *a) {
    const int32_t epilogue = a->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = a->bias;
    cublasStatus_t rc = describe(l, l->w, type_of(a), a->w.cols, a->w.rows);

    if (rc == CUBLAS_STATUS_SUCCESS) rc = describe(l, l->x, type_of(a), a->w.cols, a->n_tok);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = describe(l, l->y, CUDA_R_32F, a->w.rows, a->n_tok);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->product_set(l->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->product_set(l->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    return rc;
}

static way *place_of(mr_library *l, const mr_product *a) {
    uint32_t hash = a->n_tok;

    hash = hash * 0x9e3779b1u + a->w.rows;
    hash = hash * 0x9e3779b1u + a->w.cols;
    hash = hash * 0x9e3779b1u + (uint32_t)a->w.type * 2 + (a->bias != NULL);
    return &l->ways[(hash ^ hash >> 16) % WAYS];
}

static bool is_for(const way *p, const mr_product *a) {
    return p->n_tok == a->n_tok && p->rows == a->w.rows && p->cols == a->w.cols &&
           p->type == a->w.type && p->has_bias == (a->bias != NULL);
}

/* Behind describe_all. */
static cublasStatus_t ask(mr_library *l, way *p, const mr_product *a) {
    cublasLtMatmulHeuristicResult_t result;
    int n = 0;

    p->n_tok = 0;
    const cublasStatus_t rc =
        l->choose(l->handle, l->product, l->w, l->x, l->y, l->y, l->preference, 1, &result, &n);
    if (rc != CUBLAS_STATUS_SUCCESS) return rc;
    if (n == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
    *p = (way){a->w.rows, a->w.cols, a->n_tok, a->w.type, a->bias != NULL, result.algo};
    return CUBLAS_STATUS_SUCCESS;
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

cudaError_t mr_library_product(mr_library *l, cudaStream_t stream, const mr_product *a) {
    const float alpha = a->scale, beta = a->adds ? 1 : 0;
    way *p = place_of(l, a);
    cublasStatus_t rc;

    MR_CHECK(!a->bias || a->scale == 1);
    rc = describe_all(l, a);
    if (rc == CUBLAS_STATUS_SUCCESS && !is_for(p, a)) rc = ask(l, p, a);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc =
            l->multiply(l->handle, l->product, &alpha, a->w.tiles, l->w, a->halves, l->x, &beta,
                        a->y, l->y, a->y, l->y, &p->algo, l->workspace, l->workspace_bytes, stream);
    return code_of(rc);
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

/* Sizes are filled in for each product. */
static cublasStatus_t make(mr_library *l) {
    const int32_t transposed = CUBLAS_OP_T;
    cublasStatus_t rc = l->create(&l->handle);

    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->product_create(&l->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc =
            l->product_set(l->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->layout_create(&l->w, CUDA_R_16F, 8, 8, 8);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->layout_create(&l->x, CUDA_R_16F, 8, 8, 8);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->layout_create(&l->y, CUDA_R_32F, 8, 8, 8);
    if (rc == CUBLAS_STATUS_SUCCESS) rc = l->preference_create(&l->preference);
    if (rc == CUBLAS_STATUS_SUCCESS)
        rc = l->preference_set(l->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                               &l->workspace_bytes, sizeof l->workspace_bytes);
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
    if (l->product) (void)l->product_destroy(l->product);
    if (l->handle) (void)l->destroy(l->handle);
    if (l->library) dlclose(l->library); /* it stays mapped: CUDA knows its kernels */
    free(l);
}
