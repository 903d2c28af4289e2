/* device.c - which device a name means. */
#include "engine/cuda/device.h"

#include <stdlib.h>

#include "engine/cuda/runtime.h"

#define MAX_ORDINAL 999

/* "N", or "N,..." if *rest may be left: NULL, or what is behind the comma. */
static bool parse_number(const char *text, int *ordinal, const char **rest) {
    char *end;

    if (*text < '0' || *text > '9') return false;
    const long n = strtol(text, &end, 10);
    *ordinal = (int)n;
    *rest = *end == ',' ? end + 1 : NULL;
    return (*end == 0 || *end == ',') && n <= MAX_ORDINAL;
}

static bool parse(const char *name, int *ordinal, const char **rest) {
    *ordinal = 0;
    *rest = NULL;
    if (!name || strcmp(name, "auto") == 0 || strcmp(name, "cuda") == 0) return true;
    return strncmp(name, "cuda:", 5) == 0 && parse_number(name + 5, ordinal, rest);
}

static mr_status refuse(const char *name, mr_err *err) {
    return mr_fail(err, MR_EINVAL,
                   "device: \"%.40s\" is not auto, cpu, cuda, cuda:N or cuda:N,N (at most %d)",
                   name, MR_DEVICES_MAX);
}

static bool is_among(const int *list, uint32_t n, int ordinal) {
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == ordinal) return true;
    return false;
}

mr_status mr_device_pick_all(mr_device **out, uint32_t *n, const char *name, mr_err *err) {
    int ordinals[MR_DEVICES_MAX];
    const char *rest;
    uint32_t n_named = 1;
    mr_status st = MR_OK;

    *n = 0;
    if (name && strcmp(name, "cpu") == 0) return MR_OK;
    if (!parse(name, &ordinals[0], &rest)) return refuse(name, err);
    for (int next; rest; ordinals[n_named++] = next)
        if (n_named == MR_DEVICES_MAX || !parse_number(rest, &next, &rest) ||
            is_among(ordinals, n_named, next))
            return refuse(name, err);
    while (*n < n_named && (st = mr_runtime_open(&out[*n], ordinals[*n], err)) == MR_OK) ++*n;
    while (st != MR_OK && *n > 0) mr_device_close(out[--*n]);
    return st;
}

mr_status mr_device_pick(mr_device **out, const char *name, mr_err *err) {
    int ordinal;
    const char *rest;

    *out = NULL;
    if (name && strcmp(name, "cpu") == 0) return MR_OK;
    if (!parse(name, &ordinal, &rest) || rest) return refuse(name, err);
    return mr_runtime_open(out, ordinal, err);
}

void mr_device_close(mr_device *d) {
    if (d) d->calls->close(d);
}
