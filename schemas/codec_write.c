/* codec_write.c - the writer behind every encoder.
 *
 * Maps of msgpack carry their count in front; it is patched in when the map ends, so that an
 * encoder can leave fields out without counting them first. Pure; any thread. */
#include "schemas/codec_write.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schemas/codec_json.h"
#include "schemas/codec_utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define FIRST_BYTES 4096            /* most records fit, and are written once */
#define MAP16_BYTES 3              /* 0xde, count high, count low */

static void put(mr_writer *w, const void *bytes, size_t n) {
    if (n && w->len <= w->cap && n <= w->cap - w->len) memcpy(w->buf + w->len, bytes, n);
    w->len += n;
}

static int on_pack(void *owner, const char *bytes, size_t n) {
    put(owner, bytes, n);
    return 0;
}

static msgpack_packer packer_of(mr_writer *w) {
    msgpack_packer pk;

    msgpack_packer_init(&pk, w, on_pack);
    return pk;
}

static bool is_json(const mr_writer *w) {
    return w->format == MR_FORMAT_JSON;
}

/* Before any value: JSON's comma. */
static void start_value(mr_writer *w) {
    if (is_json(w) && w->comma) put(w, ",", 1);
    w->comma = true;
}

/* ---- maps and lists ---- */

static void open_level(mr_writer *w, bool is_map) {
    MR_CHECK(w->depth < MR_WRITER_MAX_DEPTH);
    w->open[w->depth].start = w->len;
    w->open[w->depth].members = 0;
    w->open[w->depth].is_map = is_map;
    w->depth++;
}

void mr_write_map(mr_writer *w) {
    start_value(w);
    open_level(w, true);
    put(w, is_json(w) ? "{" : "\xde\0\0", is_json(w) ? 1 : MAP16_BYTES);
    w->comma = false;
}

void mr_write_list(mr_writer *w, size_t n) {
    start_value(w);
    open_level(w, false);
    if (is_json(w)) {
        put(w, "[", 1);
    } else {
        msgpack_packer pk = packer_of(w);
        msgpack_pack_array(&pk, n);
    }
    w->comma = false;
}

void mr_write_end(mr_writer *w) {
    MR_CHECK(w->depth > 0);
    const unsigned d = --w->depth, members = w->open[d].members;
    const size_t start = w->open[d].start;

    if (is_json(w)) {
        put(w, w->open[d].is_map ? "}" : "]", 1);
    } else if (w->open[d].is_map && start + MAP16_BYTES <= w->cap) {
        MR_CHECK(members <= UINT16_MAX);
        w->buf[start + 1] = (char)(members >> 8);
        w->buf[start + 2] = (char)members;
    }
    w->comma = true;
}

void mr_write_key(mr_writer *w, const char *key) {
    MR_CHECK(w->depth > 0 && w->open[w->depth - 1].is_map);
    w->open[w->depth - 1].members++;
    mr_write_text(w, key, strlen(key));
    if (is_json(w)) put(w, ":", 1);
    w->comma = false;
}

/* ---- scalars ---- */

/* One character that JSON cannot hold as it is. */
static void put_escape(mr_writer *w, unsigned char c) {
    static const char named[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    static const char hex[] = "0123456789abcdef";

    if (c >= 0x20 || named[c]) {
        const char two[2] = {'\\', c >= 0x20 ? (char)c : named[c]};
        put(w, two, 2);
    } else {
        const char six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        put(w, six, 6);
    }
}

/* s[0..n) is well-formed. */
static void put_escaped(mr_writer *w, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) { /* the byte at i is one that JSON escapes */
        const size_t plain = mr_json_plain(s + i, n - i);
        put(w, s + i, plain);
        i += plain;
        if (i < n) put_escape(w, (unsigned char)s[i]);
    }
}

/* s[0..n) without its quotes; escaped or not. */
static void put_text(mr_writer *w, const char *s, size_t n, bool escape) {
    for (;;) {
        const size_t good = mr_utf8_check(s, n);
        if (escape)
            put_escaped(w, s, good);
        else
            put(w, s, good);
        if (good == n) return;
        put(w, REPLACEMENT, 3); /* for the byte behind */
        s += good + 1;
        n -= good + 1;
    }
}

/* How long put_text makes it without escapes. */
static size_t text_len(const mr_writer *w, const char *s, size_t n) {
    mr_writer measure = {.format = w->format};

    if (mr_utf8_check(s, n) == n) return n;
    put_text(&measure, s, n, false);
    return measure.len;
}

