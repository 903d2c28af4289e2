/* runtime.c - a GPU through the CUDA runtime: memory, copies, one stream, and what goes wrong.
 *
 * Every call's code is looked at. A launch or copy that is refused, and a kernel that faults, are
 * kept as the device's first failure, with what was being done; wait reports it. CUDA's faults
 * stay: nothing works on the device in this process any more, so the failure is reported to every
 * later wait too. Memory is asked for once, at open, and zeroed, so that no kernel reads what
 * another program left.
 *
 * The runtime is linked in, the driver is not: a program starts where there is none, and only a
 * device that is asked for by name is then missed. */
#include "engine/cuda/runtime.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/cuda/launch.h"
#include "engine/cuda/library.h"

#define LEAST_MAJOR 8 /* compute capability 8.0: tensor cores for tf32 and bytes, cp.async */

typedef struct gpu {
    mr_device base;
    cudaStream_t stream;
    int ordinal;
    size_t max_pitch;
    cudaEvent_t marks[MR_DEV_MARKS];
    mr_library *library; /* NULL: nobody has asked for it */
    bool recording, record_failed;
    cudaError_t failed; /* cudaSuccess: nothing yet */
    const char *while_doing;
} gpu;

static gpu *of(mr_device *d) {
    return (gpu *)d; /* its first member */
}

static void keep(gpu *g, cudaError_t rc, const char *what) {
    if (rc == cudaSuccess || g->failed != cudaSuccess) return;
    if (g->recording) { /* the recording is given up, the device is not */
        (void)cudaGetLastError();
        g->record_failed = true;
        return;
    }
    g->failed = rc;
    g->while_doing = what;
}

static mr_status say(const gpu *g, cudaError_t rc, const char *what, mr_err *err) {
    return mr_fail(err, MR_EUNAVAIL, "%.80s: %s: %s (%s); the device is lost to this process",
                   g->base.name, what, cudaGetErrorString(rc), cudaGetErrorName(rc));
}

/* A thread has a current device, and this one may not be the thread that opened it. */
static void choose(gpu *g) {
    keep(g, cudaSetDevice(g->ordinal), "choosing the device");
}

static mr_status gpu_wait(mr_device *d, mr_err *err) {
    gpu *g = of(d);

    choose(g);
    if (g->failed == cudaSuccess) keep(g, cudaStreamSynchronize(g->stream), "running kernels");
    return g->failed == cudaSuccess ? MR_OK : say(g, g->failed, g->while_doing, err);
}

/* ---- memory ---- */

static uint64_t gpu_free_bytes(mr_device *d) {
    size_t free_bytes = 0, total;

    choose(of(d));
    keep(of(d), cudaMemGetInfo(&free_bytes, &total), "asking for free memory");
    return free_bytes;
}

static size_t mib(size_t bytes) {
    return (bytes + (1u << 20) - 1) >> 20;
}

static mr_status gpu_reserve(mr_device *d, void **out, size_t bytes, const char *what,
                             mr_err *err) {
    gpu *g = of(d);

    choose(g);
    const cudaError_t rc = cudaMalloc(out, bytes);
    if (rc == cudaSuccess) {
        keep(g, cudaMemsetAsync(*out, 0, bytes, g->stream), "clearing memory");
        return MR_OK;
    }
    *out = NULL;
    if (rc != cudaErrorMemoryAllocation) return say(g, rc, "reserving memory", err);
    (void)cudaGetLastError(); /* it is no fault, and must not be found by the next launch */
    return mr_fail(err, MR_ENOMEM, "%.80s: no %zu MiB of device memory for %s; %zu MiB are free",
                   d->name, mib(bytes), what, (size_t)gpu_free_bytes(d) >> 20);
}

/* Waits for what may still use it. */
static void gpu_release(mr_device *d, void *p) {
    if (!p) return;
    choose(of(d));
    keep(of(d), cudaFree(p), "giving memory back");
}

