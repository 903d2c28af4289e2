/* fake_nvml.c - libnvidia-ml.so.1 for machines without a GPU: the few calls that worker/gpu.c
 * makes, with NVML's names and structs, and one device. The numbers are made up. */
#include "tests/unit/worker/fake_nvml.h"

#include <string.h>

#define NOT_FOUND 6 /* NVML_ERROR_NOT_FOUND */

fake_nvml fake_nvml_state;
static int device;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **out);
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long out[3]);
int nvmlDeviceGetUtilizationRates(void *d, unsigned out[2]);
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *out);
int nvmlDeviceGetPowerUsage(void *d, unsigned *out);

int nvmlInit_v2(void) {
    fake_nvml_state.n_open += fake_nvml_state.init_code == 0;
    return fake_nvml_state.init_code;
}

int nvmlShutdown(void) {
    fake_nvml_state.n_open--;
    return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **out) {
    *out = &device;
    return strcmp(pci, "00000000:1b:00.0") == 0 ? 0 : NOT_FOUND;
}

int nvmlDeviceGetMemoryInfo(void *d, unsigned long long out[3]) {
    out[0] = 80ull << 30; /* total, free, used */
    out[1] = 50ull << 30;
    out[2] = 30ull << 30;
    return d != &device;
}

int nvmlDeviceGetUtilizationRates(void *d, unsigned out[2]) {
    out[0] = 75; /* GPU, memory */
    out[1] = 40;
    return d != &device;
}

int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *out) {
    *out = 61;
    return d != &device || sensor != 0;
}

int nvmlDeviceGetPowerUsage(void *d, unsigned *out) {
    if (fake_nvml_state.power_code == 0) *out = 312500;
    return d != &device ? 1 : fake_nvml_state.power_code;
}
