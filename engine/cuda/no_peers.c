/* no_peers.c - what a build without NCCL has in place of peers_nccl.c. */
#include "engine/cuda/peers.h"

mr_status mr_peers_open(mr_peers **out, mr_device *const *devices, uint32_t n, mr_err *err) {
    (void)devices;
    *out = NULL;
    return mr_fail(err, MR_EUNAVAIL, "tensor_parallel: %u: this build has no NCCL (MR_NCCL)", n);
}