static mr_status gpu_pin(mr_device *d, void **out, size_t bytes, const char *what, mr_err *err) {
    choose(of(d));
    const cudaError_t rc = cudaHostAlloc(out, bytes, cudaHostAllocDefault);
    if (rc == cudaSuccess) {
        memset(*out, 0, bytes);
        return MR_OK;
    }
    *out = NULL;
    if (rc != cudaErrorMemoryAllocation) return say(of(d), rc, "reserving host memory", err);
    (void)cudaGetLastError();
    return mr_fail(err, MR_ENOMEM, "%.80s: no %zu MiB of pinned host memory for %s", d->name,
                   mib(bytes), what);
}

static void gpu_unpin(mr_device *d, void *p) {
    if (!p) return;
    choose(of(d));
    keep(of(d), cudaFreeHost(p), "giving host memory back");
}

/* Kernels need it to be the current device; a copy to it comes before any of them. */
static void gpu_copy_in(mr_device *d, void *to, const void *from, size_t bytes) {
    choose(of(d));
    keep(of(d), cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, of(d)->stream),
         "copying to the device");
}

static void gpu_copy_out(mr_device *d, void *to, const void *from, size_t bytes) {
    keep(of(d), cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, of(d)->stream),
         "copying from the device");
}

/* One copy, unless rows are further apart than CUDA lets them be: a cache of 100 GB has halves of
 * more than 2. */
static void copy_rows(gpu *g, char *to, size_t to_pitch, const char *from, size_t from_pitch,
                      size_t bytes, size_t n, enum cudaMemcpyKind kind) {
    const char *what =
        kind == cudaMemcpyHostToDevice ? "copying to the device" : "copying from the device";
    choose(g);
    if (to_pitch <= g->max_pitch && from_pitch <= g->max_pitch) {
        keep(g, cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, bytes, n, kind, g->stream), what);
        return;
    }
    for (size_t i = 0; i < n; i++)
        keep(g, cudaMemcpyAsync(to + i * to_pitch, from + i * from_pitch, bytes, kind, g->stream),
             what);
}

static void gpu_rows_in(mr_device *d, void *to, const void *from, size_t bytes, size_t pitch,
                        size_t n) {
    copy_rows(of(d), to, pitch, from, bytes, bytes, n, cudaMemcpyHostToDevice);
}

static void gpu_rows_out(mr_device *d, void *to, const void *from, size_t bytes, size_t pitch,
                         size_t n) {
    copy_rows(of(d), to, bytes, from, pitch, bytes, n, cudaMemcpyDeviceToHost);
}

/* ---- marks and recordings ---- */

static void gpu_mark(mr_device *d, uint32_t mark) {
    keep(of(d), cudaEventRecord(of(d)->marks[mark], of(d)->stream), "marking");
}

static mr_status gpu_reach(mr_device *d, uint32_t mark, mr_err *err) {
    gpu *g = of(d);

    choose(g);
    if (g->failed == cudaSuccess) keep(g, cudaEventSynchronize(g->marks[mark]), "running kernels");
    return g->failed == cudaSuccess ? MR_OK : say(g, g->failed, g->while_doing, err);
}

static float gpu_between(mr_device *d, uint32_t from, uint32_t to) {
    float ms;

    if (cudaEventElapsedTime(&ms, of(d)->marks[from], of(d)->marks[to]) == cudaSuccess) return ms;
    (void)cudaGetLastError(); /* a mark that has been set again since: no time, and no fault */
    return 0;
}

static bool gpu_record(mr_device *d) {
    of(d)->record_failed = false;
    of(d)->recording =
        cudaStreamBeginCapture(of(d)->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    if (!of(d)->recording) (void)cudaGetLastError(); /* the device itself has not failed */
    return of(d)->recording;
}

/* A graph that cannot be made is no fault of the device: the pass is then done kernel by kernel. */
static void *gpu_recorded(mr_device *d) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t made = NULL;
    cudaError_t rc = cudaStreamEndCapture(of(d)->stream, &graph);

    of(d)->recording = false;
    if (rc == cudaSuccess && of(d)->record_failed) rc = cudaErrorStreamCaptureInvalidated;
    if (rc == cudaSuccess) rc = cudaGraphInstantiate(&made, graph, 0);
    if (graph) (void)cudaGraphDestroy(graph);
    if (rc == cudaSuccess) return made;
    (void)cudaGetLastError();
    return NULL;
}

