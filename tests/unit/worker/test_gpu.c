/* Goal: the GPU's numbers reach the metrics, and their absence costs nothing else.
 * Method: the library that NVIDIA's driver brings is a stand-in (fake_nvml.c), linked here under
 * its name, so that dlopen finds it; whether the real one answers alike needs a GPU. */
#include "tests/test.h"

#include "tests/unit/worker/fake_nvml.h"
#include "worker/metrics.h"

#define PCI "00000000:1b:00.0"

static mr_err err;

static mr_gpu *open_gpu(void) {
    mr_gpu *g = NULL;

    fake_nvml_state = (fake_nvml){0};
    CHECK_OK(mr_gpu_open(&g, PCI, &err), err);
    CHECK_I64(fake_nvml_state.n_open, 1);
    return g;
}

TEST(a_gpu_is_read) {
    mr_gpu *g = open_gpu();
    mr_gpu_stats s;

    mr_gpu_read(g, &s);
    CHECK_I64(s.memory_used, 30ull << 30);
    CHECK_I64(s.memory_total, 80ull << 30);
    CHECK(s.busy == 0.75 && s.celsius == 61 && s.watts == 312.5);
    mr_gpu_close(g);
    CHECK_I64(fake_nvml_state.n_open, 0);
}

/* NVML_ERROR_NOT_SUPPORTED: some GPUs do not tell what they draw. */
TEST(what_it_does_not_know_is_zero) {
    mr_gpu *g = open_gpu();
    mr_gpu_stats s;

    fake_nvml_state.power_code = 3;
    mr_gpu_read(g, &s);
    CHECK(s.watts == 0 && s.celsius == 61);
    mr_gpu_close(g);
}

TEST(metrics_have_it_only_when_it_is_there) {
    mr_gpu *g = open_gpu();
    mr_process process = {0};
    mr_metrics_input in = {.model = "demo", .process = &process, .gpu = g};
    mr_metrics m;
    size_t len;
    char *text;

    mr_metrics_init(&m);
    text = mr_worker_metrics(&m, &in, &len);
    CHECK(strstr(text, "millrace_gpu_memory_used_bytes{model_name=\"demo\"} 32212254720\n"));
    CHECK(strstr(text, "millrace_gpu_power_watts{model_name=\"demo\"} 312.5\n"));
    free(text);
    in.gpu = NULL;
    text = mr_worker_metrics(&m, &in, &len);
    CHECK(!strstr(text, "millrace_gpu_"));
    free(text);
    mr_gpu_close(g);
}

TEST(no_device_and_no_driver_are_told) {
    mr_gpu *g = NULL;

    fake_nvml_state = (fake_nvml){0};
    CHECK_I64(mr_gpu_open(&g, "00000000:2c:00.0", &err), MR_EUNAVAIL);
    CHECK(!g && strstr(err.text, "00000000:2c:00.0"));
    CHECK_I64(fake_nvml_state.n_open, 0);
    fake_nvml_state.init_code = 9; /* NVML_ERROR_DRIVER_NOT_LOADED */
    CHECK_I64(mr_gpu_open(&g, PCI, &err), MR_EUNAVAIL);
    CHECK(!g && strstr(err.text, "nvmlInit"));
    CHECK_I64(fake_nvml_state.n_open, 0);
}

MR_TEST_MAIN
