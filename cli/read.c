/* read.c - see read.h. */
#include "cli/read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mr_status read_all(FILE *f, const char *path, size_t max, char **out, size_t *len, mr_err *err) {
    size_t cap = 4096, n = 0;
    char *buf = malloc(cap + 1);
    while (buf) {
        n += fread(buf + n, 1, cap - n, f);
        if (n < cap) break;
        if (cap > max) {
            free(buf);
            return mr_fail(err, MR_ELIMIT, "%s has more than %zu bytes", path, max);
        }
        cap *= 2;
        char *grown = realloc(buf, cap + 1);
        if (!grown) free(buf);
        buf = grown;
    }
    if (!buf) return mr_fail(err, MR_ENOMEM, "%s: out of memory", path);
    if (ferror(f) || n > max) {
        const int e = errno;
        free(buf);
        return n > max ? mr_fail(err, MR_ELIMIT, "%s has more than %zu bytes", path, max)
                       : mr_fail(err, MR_EIO, "%s: %s", path, strerror(e));
    }
    buf[n] = '\0';
    *out = buf;
    *len = n;
    return MR_OK;
}

mr_status mr_cli_read_file(const char *path, size_t max, char **out, size_t *len, mr_err *err) {
    if (strcmp(path, "-") == 0) return read_all(stdin, "standard input", max, out, len, err);
    FILE *f = fopen(path, "rb");
    if (!f) return mr_fail(err, MR_EIO, "%s: %s", path, strerror(errno));
    const mr_status st = read_all(f, path, max, out, len, err);
    fclose(f);
    return st;
}