static void gpu_replay(mr_device *d, void *recording) {
    keep(of(d), cudaGraphLaunch(recording, of(d)->stream), "running a graph");
}

static void gpu_forget(mr_device *d, void *recording) {
    if (!recording) return;
    choose(of(d));
    (void)cudaGraphExecDestroy(recording); /* nothing that was waited for depends on it */
}

/* ---- kernels ---- */

static void gpu_choose(mr_device *d) {
    choose(of(d));
}

static void gpu_embed(mr_device *d, const mr_embed *a) {
    if (a->n > 0) keep(of(d), mr_launch_embed(of(d)->stream, a), "embeddings");
}

static void gpu_feed(mr_device *d, const mr_feed *a) {
    if (a->n > 0) keep(of(d), mr_launch_feed(of(d)->stream, a), "norms and gates");
}

static void gpu_gather(mr_device *d, const mr_gather *a) {
    if (a->n > 0) keep(of(d), mr_launch_gather(of(d)->stream, a), "gathering rows");
}

static void gpu_total(mr_device *d, const mr_total *a) {
    if (a->n > 0) keep(of(d), mr_launch_total(of(d)->stream, a), "sums of parts");
}

static cudaError_t launch_product(const gpu *g, const mr_product *a) {
    const uint32_t n_units = g->base.n_units;

    if (a->w.type == MR_DEV_E4M3) return mr_launch_product_e(g->stream, a, n_units);
    return mr_is_plain(a->w.type) ? mr_launch_product_f(g->stream, a, n_units)
                                  : mr_launch_product_q(g->stream, a, n_units);
}

static void gpu_product(mr_device *d, const mr_product *a) {
    if (a->n_tok > 0) keep(of(d), launch_product(of(d), a), "products");
}

static mr_status gpu_open_library(mr_device *d, void *workspace, size_t bytes, mr_err *err) {
    gpu *g = of(d);

    MR_CHECK(!g->library);
    choose(g);
    return mr_library_open(&g->library, workspace, bytes, err);
}

static void gpu_matmul(mr_device *d, const mr_product *a) {
    gpu *g = of(d);

    if (a->n_tok > 0) keep(g, mr_library_product(g->library, g->stream, a), "products of cuBLASLt");
}

static bool gpu_try_matmul(mr_device *d, const mr_product *a) {
    gpu *g = of(d);

    choose(g);
    if (mr_library_product(g->library, g->stream, a) == cudaSuccess) return true;
    (void)cudaGetLastError(); /* it is no fault, and must not be found by the next launch */
    return false;
}

static void gpu_turn(mr_device *d, const mr_turn *a) {
    if (a->n > 0) keep(of(d), mr_launch_turn(of(d)->stream, a), "rotations");
}

static void gpu_attend(mr_device *d, const mr_attention *a) {
    if (a->n_items > 0) keep(of(d), mr_launch_attend(of(d)->stream, a), "attention");
}

static void gpu_draw(mr_device *d, const mr_draws *a) {
    if (a->n > 0) keep(of(d), mr_launch_draw(of(d)->stream, a), "drawing tokens");
}

/* ---- for others that use the device ---- */

void *mr_runtime_stream(mr_device *d) {
    return of(d)->stream;
}

int mr_runtime_ordinal(mr_device *d) {
    return of(d)->ordinal;
}

/* ---- open and close ---- */

static void gpu_close(mr_device *d) {
    gpu *g = of(d);

    choose(g);
    mr_library_close(g->library);
    for (int i = 0; i < MR_DEV_MARKS; i++)
        if (g->marks[i]) (void)cudaEventDestroy(g->marks[i]);
    if (g->stream) (void)cudaStreamDestroy(g->stream); /* nobody is left to be told */
    free(g);
}

