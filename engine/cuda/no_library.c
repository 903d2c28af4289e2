/* no_library.c - what a build without cuBLASLt has in place of library.c. */
#include "engine/cuda/library.h"

mr_status mr_library_open(mr_library **out, void *workspace, size_t bytes, mr_err *err) {
    (void)workspace, (void)bytes;
    *out = NULL;
    return mr_fail(err, MR_EUNSUPPORTED,
                   "reproducible: false needs cuBLASLt, and this build is one without cuBLASLt "
                   "(cublasLt.h; MR_CUBLAS_DIR says where it is)");
}

cudaError_t mr_library_product(mr_library *l, cudaStream_t stream, const mr_product *a) {
    (void)l, (void)stream, (void)a;
    return cudaErrorNotSupported;
}

void mr_library_close(mr_library *l) {
    (void)l;
}
