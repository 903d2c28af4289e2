/* gpu.c - see gpu.h. The declarations are those of NVML's API reference that are used here: its
 * header is not needed to build. Return code 0 is success. */
#include "worker/gpu.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY     "libnvidia-ml.so.1"
#define TEMPERATURE 0 /* NVML_TEMPERATURE_GPU */

typedef struct nvml_device *device;

typedef struct memory { /* nvmlMemory_t */
    unsigned long long total, free, used;
} memory;

typedef struct utilization { /* nvmlUtilization_t, percent */
    unsigned gpu, memory;
} utilization;

struct mr_gpu {
    void *library;
    device device;
    int (*shutdown)(void);
    int (*memory)(device, memory *);
    int (*utilization)(device, utilization *);
    int (*temperature)(device, int sensor, unsigned *celsius);
    int (*power)(device, unsigned *milliwatts);
};

/* ISO C has no conversion from an object's to a function's address; POSIX has this one. */
static bool find(const mr_gpu *g, const char *name, void *function, mr_err *err) {
    void *address = dlsym(g->library, name);

    if (address) memcpy(function, &address, sizeof address);
    if (!address) mr_fail(err, MR_EUNAVAIL, "gpu: " LIBRARY " has no %s", name);
    return address != NULL;
}

static mr_status find_all(mr_gpu *g, const char *pci, mr_err *err) {
    int (*init)(void) = NULL;
    int (*by_pci)(const char *, device *) = NULL;
    int rc;

    if (!find(g, "nvmlInit_v2", &init, err) ||
        !find(g, "nvmlDeviceGetHandleByPciBusId_v2", &by_pci, err) ||
        !find(g, "nvmlDeviceGetMemoryInfo", &g->memory, err) ||
        !find(g, "nvmlDeviceGetUtilizationRates", &g->utilization, err) ||
        !find(g, "nvmlDeviceGetTemperature", &g->temperature, err) ||
        !find(g, "nvmlDeviceGetPowerUsage", &g->power, err))
        return MR_EUNAVAIL;
    if ((rc = init()) != 0) return mr_fail(err, MR_EUNAVAIL, "gpu: nvmlInit: code %d", rc);
    if (!find(g, "nvmlShutdown", &g->shutdown, err)) return MR_EUNAVAIL;
    if ((rc = by_pci(pci, &g->device)) != 0)
        return mr_fail(err, MR_EUNAVAIL, "gpu: no device %s: code %d", pci, rc);
    return MR_OK;
}

mr_status mr_gpu_open(mr_gpu **out, const char *pci, mr_err *err) {
    mr_gpu *g = calloc(1, sizeof *g);
    mr_status st;

    *out = NULL;
    if (!g) return mr_fail(err, MR_ENOMEM, "gpu: out of memory");
    g->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!g->library) {
        mr_gpu_close(g);
        return mr_fail(err, MR_EUNAVAIL, "gpu: " LIBRARY " is not found here");
    }
    if ((st = find_all(g, pci, err)) != MR_OK) {
        mr_gpu_close(g);
        return st;
    }
    *out = g;
    return MR_OK;
}

void mr_gpu_read(const mr_gpu *g, mr_gpu_stats *s) {
    memory m = {0};
    utilization u = {0};
    unsigned celsius = 0, milliwatts = 0;

    (void)g->memory(g->device, &m); /* an error leaves what is there: 0 */
    (void)g->utilization(g->device, &u);
    (void)g->temperature(g->device, TEMPERATURE, &celsius);
    (void)g->power(g->device, &milliwatts);
    *s = (mr_gpu_stats){.memory_used = m.used,
                        .memory_total = m.total,
                        .busy = u.gpu / 100.0,
                        .celsius = celsius,
                        .watts = milliwatts / 1000.0};
}

void mr_gpu_close(mr_gpu *g) {
    if (!g) return;
    if (g->shutdown) (void)g->shutdown();
    if (g->library) dlclose(g->library);
    free(g);
}