static const mr_device_calls gpu_calls = {
    .reserve = gpu_reserve,
    .pin = gpu_pin,
    .release = gpu_release,
    .unpin = gpu_unpin,
    .free_bytes = gpu_free_bytes,
    .copy_in = gpu_copy_in,
    .copy_out = gpu_copy_out,
    .rows_in = gpu_rows_in,
    .rows_out = gpu_rows_out,
    .wait = gpu_wait,
    .mark = gpu_mark,
    .reach = gpu_reach,
    .between = gpu_between,
    .record = gpu_record,
    .recorded = gpu_recorded,
    .replay = gpu_replay,
    .forget = gpu_forget,
    .choose = gpu_choose,
    .embed = gpu_embed,
    .feed = gpu_feed,
    .product = gpu_product,
    .matmul = gpu_matmul,
    .try_matmul = gpu_try_matmul,
    .turn = gpu_turn,
    .attend = gpu_attend,
    .gather = gpu_gather,
    .total = gpu_total,
    .draw = gpu_draw,
    .open_library = gpu_open_library,
    .close = gpu_close,
};

/* The runtime calls a driver that is not there too old. */
static mr_status check_driver(int ordinal, mr_err *err) {
    int version = 0;
    const cudaError_t rc = cudaDriverGetVersion(&version);

    if (rc != cudaSuccess)
        return mr_fail(err, MR_EUNAVAIL, "device: cuda:%d: %s", ordinal, cudaGetErrorString(rc));
    if (version < 1000) /* no CUDA has such a one */
        return mr_fail(err, MR_EUNAVAIL,
                       "device: cuda:%d: no NVIDIA driver (libcuda.so.1) is found here", ordinal);
    if (version / 1000 < CUDART_VERSION / 1000)
        return mr_fail(err, MR_EUNAVAIL,
                       "device: cuda:%d: the driver is one for CUDA %d.%d, and this build needs "
                       "one for CUDA %d",
                       ordinal, version / 1000, version % 1000 / 10, CUDART_VERSION / 1000);
    return MR_OK;
}

static mr_status check_device(int ordinal, struct cudaDeviceProp *prop, mr_err *err) {
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);

    if (rc == cudaSuccess && ordinal < n) rc = cudaGetDeviceProperties(prop, ordinal);
    if (rc != cudaSuccess)
        return mr_fail(err, MR_EUNAVAIL, "device: cuda:%d: %s", ordinal, cudaGetErrorString(rc));
    if (ordinal >= n)
        return mr_fail(err, MR_EUNAVAIL, "device: cuda:%d: this machine has %d", ordinal, n);
    if (prop->major < LEAST_MAJOR)
        return mr_fail(err, MR_EUNAVAIL,
                       "device: cuda:%d: %.60s has compute capability %d.%d; %d.0 is needed",
                       ordinal, prop->name, prop->major, prop->minor, LEAST_MAJOR);
    return MR_OK;
}

mr_status mr_runtime_open(mr_device **out, int ordinal, mr_err *err) {
    struct cudaDeviceProp prop;
    mr_status st;

    *out = NULL;
    if ((st = check_driver(ordinal, err)) != MR_OK) return st;
    if ((st = check_device(ordinal, &prop, err)) != MR_OK) return st;
    gpu *g = calloc(1, sizeof *g);
    if (!g) return mr_fail(err, MR_ENOMEM, "device: out of memory");
    g->base.calls = &gpu_calls;
    g->ordinal = ordinal;
    g->base.n_units = (uint32_t)prop.multiProcessorCount;
    g->base.capability = (uint32_t)(10 * prop.major + prop.minor);
    g->max_pitch = prop.memPitch;
    snprintf(g->base.name, sizeof g->base.name, "cuda:%d %.100s", ordinal, prop.name);
    snprintf(g->base.pci, sizeof g->base.pci, "%08x:%02x:%02x.0", (unsigned)prop.pciDomainID,
             (unsigned)prop.pciBusID, (unsigned)prop.pciDeviceID);
    cudaError_t rc = cudaSetDevice(ordinal);
    if (rc == cudaSuccess) rc = mr_launch_prepare(&g->base.code);
    if (rc == cudaSuccess) rc = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    for (int i = 0; i < MR_DEV_MARKS && rc == cudaSuccess; i++) rc = cudaEventCreate(&g->marks[i]);
    if (rc == cudaSuccess) {
        *out = &g->base;
        return MR_OK;
    }
    /* No code for this GPU in the build is the usual reason. */
    st = mr_fail(err, MR_EUNAVAIL, "device: %.80s, compute capability %d.%d: %s", g->base.name,
                 prop.major, prop.minor, cudaGetErrorString(rc));
    gpu_close(&g->base);
    return st;
}
