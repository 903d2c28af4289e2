/* peers_nccl.c - GPUs of one process joined by NCCL, one communicator for each.
 *
 * Parts are gathered and not added up by NCCL: which of its ways to add it takes depends on sizes,
 * so the last bits of a row would depend on its company; a kernel adds them in order of rank
 * (mr_total). With two GPUs that moves as many bytes as NCCL's sum, with eight four times as many.
 *
 * A GPU that is lost leaves the others waiting in their kernels for its part. So nobody waits for
 * one stream: wait looks at all in turn, and the first failure ends all communicators, which ends
 * those kernels. */
#include <nccl.h>
#include <sched.h>
#include <stdlib.h>

#include <cuda_runtime_api.h>

#include "engine/cuda/peers.h"
#include "engine/cuda/runtime.h"

typedef struct nccl {
    mr_peers base;
    mr_device *devices[MR_DEVICES_MAX];
    ncclComm_t comms[MR_DEVICES_MAX]; /* NULL: ended */
    uint32_t n;
    mr_err failed; /* MR_OK: nothing yet */
} nccl;

static nccl *of(mr_peers *p) {
    return (nccl *)p; /* its first member */
}

static void end_all(nccl *g) {
    for (uint32_t i = 0; i < g->n; i++) {
        if (g->comms[i]) (void)ncclCommAbort(g->comms[i]);
        g->comms[i] = NULL;
    }
}

static void give_up(nccl *g, const char *who, const char *why) {
    if (g->failed.status != MR_OK) return;
    (void)mr_fail(&g->failed, MR_EUNAVAIL, "%.80s: %s; the device is lost to this process", who,
                  why);
    end_all(g);
}

static void keep(nccl *g, ncclResult_t rc) {
    if (rc != ncclSuccess) give_up(g, "NCCL", ncclGetErrorString(rc));
}

static void nccl_gather(mr_peers *p, float *const *lists, size_t n) {
    nccl *g = of(p);

    if (g->failed.status != MR_OK || n == 0) return;
    ncclResult_t rc = ncclGroupStart();
    for (uint32_t i = 0; i < g->n && rc == ncclSuccess; i++)
        rc = ncclAllGather(lists[i] + i * n, lists[i], n, ncclFloat32, g->comms[i],
                           mr_runtime_stream(g->devices[i]));
    const ncclResult_t end = ncclGroupEnd(); /* in any case: what was begun must be ended */
    keep(g, rc == ncclSuccess ? end : rc);
}

/* Looks at one device; true: it is still at work. */
static bool is_busy(nccl *g, uint32_t i) {
    const cudaError_t rc = cudaStreamQuery(mr_runtime_stream(g->devices[i]));
    ncclResult_t joined = ncclSuccess;

    if (rc == cudaErrorNotReady) (void)cudaGetLastError(); /* the next launch must not find it */
    if (rc != cudaSuccess && rc != cudaErrorNotReady)
        give_up(g, g->devices[i]->name, cudaGetErrorString(rc));
    if (g->comms[i]) keep(g, ncclCommGetAsyncError(g->comms[i], &joined));
    keep(g, joined);
    return rc == cudaErrorNotReady;
}

static mr_status nccl_wait(mr_peers *p, mr_err *err) {
    nccl *g = of(p);
    bool busy = true;

    while (busy && g->failed.status == MR_OK) {
        busy = false;
        for (uint32_t i = 0; i < g->n; i++) busy = is_busy(g, i) || busy;
        if (busy) (void)sched_yield();
    }
    /* What was refused before it was in line, each device says itself. */
    for (uint32_t i = 0; i < g->n && g->failed.status == MR_OK; i++)
        if (g->devices[i]->calls->wait(g->devices[i], &g->failed) != MR_OK) end_all(g);
    if (g->failed.status == MR_OK) return MR_OK;
    return mr_fail(err, g->failed.status, "%s", g->failed.text);
}

static void nccl_close(mr_peers *p) {
    nccl *g = of(p);

    for (uint32_t i = 0; i < g->n; i++)
        if (g->comms[i]) (void)ncclCommDestroy(g->comms[i]);
    free(g);
}

static const mr_peers_calls nccl_calls = {
    .gather = nccl_gather, .wait = nccl_wait, .close = nccl_close};

mr_status mr_peers_open(mr_peers **out, mr_device *const *devices, uint32_t n, mr_err *err) {
    nccl *g = calloc(1, sizeof *g);
    int ordinals[MR_DEVICES_MAX];

    *out = NULL;
    if (!g) return mr_fail(err, MR_ENOMEM, "device: out of memory");
    MR_CHECK(n <= MR_DEVICES_MAX);
    g->base.calls = &nccl_calls;
    g->n = n;
    for (uint32_t i = 0; i < n; i++) {
        g->devices[i] = devices[i];
        ordinals[i] = mr_runtime_ordinal(devices[i]);
    }
    const ncclResult_t rc = ncclCommInitAll(g->comms, (int)n, ordinals);
    if (rc == ncclSuccess) {
        *out = &g->base;
        return MR_OK;
    }
    free(g);
    return mr_fail(err, MR_EUNAVAIL, "tensor_parallel: NCCL cannot join %u GPUs: %s", n,
                   ncclGetErrorString(rc));
}
