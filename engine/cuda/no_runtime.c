/* no_runtime.c - what a build without CUDA has in place of runtime.c. */
#include "engine/cuda/runtime.h"

mr_status mr_runtime_open(mr_device **out, int ordinal, mr_err *err) {
    *out = NULL;
    return mr_fail(err, MR_EUNAVAIL, "device: cuda:%d: this build has no CUDA (MR_CUDA)", ordinal);
}
