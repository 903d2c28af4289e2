/* tiny.h - a small model with random weights in a file of its own, for tests of the worker. */
#ifndef MR_TESTS_WORKER_TINY_H
#define MR_TESTS_WORKER_TINY_H

#include <stdlib.h>
#include <unistd.h>

#include "engine/synth.h"
#include "tests/test.h"

#define TINY_SHAPE "custom:layers=1,embd=32,ff=64,heads=2,kv_heads=1,head_dim=16,vocab=512,ctx=256"

/* Path of a fresh file; the caller unlinks it. type: of its weights. */
static inline const char *tiny_model_of(const char *type) {
    static char path[] = "/tmp/mr-worker-test-XXXXXX";
    mr_synth_shape shape;
    mr_synth_options opt = {.shape = &shape, .type = type, .seed = 1, .path = path};
    uint64_t bytes = 0;
    mr_err err = {0};
    int fd;

    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    CHECK_OK(mr_synth_shape_parse(&shape, TINY_SHAPE, &err), err);
    CHECK_OK(mr_synth_write(&opt, &bytes, &err), err);
    return path;
}

static inline const char *tiny_model(void) {
    return tiny_model_of("f32");
}

#endif
