/* gguf_write.c - a GGUF v3 file in one pass.
 *
 * Counts stand at the front of the file but are known at its end: they are patched in by
 * finish(). Space is asked for before the first byte of tensor data, so a disk that is too small
 * says so at once and not after minutes. The rename comes after fsync: whoever sees the name
 * sees a whole file, also after a power cut.
 *
 * Limits: BUFFER_BYTES of memory plus a few words per tensor, MAX_TENSORS. */
#include "engine/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES (1u << 18)
#define MAX_TENSORS  65536u
#define ALIGNMENT    32u /* the format's default, so the key is not needed */
#define VERSION      3u
#define COUNTS_AT    8 /* n_tensors and n_kv in the file */

typedef enum phase { IN_KEYS, IN_TENSORS, IN_DATA, FINISHED } phase;

struct mr_gguf_writer {
    int fd;
    char *path, *temp_path;
    mr_status status; /* of the first failure */
    mr_err err;
    phase phase;
    uint64_t n_keys, items_left; /* of the array being written */
    mr_gguf_kind item;
    uint64_t n_tensors, data_bytes; /* data_bytes: declared, with padding */
    uint64_t *tensor_bytes;         /* [n_tensors], capacity a power of two */
    uint64_t at_tensor, at_byte;    /* data: where the next byte goes */
    uint64_t n_written;             /* to the file, buffer included */
    size_t n_buffered;
    uint8_t buffer[BUFFER_BYTES];
};

