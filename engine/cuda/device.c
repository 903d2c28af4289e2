/* device.c - which device a name means. */
#include "engine/cuda/device.h"

#include <stdlib.h>

#include "engine/cuda/runtime.h"

#define MAX_ORDINAL 999

static bool parse(const char *name, int *ordinal) {
    char *end;

    *ordinal = 0;
    if (!name || strcmp(name, "auto") == 0 || strcmp(name, "cuda") == 0) return true;
    if (strncmp(name, "cuda:", 5) != 0 || name[5] < '0' || name[5] > '9') return false;
    const long n = strtol(name + 5, &end, 10);
    *ordinal = (int)n;
    return *end == 0 && n <= MAX_ORDINAL;
}

mr_status mr_device_pick(mr_device **out, const char *name, mr_err *err) {
    int ordinal;

    *out = NULL;
    if (name && strcmp(name, "cpu") == 0) return MR_OK;
    if (!parse(name, &ordinal))
        return mr_fail(err, MR_EINVAL, "device: \"%.40s\" is not auto, cpu, cuda or cuda:N", name);
    return mr_runtime_open(out, ordinal, err);
}

void mr_device_close(mr_device *d) {
    if (d) d->calls->close(d);
}
