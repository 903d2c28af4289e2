/* gguf.c - maps a GGUF file and checks its whole directory before anybody sees it.
 *
 * The file is a header (magic, version, two counts), the keys with their values, the tensor
 * directory, and after padding the tensor data. All numbers are little-endian and unaligned. A
 * cursor walks over it once; each read first asks whether that many bytes are left, so no check can
 * be forgotten at the place of use. What it finds is kept as pointers into the mapping: nothing is
 * copied but the directory itself and, for arrays of strings, a table of where each item starts,
 * which makes the vocabulary O(1) to read.
 *
 * A count is believed only after the rest of the file could hold that many of its smallest
 * items, so the memory asked for is bounded by the file's size and a 24-byte file cannot ask for
 * gigabytes.
 *
 * The mapping is shared: weights are page cache, shared by all processes that run the model.
 * Replace a model by renaming a new file over it; one that is truncated under a reader ends it
 * with SIGBUS.
 *
 * Limits: the MAX_ constants below. Thread: any, after open. */
#include "engine/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf_parts.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are used where they are mapped");

#define MAX_KEYS          65536u
#define MAX_TENSORS       65536u
#define MAX_KEY_BYTES     65535u      /* the format's own limit */
#define MAX_TENSOR_NAME   64u         /* the format's own limit */
#define MAX_STRING_BYTES  (16u << 20) /* chat templates and licences are the long ones */
#define MAX_ARRAY_ITEMS   (1u << 26)
#define MAX_STRING_ARRAY  (1u << 30) /* bytes; item starts are 32 bits wide */
#define MAX_DIMS          4u
#define MIN_ALIGNMENT     8u /* the format's own limit; float weights rely on it */
#define MAX_ALIGNMENT     65536u
#define DEFAULT_ALIGNMENT 32u
#define MEMORY_ALIGNMENT  8u  /* of bytes given to open_memory, as MIN_ALIGNMENT */
#define MIN_KEY_RECORD    14u /* length, one byte of name, kind, one byte of value */
#define MIN_TENSOR_RECORD 33u /* length, one byte of name, n_dims, one dim, type, offset */

typedef struct cursor { /* next byte to read */
    const mr_gguf *g;
    uint64_t at;
    mr_err *err;
} cursor;

static uint64_t left(const cursor *c) {
    return c->g->n_bytes - c->at;
}

mr_status mr_gguf_bad(const mr_gguf *g, mr_err *err, mr_status st, uint64_t offset, const char *fmt,
                      ...) {
    char text[384];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return mr_fail(err, st, "gguf %s: byte %llu: %s", g->label, (unsigned long long)offset, text);
}

/* --- reading ---------------------------------------------------------------------------------- */

static mr_status take(cursor *c, const char *what, void *out, size_t n) {
    if (left(c) < n)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, c->at,
                           "%s needs %zu bytes, the file ends after %llu", what, n,
                           (unsigned long long)left(c));
    memcpy(out, c->g->bytes + c->at, n);
    c->at += n;
    return MR_OK;
}

static mr_status take_count(cursor *c, const char *what, uint64_t limit, uint64_t min_record,
                            uint64_t *out) {
    const uint64_t at = c->at;
    mr_status st = take(c, what, out, sizeof *out);

    if (st != MR_OK) return st;
    if (*out > limit)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at, "%s is %llu, the limit is %llu", what,
                           (unsigned long long)*out, (unsigned long long)limit);
    if (*out > left(c) / min_record)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at,
                           "%s is %llu, but only %llu bytes of the file follow", what,
                           (unsigned long long)*out, (unsigned long long)left(c));
    return MR_OK;
}

static mr_status take_string(cursor *c, const char *what, uint64_t limit, mr_str *out) {
    uint64_t n = 0;
    mr_status st = take_count(c, what, limit, 1, &n);

    if (st != MR_OK) return st;
    *out = (mr_str){(const char *)c->g->bytes + c->at, (size_t)n};
    c->at += n;
    return MR_OK;
}

/* --- keys ------------------------------------------------------------------------------------- */

