/* peers.h - devices that tell each other what they have: the one thing that those who share a
 * layer (ranks.h) need beside their kernels.
 *
 * peers_nccl.c is this for GPUs, no_peers.c for builds without NCCL; the tests have it as plain C.
 * Owner: caller, open to close. Thread: that of the devices. */
#ifndef MR_ENGINE_CUDA_PEERS_H
#define MR_ENGINE_CUDA_PEERS_H

#include "engine/cuda/device.h"

typedef struct mr_peers mr_peers;

typedef struct mr_peers_calls {
    /* lists[i], memory of device i, is a list of as many parts as there are devices, of n floats
     * each; device i has written part i, and gets the others. In line on every device. */
    void (*gather)(mr_peers *p, float *const *lists, size_t n);
    /* Waits for all that is in line, on all devices. MR_EUNAVAIL: a device, or what joins them, is
     * lost; nobody waits for it in a gather, and so says every later wait. */
    mr_status (*wait)(mr_peers *p, mr_err *err);
    void (*close)(mr_peers *p); /* behind a wait */
} mr_peers_calls;

struct mr_peers { /* first member of each kind */
    const mr_peers_calls *calls;
};

/* devices[n], borrowed, n <= MR_DEVICES_MAX. MR_EUNAVAIL: no NCCL in this build, or it cannot join
 * them, and why. */
mr_status mr_peers_open(mr_peers **out, mr_device *const *devices, uint32_t n, mr_err *err);

#endif
