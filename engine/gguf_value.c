/* gguf_value.c - questions to a checked GGUF file: keys by name, values by kind, values as text.
 *
 * gguf.c has proved that every value lies in the file, so what is left to check here is what the
 * asker wants: the kind, the range, finiteness. A name is found by binary search in a sorted
 * table, which costs the same whatever names a hostile file chose. Values are unaligned: memcpy
 * reads them.
 *
 * Strings of a file may hold zero bytes, escape sequences or broken UTF-8; whatever is shown to a
 * person goes through mr_gguf_escape(). Thread: any. Nothing here allocates. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"
#include "engine/gguf_parts.h"

#define MAX_TEXT_ITEMS 8 /* items of an array that value_text shows */

static const struct kind_info {
    const char *name;
    uint8_t bytes; /* of a scalar */
} kinds[] = {
    [MR_GGUF_U8] = {"u8", 1},       [MR_GGUF_I8] = {"i8", 1},     [MR_GGUF_U16] = {"u16", 2},
    [MR_GGUF_I16] = {"i16", 2},     [MR_GGUF_U32] = {"u32", 4},   [MR_GGUF_I32] = {"i32", 4},
    [MR_GGUF_F32] = {"f32", 4},     [MR_GGUF_BOOL] = {"bool", 1}, [MR_GGUF_STRING] = {"string", 0},
    [MR_GGUF_ARRAY] = {"array", 0}, [MR_GGUF_U64] = {"u64", 8},   [MR_GGUF_I64] = {"i64", 8},
    [MR_GGUF_F64] = {"f64", 8},
};

const char *mr_gguf_kind_name(mr_gguf_kind kind) {
    return (size_t)kind < MR_COUNT(kinds) ? kinds[kind].name : "unknown";
}

size_t mr_gguf_kind_bytes(mr_gguf_kind kind) {
    return (size_t)kind < MR_COUNT(kinds) ? kinds[kind].bytes : 0;
}

/* --- names ------------------------------------------------------------------------------------ */

int mr_gguf_compare_names(mr_str a, mr_str b) {
    const int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);

    if (order != 0) return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