static mr_status take_scalar(cursor *c, const gguf_key *k, const char *name) {
    const uint64_t at = c->at;
    uint8_t raw[8];
    mr_status st = take(c, name, raw, mr_gguf_kind_bytes(k->kind));

    if (st != MR_OK) return st;
    if (k->kind == MR_GGUF_BOOL && raw[0] > 1)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at, "%s is a bool with the value %u", name,
                           raw[0]);
    return MR_OK;
}

/* Walks the items once; starts[i] lets later readers jump to any of them. */
static mr_status take_strings(cursor *c, gguf_key *k, const char *name) {
    const uint64_t begin = c->at;
    char what[MR_GGUF_MAX_SHOWN + 64];
    mr_str item;

    k->starts = malloc((k->n ? k->n : 1) * sizeof *k->starts);
    if (!k->starts) return mr_gguf_bad(c->g, c->err, MR_ENOMEM, begin, "%s: out of memory", name);
    for (uint64_t i = 0; i < k->n; i++) {
        if (c->at - begin > MAX_STRING_ARRAY)
            return mr_gguf_bad(c->g, c->err, MR_EINVAL, begin,
                               "%s holds more than %u bytes of text", name, MAX_STRING_ARRAY);
        k->starts[i] = (uint32_t)(c->at - begin);
        if (left(c) >= 8) { /* the common case must not format a name for each of 100,000 items */
            uint64_t n;
            memcpy(&n, c->g->bytes + c->at, 8);
            if (n <= MAX_STRING_BYTES && n <= left(c) - 8) {
                c->at += 8 + n;
                continue;
            }
        }
        snprintf(what, sizeof what, "length of item %llu of %s", (unsigned long long)i, name);
        return take_string(c, what, MAX_STRING_BYTES, &item);
    }
    return MR_OK;
}

static mr_status take_array(cursor *c, gguf_key *k, const char *name) {
    const uint64_t at = c->at;
    char what[MR_GGUF_MAX_SHOWN + 64];
    uint32_t item = 0;
    mr_status st;

    snprintf(what, sizeof what, "item type of %s", name);
    if ((st = take(c, what, &item, sizeof item)) != MR_OK) return st;
    k->item = (mr_gguf_kind)item;
    const size_t item_bytes = item > MR_GGUF_F64 ? 0 : mr_gguf_kind_bytes(k->item);
    if (item_bytes == 0 && item != MR_GGUF_STRING)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at, "%s is %u (%s), no scalar or string", what,
                           item, mr_gguf_kind_name(k->item));
    snprintf(what, sizeof what, "item count of %s", name);
    st = take_count(c, what, MAX_ARRAY_ITEMS, item_bytes ? item_bytes : 8, &k->n);
    if (st != MR_OK) return st;

    k->value = c->g->bytes + c->at;
    if (item == MR_GGUF_STRING) return take_strings(c, k, name);
    for (uint64_t i = 0; item == MR_GGUF_BOOL && i < k->n; i++)
        if (k->value[i] > 1)
            return mr_gguf_bad(c->g, c->err, MR_EINVAL, c->at + i,
                               "item %llu of %s is a bool with the value %u", (unsigned long long)i,
                               name, k->value[i]);
    c->at += k->n * item_bytes;
    return MR_OK;
}

static mr_status take_key(cursor *c, gguf_key *k) {
    char shown[MR_GGUF_MAX_SHOWN], name[MR_GGUF_MAX_SHOWN + 8], what[MR_GGUF_MAX_SHOWN + 32];
    uint32_t kind = 0;
    mr_str text;
    mr_status st;

    k->offset = c->at;
    if ((st = take_string(c, "length of a key", MAX_KEY_BYTES, &k->name)) != MR_OK) return st;
    if (k->name.len == 0)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, k->offset, "a key has an empty name");
    mr_gguf_escape(k->name, shown, sizeof shown);
    snprintf(name, sizeof name, "key %s", shown);

    const uint64_t at = c->at;
    if ((st = take(c, name, &kind, sizeof kind)) != MR_OK) return st;
    if (kind > MR_GGUF_F64)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at,
                           "value type of %s is %u, the last one is %d", name, kind, MR_GGUF_F64);
    k->kind = (mr_gguf_kind)kind;
    k->value = c->g->bytes + c->at;
    switch (k->kind) {
    case MR_GGUF_STRING:
        snprintf(what, sizeof what, "length of %s", name);
        return take_string(c, what, MAX_STRING_BYTES, &text);
    case MR_GGUF_ARRAY:
        return take_array(c, k, name);
    default:
        return take_scalar(c, k, name);
    }
}

