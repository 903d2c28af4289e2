/* cuda_devices.h - tests of kernels that run twice: on the twin, and on a GPU if there is one.
 *
 * A test has its own device_at(0), the twin, and device_at(1), a GPU that can do what it wants, or
 * NULL. What the devices hold is given back by the test, or at the end of its process. */
#ifndef MR_TESTS_CUDA_DEVICES_H
#define MR_TESTS_CUDA_DEVICES_H

#include "tests/cuda_twin.h"
#include "tests/test.h"

#define FOR_EACH_DEVICE(d)                                                                         \
    for (size_t mr_d = 0; mr_d < 2; mr_d++)                                                        \
        for (mr_device *d = device_at(mr_d); d; d = NULL)

/* Of this machine, opened once; NULL: it has none, and a line has said so. */
static inline mr_device *the_gpu(void) {
    static mr_device *gpu;
    static bool tried;
    mr_err err;

    if (!tried && mr_device_pick(&gpu, "cuda", &err) != MR_OK)
        print_message("not tested on a GPU: %s\n", err.text);
    tried = true;
    return gpu;
}

/* Memory of the device, with a copy of from, if that is not NULL. */
static inline void *put(mr_device *d, const void *from, size_t bytes) {
    void *p;
    mr_err err;

    CHECK_OK(d->calls->reserve(d, &p, bytes, "a test", &err), err);
    if (from) d->calls->copy_in(d, p, from, bytes);
    CHECK_OK(d->calls->wait(d, &err), err);
    return p;
}

static inline void get(mr_device *d, void *to, const void *from, size_t bytes) {
    mr_err err;

    d->calls->copy_out(d, to, from, bytes);
    CHECK_OK(d->calls->wait(d, &err), err);
}

static inline void drop(mr_device *d, const void *p) {
    d->calls->release(d, (void *)p);
}

#endif