void mr_write_text(mr_writer *w, const char *s, size_t n) {
    start_value(w);
    if (is_json(w)) {
        put(w, "\"", 1);
        put_text(w, s, n, true);
        put(w, "\"", 1);
        return;
    }
    /* The length stands in front. */
    const size_t len = text_len(w, s, n);
    msgpack_packer pk = packer_of(w);
    msgpack_pack_str(&pk, len);
    if (len == n)
        put(w, s, n);
    else
        put_text(w, s, n, false);
}

void mr_write_bool(mr_writer *w, bool x) {
    start_value(w);
    if (is_json(w)) {
        put(w, x ? "true" : "false", x ? 4 : 5);
    } else {
        msgpack_packer pk = packer_of(w);
        if (x)
            msgpack_pack_true(&pk);
        else
            msgpack_pack_false(&pk);
    }
}

void mr_write_i64(mr_writer *w, int64_t x) {
    char text[24];

    start_value(w);
    if (is_json(w)) {
        put(w, text, (size_t)snprintf(text, sizeof text, "%" PRId64, x));
    } else {
        msgpack_packer pk = packer_of(w);
        msgpack_pack_int64(&pk, x);
    }
}

void mr_write_u64(mr_writer *w, uint64_t x) {
    char text[24];

    start_value(w);
    if (is_json(w)) {
        put(w, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, x));
    } else {
        msgpack_packer pk = packer_of(w);
        msgpack_pack_uint64(&pk, x);
    }
}

static float finite_of(float x) {
    if (isnan(x)) return 0;
    if (isinf(x)) return copysignf(FLT_MAX, x);
    return x == 0 ? 0 : x; /* "-0" would be read back as an integer, without its sign */
}

void mr_write_f32(mr_writer *w, float x) {
    char text[32];
    int n = 0;

    x = finite_of(x);
    start_value(w);
    if (!is_json(w)) {
        msgpack_packer pk = packer_of(w);
        msgpack_pack_float(&pk, x);
        return;
    }
    for (int digits = 6; digits <= FLT_DECIMAL_DIG; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x) break;
    }
    /* The host of libmillrace may have set a locale with a decimal comma. */
    for (char *c = text; *c; c++)
        if (*c == ',') *c = '.';
    put(w, text, (size_t)n);
}

/* ---- fields ---- */

void mr_write_text_field(mr_writer *w, const char *key, const char *s) {
    mr_write_key(w, key);
    mr_write_text(w, s ? s : "", s ? strlen(s) : 0);
}

void mr_write_bool_field(mr_writer *w, const char *key, bool x) {
    mr_write_key(w, key);
    mr_write_bool(w, x);
}

void mr_write_i64_field(mr_writer *w, const char *key, int64_t x) {
    mr_write_key(w, key);
    mr_write_i64(w, x);
}

void mr_write_u64_field(mr_writer *w, const char *key, uint64_t x) {
    mr_write_key(w, key);
    mr_write_u64(w, x);
}

void mr_write_f32_field(mr_writer *w, const char *key, float x) {
    mr_write_key(w, key);
    mr_write_f32(w, x);
}

void mr_write_pairs_field(mr_writer *w, const char *key, const mr_pair *pairs, size_t n) {
    if (!n) return;
    mr_write_key(w, key);
    mr_write_map(w);
    for (size_t i = 0; i < n; i++) mr_write_text_field(w, pairs[i].key, pairs[i].value);
    mr_write_end(w);
}

/* ---- a whole record ---- */

mr_status mr_write_record(mr_write_fn *write, const void *object, mr_format f, mr_arena *arena,
                          const void **bytes, size_t *n) {
    char first[FIRST_BYTES];
    mr_writer w = {.format = f, .buf = first, .cap = sizeof first};

    write(&w, object);
    const size_t need = w.len;
    char *buf = mr_arena_alloc(arena, need + 1);
    if (!buf) return MR_ENOMEM;
    if (need <= sizeof first) {
        memcpy(buf, first, need);
    } else { /* now that its size is known */
        w = (mr_writer){.format = f, .buf = buf, .cap = need};
        write(&w, object);
        MR_CHECK(w.len == need);
    }
    MR_CHECK(w.depth == 0);
    buf[need] = '\0';
    *bytes = buf;
    *n = need;
    return MR_OK;
}