static int compare_keys(const void *a, const void *b) {
    return mr_gguf_compare_names((*(gguf_key *const *)a)->name, (*(gguf_key *const *)b)->name);
}

static mr_status read_keys(mr_gguf *g, cursor *c, uint64_t n) {
    mr_status st;

    g->keys = calloc(n ? n : 1, sizeof *g->keys);
    g->keys_by_name = calloc(n ? n : 1, sizeof *g->keys_by_name);
    if (!g->keys || !g->keys_by_name)
        return mr_gguf_bad(g, c->err, MR_ENOMEM, c->at, "out of memory for %llu keys",
                           (unsigned long long)n);
    for (; g->n_keys < n; g->n_keys++) {
        g->keys_by_name[g->n_keys] = &g->keys[g->n_keys];
        if ((st = take_key(c, &g->keys[g->n_keys])) != MR_OK) {
            g->n_keys++; /* close() frees the starts of the broken one too */
            return st;
        }
    }
    qsort(g->keys_by_name, n, sizeof *g->keys_by_name, compare_keys);
    for (size_t i = 1; i < n; i++) {
        const gguf_key *a = g->keys_by_name[i - 1], *b = g->keys_by_name[i];
        char shown[MR_GGUF_MAX_SHOWN];
        if (mr_gguf_compare_names(a->name, b->name) != 0) continue;
        mr_gguf_escape(b->name, shown, sizeof shown);
        return mr_gguf_bad(g, c->err, MR_EINVAL, a->offset > b->offset ? a->offset : b->offset,
                           "key %s is there twice", shown);
    }
    return MR_OK;
}

/* --- tensors ---------------------------------------------------------------------------------- */

/* Names of types that we know of but do not run, so that the error line can say them. */
static const char *foreign_type_name(uint32_t type) {
    static const char *const names[] = {
        [3] = "Q4_1",   [6] = "Q5_0",    [7] = "Q5_1",     [9] = "Q8_1",    [10] = "Q2_K",
        [11] = "Q3_K",  [15] = "Q8_K",   [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
        [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",   [22] = "IQ2_S",  [23] = "IQ4_XS",
        [24] = "I8",    [25] = "I16",    [26] = "I32",     [27] = "I64",    [28] = "F64",
        [29] = "IQ1_M", [34] = "TQ1_0",  [35] = "TQ2_0",   [39] = "MXFP4",
    };
    return type < MR_COUNT(names) && names[type] ? names[type] : "unknown";
}

/* Dimensions to bytes; every product is checked against 63 bits. */
static mr_status size_tensor(cursor *c, mr_gguf_tensor *t, uint64_t at, const char *name) {
    const uint64_t block = mr_type_block(t->type), block_bytes = mr_type_block_bytes(t->type);
    uint64_t values = 1;

    for (uint32_t d = 0; d < t->n_dims; d++) {
        if (t->dims[d] == 0 || t->dims[d] > INT64_MAX / values)
            return mr_gguf_bad(c->g, c->err, MR_EINVAL, at + 8 * d,
                               "dimension %u of %s is %llu: %s", d, name,
                               (unsigned long long)t->dims[d],
                               t->dims[d] ? "the product overflows" : "must be at least 1");
        values *= t->dims[d];
    }
    if (t->dims[0] % block != 0)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at,
                           "dimension 0 of %s is %llu, no multiple of %llu, the block of %s", name,
                           (unsigned long long)t->dims[0], (unsigned long long)block,
                           mr_type_name(t->type));
    if (values / block > INT64_MAX / block_bytes)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at, "size of %s overflows (%llu values)", name,
                           (unsigned long long)values);
    t->bytes = values / block * block_bytes;
    return MR_OK;
}

