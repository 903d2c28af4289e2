/* gpu.h - how the GPU that the engine works on is doing, as NVIDIA's management library says.
 *
 * libnvidia-ml.so.1 comes with the driver; it is looked for when there is a GPU to ask about, and
 * nothing is linked. What it does not know of a device reads 0.
 *
 * Owner: caller. Thread: loop; a reading asks the driver each time, see docs/METRICS.md for how
 * long that takes. */
#ifndef MR_WORKER_GPU_H
#define MR_WORKER_GPU_H

#include <stdint.h>

#include "millrace/error.h"

typedef struct mr_gpu mr_gpu;

typedef struct mr_gpu_stats {
    uint64_t memory_used, memory_total; /* bytes, of all programs */
    double busy;                        /* 0..1 */
    double celsius, watts;
} mr_gpu_stats;

/* pci: "domain:bus:device.function", as CUDA and the kernel name it. MR_EUNAVAIL: no library, or it
 * knows no such device; err says which. */
mr_status mr_gpu_open(mr_gpu **out, const char *pci, mr_err *err);
void mr_gpu_read(const mr_gpu *g, mr_gpu_stats *s);
void mr_gpu_close(mr_gpu *g); /* NULL is allowed */

#endif