const gguf_key *mr_gguf_find_key(const mr_gguf *g, const char *name) {
    const mr_str want = {name, strlen(name)};
    size_t lo = 0, hi = g->n_keys;

    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = mr_gguf_compare_names(want, g->keys_by_name[mid]->name);
        if (order == 0) return g->keys_by_name[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const mr_gguf_tensor *mr_gguf_find_tensor(const mr_gguf *g, const char *name) {
    const mr_str want = {name, strlen(name)};
    size_t lo = 0, hi = g->n_tensors;

    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = mr_gguf_compare_names(want, g->tensors_by_name[mid]->name);
        if (order == 0) return g->tensors_by_name[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

uint32_t mr_gguf_version(const mr_gguf *g) {
    return g->version;
}
const char *mr_gguf_path(const mr_gguf *g) {
    return g->path;
}
const char *mr_gguf_label(const mr_gguf *g) {
    return g->label;
}
const void *mr_gguf_bytes(const mr_gguf *g) {
    return g->bytes;
}
uint64_t mr_gguf_file_bytes(const mr_gguf *g) {
    return g->n_bytes;
}
size_t mr_gguf_n_tensors(const mr_gguf *g) {
    return g->n_tensors;
}
size_t mr_gguf_n_keys(const mr_gguf *g) {
    return g->n_keys;
}
bool mr_gguf_has(const mr_gguf *g, const char *key) {
    return mr_gguf_find_key(g, key) != NULL;
}

const mr_gguf_tensor *mr_gguf_tensor_at(const mr_gguf *g, size_t i) {
    return i < g->n_tensors ? &g->tensors[i] : NULL;
}

mr_str mr_gguf_key_at(const mr_gguf *g, size_t i, mr_gguf_kind *kind, uint64_t *array_len) {
    MR_CHECK(i < g->n_keys);
    *kind = g->keys[i].kind;
    *array_len = g->keys[i].n;
    return g->keys[i].name;
}

/* --- values ----------------------------------------------------------------------------------- */

/* An integer of any kind as sign and magnitude, so that u64 and i64 both fit. */
static bool read_integer(mr_gguf_kind kind, const uint8_t *p, bool *negative, uint64_t *magnitude) {
    uint64_t u = 0;
    int64_t i = 0;

    memcpy(&u, p, mr_gguf_kind_bytes(kind));
    switch (kind) {
    case MR_GGUF_U8:
    case MR_GGUF_U16:
    case MR_GGUF_U32:
    case MR_GGUF_U64:
        *negative = false;
        *magnitude = u;
        return true;
    case MR_GGUF_I8:
        i = (int8_t)u;
        break;
    case MR_GGUF_I16:
        i = (int16_t)u;
        break;
    case MR_GGUF_I32:
        i = (int32_t)u;
        break;
    case MR_GGUF_I64:
        i = (int64_t)u;
        break;
    default:
        return false;
    }
    *negative = i < 0;
    *magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    return true;
}

static bool read_real(mr_gguf_kind kind, const uint8_t *p, double *out) {
    float f;

    switch (kind) {
    case MR_GGUF_F32:
        memcpy(&f, p, sizeof f);
        *out = f;
        return true;
    case MR_GGUF_F64:
        memcpy(out, p, sizeof *out);
        return true;
    default:
        return false;
    }
}

static mr_str read_string(const uint8_t *p) {
    uint64_t n;

    memcpy(&n, p, sizeof n);
    return (mr_str){(const char *)p + sizeof n, (size_t)n};
}

static mr_status find(const mr_gguf *g, const char *name, const gguf_key **out, mr_err *err) {
    *out = mr_gguf_find_key(g, name);
    if (*out) return MR_OK;
    return mr_fail(err, MR_ENOTFOUND, "gguf %s: key %s is missing", g->label, name);
}

static mr_status wrong_kind(const mr_gguf *g, const gguf_key *k, const char *name, const char *want,
                            mr_err *err) {
    return mr_gguf_bad(g, err, MR_EINVAL, k->offset, "key %s is of kind %s, must be %s", name,
                       mr_gguf_kind_name(k->kind), want);
}

mr_status mr_gguf_u64(const mr_gguf *g, const char *key, uint64_t lo, uint64_t hi, uint64_t *out,
                      mr_err *err) {
    const gguf_key *k;
    bool negative;
    uint64_t v;
    const mr_status st = find(g, key, &k, err);

    if (st != MR_OK) return st;
    if (!read_integer(k->kind, k->value, &negative, &v))
        return wrong_kind(g, k, key, "an integer", err);
    if (negative || v < lo || v > hi)
        return mr_gguf_bad(g, err, MR_EINVAL, k->offset, "key %s is %s%llu, must be %llu..%llu",
                           key, negative ? "-" : "", (unsigned long long)v, (unsigned long long)lo,
                           (unsigned long long)hi);
    *out = v;
    return MR_OK;
}

mr_status mr_gguf_f32(const mr_gguf *g, const char *key, float *out, mr_err *err) {
    const gguf_key *k;
    double v;
    const mr_status st = find(g, key, &k, err);

    if (st != MR_OK) return st;
    if (!read_real(k->kind, k->value, &v)) return wrong_kind(g, k, key, "f32", err);
    if (!(fabs(v) <= 3.4028234663852886e38)) /* also false for NaN */
        return mr_gguf_bad(g, err, MR_EINVAL, k->offset, "key %s is %g, must be a finite f32", key,
                           v);
    *out = (float)v;
    return MR_OK;
}

mr_status mr_gguf_bool(const mr_gguf *g, const char *key, bool *out, mr_err *err) {
    const gguf_key *k;
    const mr_status st = find(g, key, &k, err);

    if (st != MR_OK) return st;
    if (k->kind != MR_GGUF_BOOL) return wrong_kind(g, k, key, "bool", err);
    *out = k->value[0] != 0;
    return MR_OK;
}

mr_status mr_gguf_str(const mr_gguf *g, const char *key, mr_str *out, mr_err *err) {
    const gguf_key *k;
    const mr_status st = find(g, key, &k, err);

    if (st != MR_OK) return st;
    if (k->kind != MR_GGUF_STRING) return wrong_kind(g, k, key, "string", err);
    *out = read_string(k->value);
    return MR_OK;
}

/* --- arrays ----------------------------------------------------------------------------------- */

mr_status mr_gguf_array(const mr_gguf *g, const char *key, mr_gguf_kind *kind, size_t *n,
                        mr_err *err) {
    const gguf_key *k;
    const mr_status st = find(g, key, &k, err);

    if (st != MR_OK) return st;
    if (k->kind != MR_GGUF_ARRAY) return wrong_kind(g, k, key, "an array", err);
    *kind = k->item;
    *n = (size_t)k->n;
    return MR_OK;
}

static mr_status find_item(const mr_gguf *g, const char *key, size_t i, const gguf_key **out) {
    const gguf_key *k = mr_gguf_find_key(g, key);

    if (!k) return MR_ENOTFOUND;
    if (k->kind != MR_GGUF_ARRAY || i >= k->n) return MR_EINVAL;
    *out = k;
    return MR_OK;
}

mr_status mr_gguf_array_str(const mr_gguf *g, const char *key, size_t i, mr_str *out) {
    const gguf_key *k;
    const mr_status st = find_item(g, key, i, &k);

    if (st != MR_OK) return st;
    if (k->item != MR_GGUF_STRING) return MR_EINVAL;
    *out = read_string(k->value + k->starts[i]);
    return MR_OK;
}

mr_status mr_gguf_array_i64(const mr_gguf *g, const char *key, size_t i, int64_t *out) {
    const gguf_key *k;
    bool negative;
    uint64_t v;
    const mr_status st = find_item(g, key, i, &k);

    if (st != MR_OK) return st;
    if (!read_integer(k->item, k->value + i * mr_gguf_kind_bytes(k->item), &negative, &v))
        return MR_EINVAL;
    if (!negative && v > INT64_MAX) return MR_EINVAL;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return MR_OK;
}

mr_status mr_gguf_array_f64(const mr_gguf *g, const char *key, size_t i, double *out) {
    const gguf_key *k;
    bool negative;
    uint64_t v;
    const mr_status st = find_item(g, key, i, &k);

    if (st != MR_OK) return st;
    const uint8_t *p = k->value + i * mr_gguf_kind_bytes(k->item);
    if (read_real(k->item, p, out)) return MR_OK;
    if (!read_integer(k->item, p, &negative, &v)) return MR_EINVAL;
    *out = negative ? -(double)v : (double)v;
    return MR_OK;
}

/* --- text ------------------------------------------------------------------------------------- */

/* Characters that are valid UTF-8 and still must not reach a terminal: C1 controls, line breaks,
 * zero-width and direction marks, the byte order mark. */
static bool is_hidden(uint32_t c) {
    return (c >= 0x80 && c < 0xA0) || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

/* Bytes of the printable character at p[0..n); 0: none. */
static size_t printable(const uint8_t *p, size_t n) {
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800,
                                        0x10000}; /* by length: no overlong forms */
    size_t len;
    uint32_t c;

    if (p[0] < 0x80) return p[0] >= 0x20 && p[0] != 0x7F && p[0] != '\\';
    if (p[0] >= 0xC2 && p[0] < 0xE0)
        len = 2;
    else if (p[0] >= 0xE0 && p[0] < 0xF0)
        len = 3;
    else if (p[0] >= 0xF0 && p[0] < 0xF5)
        len = 4;
    else
        return 0;
    if (n < len) return 0;
    c = p[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3F);
    }
    if (c < smallest[len] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0;
    return is_hidden(c) ? 0 : len;
}

/* Bytes that the character at p[0..n) needs when shown; *len: bytes it has, 0 when it is
 * escaped. */
static size_t shown_bytes(const uint8_t *p, size_t n, size_t *len) {
    *len = printable(p, n);
    return *len ? *len : p[0] == '\\' ? 2 : 4;
}

/* The whole of s in at most room bytes? */
static bool fits(mr_str s, size_t room) {
    const uint8_t *p = (const uint8_t *)s.ptr;
    size_t used = 0, len;

    for (size_t i = 0; i < s.len && used <= room; i += len ? len : 1)
        used += shown_bytes(p + i, s.len - i, &len);
    return used <= room;
}

void mr_gguf_escape(mr_str s, char *buf, size_t cap) {
    const uint8_t *p = (const uint8_t *)s.ptr;
    size_t used = 0, len;

    MR_CHECK(cap >= 8); /* the dots and an escape */
    const bool whole = fits(s, cap - 1);
    const size_t room = whole ? cap - 1 : cap - 1 - 3;
    for (size_t i = 0; i < s.len; i += len ? len : 1) {
        const size_t need = shown_bytes(p + i, s.len - i, &len);
        if (used + need > room) break;
        if (len)
            memcpy(buf + used, p + i, len);
        else if (p[i] == '\\')
            memcpy(buf + used, "\\\\", 2);
        else
            snprintf(buf + used, cap - used, "\\x%02x", p[i]);
        used += need;
    }
    snprintf(buf + used, cap - used, "%s", whole ? "" : "...");
}

/* The shortest form that reads back as the same value: 1e-05 and not 9.99999975e-06. */
static void real_text(mr_gguf_kind kind, double v, char *buf, size_t cap) {
    for (int digits = kind == MR_GGUF_F32 ? 6 : 15; digits <= 17; digits++) {
        snprintf(buf, cap, "%.*g", digits, v);
        if (kind == MR_GGUF_F32 ? strtof(buf, NULL) == (float)v : strtod(buf, NULL) == v) return;
    }
}

static void scalar_text(mr_gguf_kind kind, const uint8_t *p, char *buf, size_t cap) {
    bool negative;
    uint64_t u;
    double v;

    if (kind == MR_GGUF_STRING)
        mr_gguf_escape(read_string(p), buf, cap);
    else if (kind == MR_GGUF_BOOL)
        snprintf(buf, cap, "%s", p[0] ? "true" : "false");
    else if (read_real(kind, p, &v))
        real_text(kind, v, buf, cap);
    else if (read_integer(kind, p, &negative, &u))
        snprintf(buf, cap, "%s%llu", negative ? "-" : "", (unsigned long long)u);
}

void mr_gguf_value_text(const mr_gguf *g, size_t i, char *buf, size_t cap) {
    MR_CHECK(i < g->n_keys && cap >= 8);
    const gguf_key *k = &g->keys[i];
    const bool is_string = k->kind == MR_GGUF_ARRAY && k->item == MR_GGUF_STRING;
    char item[64];
    size_t used = 0;
    uint64_t n = 0;

    if (k->kind != MR_GGUF_ARRAY) {
        scalar_text(k->kind, k->value, buf, cap);
        return;
    }
    buf[used++] = '[';
    for (; n < k->n && n < MAX_TEXT_ITEMS; n++) {
        const size_t at = is_string ? k->starts[n] : n * mr_gguf_kind_bytes(k->item);
        scalar_text(k->item, k->value + at, item, sizeof item);
        const size_t len = strlen(item);
        if (used + len + sizeof ", ...]" >= cap) break;
        used += (size_t)snprintf(buf + used, cap - used, "%s%s", n ? ", " : "", item);
    }
    snprintf(buf + used, cap - used, n < k->n ? n ? ", ...]" : "...]" : "]");
}