static mr_status take_tensor(cursor *c, mr_gguf_tensor *t) {
    const uint64_t begin = c->at;
    char shown[MR_GGUF_MAX_SHOWN], name[MR_GGUF_MAX_SHOWN + 8];
    uint32_t type = 0;
    mr_status st;

    st = take_string(c, "length of a tensor name", MAX_TENSOR_NAME, &t->name);
    if (st != MR_OK) return st;
    if (t->name.len == 0)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, begin, "a tensor has an empty name");
    mr_gguf_escape(t->name, shown, sizeof shown);
    snprintf(name, sizeof name, "tensor %s", shown);

    uint64_t at = c->at;
    if ((st = take(c, name, &t->n_dims, sizeof t->n_dims)) != MR_OK) return st;
    if (t->n_dims < 1 || t->n_dims > MAX_DIMS)
        return mr_gguf_bad(c->g, c->err, MR_EINVAL, at, "n_dims of %s is %u, must be 1..%u", name,
                           t->n_dims, MAX_DIMS);
    for (uint32_t d = 0; d < MAX_DIMS; d++) t->dims[d] = 1;
    const uint64_t dims_at = c->at;
    if ((st = take(c, name, t->dims, t->n_dims * sizeof t->dims[0])) != MR_OK) return st;

    at = c->at;
    if ((st = take(c, name, &type, sizeof type)) != MR_OK) return st;
    t->type = (mr_type)type;
    if (type > INT32_MAX || mr_type_block(t->type) == 0)
        return mr_gguf_bad(c->g, c->err, MR_EUNSUPPORTED, at,
                           "type of %s is %u (%s); this build runs F32, F16, BF16, Q8_0, Q4_0, "
                           "Q4_K, Q5_K and Q6_K",
                           name, type, foreign_type_name(type));
    if ((st = size_tensor(c, t, dims_at, name)) != MR_OK) return st;
    /* Relative for now; place_tensors() turns it into an offset in the file. */
    return take(c, name, &t->file_offset, sizeof t->file_offset);
}

static int compare_tensors(const void *a, const void *b) {
    return mr_gguf_compare_names((*(mr_gguf_tensor *const *)a)->name,
                                 (*(mr_gguf_tensor *const *)b)->name);
}

static mr_status read_tensors(mr_gguf *g, cursor *c, uint64_t n) {
    mr_status st;

    g->tensors = calloc(n ? n : 1, sizeof *g->tensors);
    g->tensors_by_name = calloc(n ? n : 1, sizeof *g->tensors_by_name);
    if (!g->tensors || !g->tensors_by_name)
        return mr_gguf_bad(g, c->err, MR_ENOMEM, c->at, "out of memory for %llu tensors",
                           (unsigned long long)n);
    for (; g->n_tensors < n; g->n_tensors++) {
        g->tensors_by_name[g->n_tensors] = &g->tensors[g->n_tensors];
        if ((st = take_tensor(c, &g->tensors[g->n_tensors])) != MR_OK) return st;
    }
    qsort(g->tensors_by_name, n, sizeof *g->tensors_by_name, compare_tensors);
    for (size_t i = 1; i < n; i++) {
        char shown[MR_GGUF_MAX_SHOWN];
        if (mr_gguf_compare_names(g->tensors_by_name[i - 1]->name, g->tensors_by_name[i]->name))
            continue;
        mr_gguf_escape(g->tensors_by_name[i]->name, shown, sizeof shown);
        return mr_gguf_bad(g, c->err, MR_EINVAL,
                           (uint64_t)((const uint8_t *)g->tensors_by_name[i]->name.ptr - g->bytes),
                           "tensor %s is there twice", shown);
    }
    return MR_OK;
}