static uint64_t padded(uint64_t n) {
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static mr_status fail_errno(mr_gguf_writer *w, const char *what) {
    const int e = errno;

    if (w->status != MR_OK) return w->status;
    w->status = mr_fail(&w->err, MR_EIO, "%s: cannot %s at byte %llu: %s", w->path, what,
                        (unsigned long long)(w->n_written - w->n_buffered), strerror(e));
    return w->status;
}

static mr_status report(const mr_gguf_writer *w, mr_err *err) {
    if (w->status != MR_OK && err) *err = w->err;
    return w->status;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static void write_all(mr_gguf_writer *w, const uint8_t *p, size_t n) {
    while (n > 0 && w->status == MR_OK) {
        const ssize_t done = write(w->fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            fail_errno(w, "write");
            return;
        }
        p += done;
        n -= (size_t)done;
    }
}

static void flush(mr_gguf_writer *w) {
    write_all(w, w->buffer, w->n_buffered);
    w->n_buffered = 0;
}

static void put(mr_gguf_writer *w, const void *bytes, size_t n) {
    if (w->status != MR_OK || n == 0) return;
    if (n > sizeof w->buffer - w->n_buffered) flush(w);
    w->n_written += n;
    if (n > sizeof w->buffer) {
        write_all(w, bytes, n);
        return;
    }
    memcpy(w->buffer + w->n_buffered, bytes, n);
    w->n_buffered += n;
}

static void put_zeros(mr_gguf_writer *w, uint64_t n) {
    static const uint8_t zeros[ALIGNMENT];

    MR_CHECK(n < ALIGNMENT);
    put(w, zeros, (size_t)n);
}

static void put_u32(mr_gguf_writer *w, uint32_t v) {
    put(w, &v, sizeof v);
}
static void put_u64(mr_gguf_writer *w, uint64_t v) {
    put(w, &v, sizeof v);
}

static void put_text(mr_gguf_writer *w, const char *s, size_t n) {
    put_u64(w, n);
    put(w, s, n);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void begin_key(mr_gguf_writer *w, const char *key, mr_gguf_kind kind) {
    MR_CHECK(w->phase == IN_KEYS && w->items_left == 0);
    put_text(w, key, strlen(key));
    put_u32(w, kind);
    w->n_keys++;
}

void mr_gguf_put_u32(mr_gguf_writer *w, const char *key, uint32_t v) {
    begin_key(w, key, MR_GGUF_U32);
    put_u32(w, v);
}

void mr_gguf_put_f32(mr_gguf_writer *w, const char *key, float v) {
    begin_key(w, key, MR_GGUF_F32);
    put(w, &v, sizeof v);
}

void mr_gguf_put_bool(mr_gguf_writer *w, const char *key, bool v) {
    const uint8_t byte = v;

    begin_key(w, key, MR_GGUF_BOOL);
    put(w, &byte, sizeof byte);
}

void mr_gguf_put_str(mr_gguf_writer *w, const char *key, const char *v) {
    begin_key(w, key, MR_GGUF_STRING);
    put_text(w, v, strlen(v));
}

void mr_gguf_put_array(mr_gguf_writer *w, const char *key, mr_gguf_kind item, uint64_t n) {
    begin_key(w, key, MR_GGUF_ARRAY);
    put_u32(w, item);
    put_u64(w, n);
    w->item = item;
    w->items_left = n;
}

static void count_item(mr_gguf_writer *w, mr_gguf_kind kind) {
    MR_CHECK(w->items_left > 0 && w->item == kind);
    w->items_left--;
}

void mr_gguf_item_str(mr_gguf_writer *w, const char *s, size_t n) {
    count_item(w, MR_GGUF_STRING);
    put_text(w, s, n);
}

void mr_gguf_item_f32(mr_gguf_writer *w, float v) {
    count_item(w, MR_GGUF_F32);
    put(w, &v, sizeof v);
}

void mr_gguf_item_i32(mr_gguf_writer *w, int32_t v) {
    count_item(w, MR_GGUF_I32);
    put(w, &v, sizeof v);
}

/* --- tensors ---------------------------------------------------------------------------------- */

/* The table doubles whenever n_tensors reaches a power of two. */
static bool grow(mr_gguf_writer *w) {
    const uint64_t n = w->n_tensors;

    if (n > 0 && (n & (n - 1)) != 0) return true;
    uint64_t *bigger = realloc(w->tensor_bytes, (n ? 2 * n : 1) * sizeof *bigger);
    if (!bigger) return false;
    w->tensor_bytes = bigger;
    return true;
}

void mr_gguf_put_tensor(mr_gguf_writer *w, const char *name, mr_type type, const uint64_t *dims,
                        uint32_t n_dims) {
    uint64_t values = 1;

    MR_CHECK(w->phase <= IN_TENSORS && w->items_left == 0 && w->n_tensors < MAX_TENSORS);
    MR_CHECK(n_dims >= 1 && n_dims <= 4 && dims[0] % mr_type_block(type) == 0);
    w->phase = IN_TENSORS;
    if (w->status != MR_OK) return;
    if (!grow(w)) {
        w->status = mr_fail(&w->err, MR_ENOMEM, "%s: out of memory for %llu tensors", w->path,
                            (unsigned long long)w->n_tensors);
        return;
    }
    put_text(w, name, strlen(name));
    put_u32(w, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) {
        MR_CHECK(dims[d] > 0 && dims[d] <= INT64_MAX / 8 / values);
        values *= dims[d];
        put_u64(w, dims[d]);
    }
    put_u32(w, (uint32_t)type);
    put_u64(w, w->data_bytes);
    w->tensor_bytes[w->n_tensors] = values / mr_type_block(type) * mr_type_block_bytes(type);
    w->data_bytes += padded(w->tensor_bytes[w->n_tensors]);
    w->n_tensors++;
}

uint64_t mr_gguf_writer_bytes(const mr_gguf_writer *w) {
    return w->phase < IN_DATA ? padded(w->n_written) + w->data_bytes : w->n_written;
}

static void begin_data(mr_gguf_writer *w) {
    const uint64_t total = mr_gguf_writer_bytes(w);

    MR_CHECK(w->items_left == 0);
    /* Only Linux's own call: posix_fallocate would write zeros where the file system cannot. */
    if (fallocate(w->fd, 0, 0, (off_t)total) != 0 &&
        (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)) {
        const int e = errno;
        if (w->status == MR_OK)
            w->status = mr_fail(&w->err, MR_EIO, "%s: no room for a file of %llu bytes: %s",
                                w->path, (unsigned long long)total, strerror(e));
    }
    put_zeros(w, padded(w->n_written) - w->n_written);
    w->phase = IN_DATA;
}

mr_status mr_gguf_put_data(mr_gguf_writer *w, const void *bytes, size_t n, mr_err *err) {
    const uint8_t *p = bytes;

    MR_CHECK(w->phase == IN_TENSORS || w->phase == IN_DATA);
    if (w->phase == IN_TENSORS) begin_data(w);
    while (n > 0 && w->status == MR_OK) {
        MR_CHECK(w->at_tensor < w->n_tensors);
        const uint64_t all = w->tensor_bytes[w->at_tensor], open = all - w->at_byte;
        const size_t step = n < open ? n : (size_t)open;
        put(w, p, step);
        p += step;
        n -= step;
        w->at_byte += step;
        if (w->at_byte < all) break;
        put_zeros(w, padded(all) - all);
        w->at_byte = 0;
        w->at_tensor++;
    }
    return report(w, err);
}

/* --- life ------------------------------------------------------------------------------------- */

mr_status mr_gguf_writer_open(mr_gguf_writer **out, const char *path, mr_err *err) {
    mr_gguf_writer *w = calloc(1, sizeof *w);
    const size_t temp_bytes = strlen(path) + 32;
    mr_status st;

    *out = NULL;
    if (!w) return mr_fail(err, MR_ENOMEM, "%s: out of memory", path);
    w->fd = -1;
    w->path = strdup(path);
    w->temp_path = malloc(temp_bytes);
    if (!w->path || !w->temp_path) {
        st = mr_fail(err, MR_ENOMEM, "%s: out of memory", path);
        goto fail;
    }
    snprintf(w->temp_path, temp_bytes, "%s.tmp-%ld", path, (long)getpid());
    w->fd = open(w->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        st = mr_fail(err, MR_EIO, "%s: cannot create: %s", w->temp_path, strerror(errno));
        goto fail;
    }
    put(w, "GGUF", 4);
    put_u32(w, VERSION);
    put_u64(w, 0); /* n_tensors and n_kv: finish() knows them */
    put_u64(w, 0);
    *out = w;
    return MR_OK;
fail:
    mr_gguf_writer_close(w);
    return st;
}

/* The name itself is durable once its directory is. */
static void sync_directory(const char *path) {
    char *dir = strdup(path);
    char *slash = dir ? strrchr(dir, '/') : NULL;
    int fd;

    if (slash) slash[slash == dir] = '\0';
    fd = dir ? open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd); /* some file systems cannot; the data themselves are safe */
        close(fd);
    }
    free(dir);
}

mr_status mr_gguf_writer_finish(mr_gguf_writer *w, mr_err *err) {
    const uint64_t counts[2] = {w->n_tensors, w->n_keys};

    MR_CHECK(w->phase != FINISHED && w->items_left == 0);
    if (w->status != MR_OK) return report(w, err);
    if (w->phase != IN_DATA) begin_data(w);
    MR_CHECK(w->status != MR_OK || w->at_tensor == w->n_tensors);
    flush(w);
    if (w->status == MR_OK &&
        pwrite(w->fd, counts, sizeof counts, COUNTS_AT) != (ssize_t)sizeof counts)
        fail_errno(w, "write the counts");
    if (w->status == MR_OK && fsync(w->fd) != 0) fail_errno(w, "sync");
    /* close() may be the first to say that a network disk is full */
    if (w->status == MR_OK && close(w->fd) != 0)
        fail_errno(w, "close");
    else if (w->status != MR_OK)
        close(w->fd);
    w->fd = -1;
    if (w->status == MR_OK && rename(w->temp_path, w->path) != 0) fail_errno(w, "rename");
    if (w->status != MR_OK) return report(w, err);
    w->phase = FINISHED;
    sync_directory(w->path);
    return MR_OK;
}

void mr_gguf_writer_close(mr_gguf_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    /* An open that failed with EEXIST must not remove another process's file. */
    if (w->n_written > 0 && w->phase != FINISHED) unlink(w->temp_path);
    free(w->tensor_bytes);
    free(w->temp_path);
    free(w->path);
    free(w);
}
