/* golden.h - what the golden tests share: the tiny models, and how a test talks to an engine. */
#ifndef MR_TESTS_GOLDEN_H
#define MR_TESTS_GOLDEN_H

#include <stdio.h>

#include "engine/cuda/device.h"
#include "engine/ops.h"
#include "millrace/engine.h"
#include "tests/test.h"

#define GOLDEN_DIR "tests/golden/" /* tests run in the root of the source */

static const char *const golden_models[] = {
    "llama_f32",         "llama3_bf16", "llama_linear_q8_0", "llama_yarn_q4_0",
    "llama_partial_f16", "qwen2_f16",   "qwen3_q8_0",        "llama_k_quants",
};

static const char *const golden_isas[] = {"ref", "avx2", "avxvnni", "avx512", "amx", "cuda"};

/* Whether this machine and build have it; says so once where there is no GPU. */
static inline bool golden_has(const char *isa) {
    static bool said;
    mr_device *d;
    mr_err err;

    if (strcmp(isa, "cuda") != 0) return mr_ops_pick(isa) != NULL;
    if (mr_device_pick(&d, "cuda", &err) == MR_OK) {
        mr_device_close(d);
        return true;
    }
    if (!said) print_message("not tested on a GPU: %s\n", err.text);
    said = true;
    return false;
}

static inline mr_engine *golden_open(const char *model, mr_engine_options opt) {
    char path[128];
    mr_engine *e;
    mr_err err;

    snprintf(path, sizeof path, GOLDEN_DIR "%s.gguf", model);
    opt.model_path = path;
    if (opt.isa && strcmp(opt.isa, "cuda") == 0) {
        opt.device = "cuda";
        opt.isa = NULL;
    }
    CHECK_OK(mr_engine_open(&e, &opt, &err), err);
    return e;
}

static inline uint32_t golden_add(mr_engine *e, const int32_t *tokens, size_t n, size_t n_generated,
                                  size_t max_new, const mr_sampling *sampling) {
    uint32_t seq;
    mr_err err;

    CHECK_OK(mr_engine_add(e, tokens, n, n_generated, max_new, 0, sampling, &seq, &err), err);
    return seq;
}

/* One step of one sequence; returns its token. */
static inline int32_t golden_step(mr_engine *e, uint32_t seq, uint32_t n_tokens) {
    mr_engine_out out;
    mr_err err;

    CHECK_OK(mr_engine_step(e, &(mr_engine_item){seq, n_tokens}, 1, &out, &err), err);
    return out.token;
}

#endif