static mr_status read_alignment(const mr_gguf *g, uint64_t *out, mr_err *err) {
    static const char name[] = "general.alignment";
    const gguf_key *k = mr_gguf_find_key(g, name);
    mr_status st;

    *out = DEFAULT_ALIGNMENT;
    if (!k) return MR_OK;
    st = mr_gguf_u64(g, name, MIN_ALIGNMENT, MAX_ALIGNMENT, out, err);
    if (st != MR_OK) return st;
    if ((*out & (*out - 1)) != 0)
        return mr_gguf_bad(g, err, MR_EINVAL, k->offset, "key %s is %llu, must be a power of two",
                           name, (unsigned long long)*out);
    return MR_OK;
}

/* Tensor offsets count from the first aligned byte behind the directory. */
static mr_status place_tensors(mr_gguf *g, cursor *c, uint64_t alignment) {
    const uint64_t pad = (alignment - c->at % alignment) % alignment;

    g->data_offset = left(c) < pad ? g->n_bytes : c->at + pad; /* a vocabulary may end unpadded */
    for (size_t i = 0; i < g->n_tensors; i++) {
        mr_gguf_tensor *t = &g->tensors[i];
        const uint64_t room = g->n_bytes - g->data_offset, offset = t->file_offset;
        /* where that offset stands: behind the name, n_dims, the dimensions and the type */
        const uint64_t at = (uint64_t)((const uint8_t *)t->name.ptr - g->bytes) + t->name.len + 4 +
                            8 * t->n_dims + 4;
        char shown[MR_GGUF_MAX_SHOWN];

        mr_gguf_escape(t->name, shown, sizeof shown);
        if (offset % alignment != 0)
            return mr_gguf_bad(g, c->err, MR_EINVAL, at,
                               "offset of tensor %s is %llu, no multiple of the alignment %llu",
                               shown, (unsigned long long)offset, (unsigned long long)alignment);
        if (offset > room || t->bytes > room - offset)
            return mr_gguf_bad(g, c->err, MR_EINVAL, at,
                               "tensor %s (offset %llu, %llu bytes) ends beyond the file's %llu "
                               "bytes: is it complete?",
                               shown, (unsigned long long)offset, (unsigned long long)t->bytes,
                               (unsigned long long)g->n_bytes);
        t->file_offset = g->data_offset + offset;
        t->data = g->bytes + t->file_offset;
    }
    return MR_OK;
}

/* --- the whole file --------------------------------------------------------------------------- */

static mr_status check(mr_gguf *g, mr_err *err) {
    cursor c = {.g = g, .at = 0, .err = err};
    uint64_t n_tensors = 0, n_keys = 0, alignment = 0;
    char magic[4] = {0};
    mr_status st;

    if ((st = take(&c, "magic", magic, sizeof magic)) != MR_OK) return st;
    if (memcmp(magic, "GGUF", 4) != 0)
        return mr_gguf_bad(
            g, err, MR_EINVAL, 0, "magic is %02x %02x %02x %02x, not \"GGUF\": no GGUF file",
            (uint8_t)magic[0], (uint8_t)magic[1], (uint8_t)magic[2], (uint8_t)magic[3]);
    if ((st = take(&c, "version", &g->version, sizeof g->version)) != MR_OK) return st;
    if (g->version != 2 && g->version != 3)
        return mr_gguf_bad(g, err, MR_EUNSUPPORTED, 4, "version is %u%s, must be 2 or 3",
                           g->version, (g->version & 0xffff) == 0 ? " (a big-endian file?)" : "");
    st = take_count(&c, "n_tensors", MAX_TENSORS, MIN_TENSOR_RECORD, &n_tensors);
    if (st != MR_OK) return st;
    if ((st = take_count(&c, "n_kv", MAX_KEYS, MIN_KEY_RECORD, &n_keys)) != MR_OK) return st;
    if ((st = read_keys(g, &c, n_keys)) != MR_OK) return st;
    if ((st = read_alignment(g, &alignment, err)) != MR_OK) return st;
    if ((st = read_tensors(g, &c, n_tensors)) != MR_OK) return st;
    return place_tensors(g, &c, alignment);
}

