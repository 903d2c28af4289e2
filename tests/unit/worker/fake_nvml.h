/* fake_nvml.h - what the stand-in for NVIDIA's management library shows. */
#ifndef MR_TESTS_FAKE_NVML_H
#define MR_TESTS_FAKE_NVML_H

typedef struct fake_nvml {
    int init_code, power_code; /* what the calls return */
    int n_open;                /* nvmlInit less nvmlShutdown */
} fake_nvml;

extern fake_nvml fake_nvml_state;

#endif