/* The end of a path says more than its beginning. */
static mr_status set_path(mr_gguf *g, const char *path, mr_err *err) {
    const size_t n = strlen(path), shown = MR_GGUF_MAX_LABEL / 2;
    const char *tail = n > shown ? path + n - shown : path;

    mr_gguf_escape((mr_str){tail, strlen(tail)}, g->label, sizeof g->label);
    if (!(g->path = strdup(path))) return mr_fail(err, MR_ENOMEM, "gguf %s: out of memory", path);
    return MR_OK;
}

static mr_status map_file(mr_gguf *g, mr_err *err) {
    struct stat sb;
    void *map;
    mr_status st = MR_OK;
    /* Without O_NONBLOCK a named pipe would hang here, before fstat can refuse it. */
    const int fd = open(g->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return mr_fail(err, errno == ENOENT ? MR_ENOTFOUND : MR_EIO, "gguf %s: cannot open: %s",
                       g->label, strerror(errno));
    if (fstat(fd, &sb) != 0) {
        st = mr_fail(err, MR_EIO, "gguf %s: cannot stat: %s", g->label, strerror(errno));
    } else if (!S_ISREG(sb.st_mode)) {
        st = mr_fail(err, MR_EINVAL, "gguf %s: not a regular file", g->label);
    } else if (sb.st_size == 0) {
        st = mr_fail(err, MR_EINVAL, "gguf %s: byte 0: the file is empty", g->label);
    } else if ((uint64_t)sb.st_size > SIZE_MAX) {
        st = mr_fail(err, MR_EINVAL, "gguf %s: %lld bytes do not fit the address space", g->label,
                     (long long)sb.st_size);
    } else {
        map = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            st = mr_fail(err, MR_EIO, "gguf %s: cannot map %lld bytes: %s", g->label,
                         (long long)sb.st_size, strerror(errno));
        } else {
            g->bytes = map;
            g->n_bytes = (uint64_t)sb.st_size;
            g->mapped = true;
        }
    }
    close(fd); /* the mapping keeps the file */
    return st;
}

mr_status mr_gguf_open(mr_gguf **out, const char *path, mr_err *err) {
    mr_gguf *g = calloc(1, sizeof *g);
    mr_status st;

    *out = NULL;
    if (!g) return mr_fail(err, MR_ENOMEM, "gguf %s: out of memory", path);
    if ((st = set_path(g, path, err)) != MR_OK) goto fail;
    if ((st = map_file(g, err)) != MR_OK) goto fail;
    if ((st = check(g, err)) != MR_OK) goto fail;
    *out = g;
    return MR_OK;
fail:
    mr_gguf_close(g);
    return st;
}

mr_status mr_gguf_open_memory(mr_gguf **out, const void *bytes, size_t n, mr_err *err) {
    mr_gguf *g = calloc(1, sizeof *g);
    mr_status st;

    MR_CHECK((uintptr_t)bytes % MEMORY_ALIGNMENT == 0);
    *out = NULL;
    if (!g) return mr_fail(err, MR_ENOMEM, "gguf: out of memory");
    g->bytes = bytes;
    g->n_bytes = n;
    if ((st = set_path(g, "(memory)", err)) != MR_OK) goto fail;
    if ((st = check(g, err)) != MR_OK) goto fail;
    *out = g;
    return MR_OK;
fail:
    mr_gguf_close(g);
    return st;
}

void mr_gguf_close(mr_gguf *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_keys; i++) free(g->keys[i].starts);
    free(g->keys);
    free(g->keys_by_name);
    free(g->tensors);
    free(g->tensors_by_name);
    if (g->mapped) munmap((void *)g->bytes, (size_t)g->n_bytes);
    free(g->path);
    free(g);
}

void mr_gguf_read_ahead(const mr_gguf *g) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = g->data_offset / page * page;

    if (!g->mapped || begin >= g->n_bytes) return;
    /* Only advice: a kernel that refuses it reads the pages when they are touched. */
    (void)madvise((void *)(g->bytes + begin), (size_t)(g->n_bytes - begin), MADV_WILLNEED);
}

void mr_gguf_give_back(const mr_gguf *g, const void *data, size_t n) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    const uintptr_t begin = (at + page - 1) / page * page, end = (at + n) / page * page;

    if (!g->mapped || begin >= end) return;
    (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
