/* Goal: a GGUF file that is right is read exactly; one with any wrong field is refused with the
 * name of the field, its place in the file and its value, and no byte behind its end is touched.
 * Method: a small whole file is built in memory, with the place of each field noted. Each test
 * writes one wrong value to one place and looks for that place in the error. The sanitizers
 * watch the heap block, which ends exactly where the file does. */
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf.h"
#include "tests/test.h"

/* --- the file --------------------------------------------------------------------------------- */

typedef struct file {
    uint8_t bytes[4096];
    size_t n;
    /* places of fields */
    size_t version, n_tensors, n_kv, key_len, kind, text_len, flag, alignment, item_kind, items;
    size_t item_len, flags, name_len, n_dims, dims, type, offset, second_offset, data;
} file;

static void put(file *f, const void *p, size_t n) {
    assert_true(f->n + n <= sizeof f->bytes);
    memcpy(f->bytes + f->n, p, n);
    f->n += n;
}

static size_t put_u32(file *f, uint32_t v) {
    put(f, &v, sizeof v);
    return f->n - sizeof v;
}

static size_t put_u64(file *f, uint64_t v) {
    put(f, &v, sizeof v);
    return f->n - sizeof v;
}

static size_t put_text(file *f, const char *s) {
    const size_t at = put_u64(f, strlen(s));
    put(f, s, strlen(s));
    return at;
}

/* Returns the place of the kind. */
static size_t put_key(file *f, const char *name, mr_gguf_kind kind) {
    put_text(f, name);
    return put_u32(f, kind);
}

static void put_scalars(file *f) {
    const int8_t i8 = -8;
    const uint8_t u8 = 200, yes = 1;
    const int16_t i16 = -1600;
    const uint16_t u16 = 60000;
    const int32_t i32 = -320000;
    const int64_t i64 = INT64_MIN;
    const float f32 = 1e-5f;
    const double f64 = 0.1;

    put_key(f, "u8", MR_GGUF_U8), put(f, &u8, 1);
    put_key(f, "i8", MR_GGUF_I8), put(f, &i8, 1);
    put_key(f, "u16", MR_GGUF_U16), put(f, &u16, 2);
    put_key(f, "i16", MR_GGUF_I16), put(f, &i16, 2);
    put_key(f, "u32", MR_GGUF_U32), put_u32(f, 4000000000u);
    put_key(f, "i32", MR_GGUF_I32), put(f, &i32, 4);
    put_key(f, "u64", MR_GGUF_U64), put_u64(f, UINT64_MAX);
    put_key(f, "i64", MR_GGUF_I64), put(f, &i64, 8);
    put_key(f, "f32", MR_GGUF_F32), put(f, &f32, 4);
    put_key(f, "f64", MR_GGUF_F64), put(f, &f64, 8);
    put_key(f, "bool", MR_GGUF_BOOL);
    f->flag = f->n;
    put(f, &yes, 1);
}

static void put_arrays(file *f) {
    const uint8_t flags[3] = {1, 0, 1};

    put_key(f, "strings", MR_GGUF_ARRAY);
    f->item_kind = put_u32(f, MR_GGUF_STRING);
    f->items = put_u64(f, 3);
    put_text(f, "one");
    f->item_len = put_text(f, "");
    put_text(f, "three");
    put_key(f, "numbers", MR_GGUF_ARRAY);
    put_u32(f, MR_GGUF_I32);
    put_u64(f, 2);
    put_u32(f, (uint32_t)-7);
    put_u32(f, 9);
    put_key(f, "flags", MR_GGUF_ARRAY);
    put_u32(f, MR_GGUF_BOOL);
    put_u64(f, sizeof flags);
    f->flags = f->n;
    put(f, flags, sizeof flags);
}

static void put_tensors(file *f) {
    f->name_len = put_text(f, "m");
    f->n_dims = put_u32(f, 2);
    f->dims = put_u64(f, 64);
    put_u64(f, 3);
    f->type = put_u32(f, MR_TYPE_Q8_0);
    f->offset = put_u64(f, 0);
    put_text(f, "v");
    put_u32(f, 1);
    put_u64(f, 5);
    put_u32(f, MR_TYPE_F32);
    f->second_offset = put_u64(f, 256);
}

#define N_KEYS       16
#define MATRIX_BYTES (3 * 2 * 34)
#define DATA_BYTES   (256 + 5 * 4)

/* alignment 0: the key is left out, and the default of 32 holds. */
static void build(file *f, uint32_t version, uint32_t alignment) {
    memset(f, 0, sizeof *f);
    put(f, "GGUF", 4);
    f->version = put_u32(f, version);
    f->n_tensors = put_u64(f, 2);
    f->n_kv = put_u64(f, N_KEYS - (alignment == 0));
    f->key_len = put_u64(f, 7);
    put(f, "a\0\x1b[1m\n", 7); /* a name that must not reach a terminal */
    f->kind = put_u32(f, MR_GGUF_STRING);
    f->text_len = put_text(f, "some text");
    if (alignment) {
        put_key(f, "general.alignment", MR_GGUF_U32);
        f->alignment = put_u32(f, alignment);
    }
    put_scalars(f);
    put_arrays(f);
    put_tensors(f);
    while (f->n % (alignment ? alignment : 32) != 0) put(f, "", 1);
    f->data = f->n;
    for (size_t i = 0; i < DATA_BYTES; i++) put(f, &(uint8_t){(uint8_t)i}, 1);
}

static void set_u32(file *f, size_t at, uint32_t v) {
    memcpy(f->bytes + at, &v, sizeof v);
}
static void set_u64(file *f, size_t at, uint64_t v) {
    memcpy(f->bytes + at, &v, sizeof v);
}

/* The bytes stay in *block (free it after close), a heap block without room behind them. */
static mr_status open_file(mr_gguf **g, const file *f, size_t n, uint8_t **block, mr_err *err) {
    *block = malloc(n ? n : 1);
    assert_non_null(*block);
    memcpy(*block, f->bytes, n);
    return mr_gguf_open_memory(g, *block, n, err);
}

/* Opening must fail with that status, naming the place and both parts. */
static void refused(const file *f, mr_status status, size_t at, const char *part,
                    const char *part2) {
    uint8_t *block;
    mr_gguf *g = (mr_gguf *)f; /* must become NULL */
    char place[32];
    mr_err err = {0};

    snprintf(place, sizeof place, "byte %zu:", at);
    CHECK_I64(open_file(&g, f, f->n, &block, &err), status);
    CHECK(g == NULL);
    CHECK_ERR(err, place);
    CHECK_ERR(err, part);
    CHECK_ERR(err, part2);
    free(block);
}

static void base(file *f) {
    build(f, 3, 64);
}

/* --- right files ------------------------------------------------------------------------------ */

static void check_content(const file *f, uint32_t version) {
    uint8_t *block;
    mr_gguf *g;
    mr_err err;

    CHECK_OK(open_file(&g, f, f->n, &block, &err), err);
    CHECK_I64(mr_gguf_version(g), version);
    CHECK_I64(mr_gguf_n_tensors(g), 2);
    const mr_gguf_tensor *m = mr_gguf_find_tensor(g, "m"), *v = mr_gguf_find_tensor(g, "v");
    CHECK(m == mr_gguf_tensor_at(g, 0) && v == mr_gguf_tensor_at(g, 1));
    CHECK(mr_gguf_tensor_at(g, 2) == NULL && mr_gguf_find_tensor(g, "") == NULL);
    CHECK_I64(m->n_dims, 2);
    CHECK_I64(m->dims[0], 64);
    CHECK_I64(m->dims[1], 3);
    CHECK_I64(m->dims[3], 1);
    CHECK_I64(m->bytes, MATRIX_BYTES);
    CHECK_I64(m->file_offset, f->data);
    CHECK_I64(v->file_offset, f->data + 256);
    CHECK_I64(v->bytes, 20);
    CHECK(memcmp(v->data, f->bytes + f->data + 256, 20) == 0);
    mr_gguf_close(g);
    free(block);
}

TEST(reads_versions_2_and_3_and_every_alignment) {
    static const uint32_t alignments[] = {0, 8, 32, 64, 256};
    file f;

    for (uint32_t version = 2; version <= 3; version++)
        for (size_t i = 0; i < MR_COUNT(alignments); i++) {
            build(&f, version, alignments[i]);
            check_content(&f, version);
        }
}

TEST(reads_a_vocabulary_without_tensors_and_without_padding) {
    file f = {0};
    uint8_t *block;
    mr_gguf *g;
    mr_err err;
    mr_str s;

    put(&f, "GGUF", 4);
    put_u32(&f, 3);
    put_u64(&f, 0);
    put_u64(&f, 1);
    put_key(&f, "k", MR_GGUF_STRING);
    put_text(&f, "v");
    CHECK_OK(open_file(&g, &f, f.n, &block, &err), err);
    CHECK_OK(mr_gguf_str(g, "k", &s, &err), err);
    CHECK(s.len == 1 && s.ptr[0] == 'v');
    mr_gguf_close(g);
    free(block);
}

TEST(gives_scalars_with_kind_and_range) {
    file f;
    uint8_t *block;
    mr_gguf *g;
    mr_err err;
    uint64_t u;
    float x;
    bool b;
    mr_str s;

    base(&f);
    CHECK_OK(open_file(&g, &f, f.n, &block, &err), err);
    CHECK_OK(mr_gguf_u64(g, "u8", 0, 255, &u, &err), err);
    CHECK_I64(u, 200);
    CHECK_OK(mr_gguf_u64(g, "u16", 0, 60000, &u, &err), err);
    CHECK_I64(u, 60000);
    CHECK_OK(mr_gguf_u64(g, "u64", 0, UINT64_MAX, &u, &err), err);
    CHECK(u == UINT64_MAX);
    CHECK_I64(mr_gguf_u64(g, "u16", 1, 59999, &u, &err), MR_EINVAL);
    CHECK_ERR(err, "key u16 is 60000, must be 1..59999");
    CHECK_I64(mr_gguf_u64(g, "i8", 0, 9, &u, &err), MR_EINVAL);
    CHECK_ERR(err, "key i8 is -8,");
    CHECK_I64(mr_gguf_u64(g, "i64", 0, 9, &u, &err), MR_EINVAL);
    CHECK_ERR(err, "key i64 is -9223372036854775808,");
    CHECK_I64(mr_gguf_u64(g, "f32", 0, 9, &u, &err), MR_EINVAL);
    CHECK_ERR(err, "key f32 is of kind f32, must be an integer");
    CHECK_I64(mr_gguf_u64(g, "absent", 0, 9, &u, &err), MR_ENOTFOUND);
    CHECK_ERR(err, "key absent is missing");
    CHECK_OK(mr_gguf_f32(g, "f32", &x, &err), err);
    CHECK(x == 1e-5f);
    CHECK_OK(mr_gguf_f32(g, "f64", &x, &err), err);
    CHECK(x == 0.1f);
    CHECK_I64(mr_gguf_f32(g, "u8", &x, &err), MR_EINVAL);
    CHECK_OK(mr_gguf_bool(g, "bool", &b, &err), err);
    CHECK(b);
    CHECK_I64(mr_gguf_bool(g, "u8", &b, &err), MR_EINVAL);
    CHECK_I64(mr_gguf_str(g, "u8", &s, &err), MR_EINVAL);
    CHECK(mr_gguf_has(g, "bool") && !mr_gguf_has(g, "boo") && !mr_gguf_has(g, "a"));
    mr_gguf_close(g);
    free(block);
}

TEST(refuses_numbers_that_are_not_finite) {
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7fc00000};
    file f = {0};
    uint8_t *block;
    mr_gguf *g;
    mr_err err;
    float x = 3;

    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        f.n = 0;
        put(&f, "GGUF", 4);
        put_u32(&f, 3);
        put_u64(&f, 0);
        put_u64(&f, 1);
        put_key(&f, "x", MR_GGUF_F32);
        put_u32(&f, bad[i]);
        CHECK_OK(open_file(&g, &f, f.n, &block, &err), err);
        CHECK_I64(mr_gguf_f32(g, "x", &x, &err), MR_EINVAL);
        CHECK_ERR(err, "must be a finite f32");
        CHECK(x == 3);
        mr_gguf_close(g);
        free(block);
    }
}

TEST(gives_array_items_by_index) {
    file f;
    uint8_t *block;
    mr_gguf *g;
    mr_err err;
    mr_gguf_kind kind;
    size_t n;
    mr_str s;
    double x;
    int64_t i;

    base(&f);
    CHECK_OK(open_file(&g, &f, f.n, &block, &err), err);
    CHECK_OK(mr_gguf_array(g, "strings", &kind, &n, &err), err);
    CHECK(kind == MR_GGUF_STRING && n == 3);
    CHECK_I64(mr_gguf_array_str(g, "strings", 2, &s), MR_OK);
    CHECK(s.len == 5 && memcmp(s.ptr, "three", 5) == 0);
    CHECK_I64(mr_gguf_array_str(g, "strings", 1, &s), MR_OK);
    CHECK_I64(s.len, 0);
    CHECK_I64(mr_gguf_array_str(g, "strings", 3, &s), MR_EINVAL);
    CHECK_I64(mr_gguf_array_str(g, "numbers", 0, &s), MR_EINVAL);
    CHECK_I64(mr_gguf_array_str(g, "absent", 0, &s), MR_ENOTFOUND);
    CHECK_I64(mr_gguf_array_i64(g, "numbers", 0, &i), MR_OK);
    CHECK_I64(i, -7);
    CHECK_I64(mr_gguf_array_f64(g, "numbers", 1, &x), MR_OK);
    CHECK(x == 9);
    CHECK_I64(mr_gguf_array_i64(g, "numbers", 2, &i), MR_EINVAL);
    CHECK_I64(mr_gguf_array_i64(g, "u8", 0, &i), MR_EINVAL);
    CHECK_I64(mr_gguf_array(g, "u8", &kind, &n, &err), MR_EINVAL);
    mr_gguf_close(g);
    free(block);
}

TEST(shows_keys_and_values_as_safe_text) {
    file f;
    uint8_t *block;
    mr_gguf *g;
    mr_err err;
    mr_gguf_kind kind;
    uint64_t n;
    char text[64];

    base(&f);
    CHECK_OK(open_file(&g, &f, f.n, &block, &err), err);
    CHECK_I64(mr_gguf_n_keys(g), N_KEYS);
    mr_gguf_escape(mr_gguf_key_at(g, 0, &kind, &n), text, sizeof text);
    CHECK_STR(text, "a\\x00\\x1b[1m\\x0a");
    mr_gguf_value_text(g, 0, text, sizeof text);
    CHECK_STR(text, "some text");
    mr_gguf_value_text(g, 9, text, sizeof text);
    CHECK_STR(text, "-9223372036854775808");
    mr_gguf_value_text(g, 10, text, sizeof text);
    CHECK_STR(text, "1e-05");
    mr_gguf_value_text(g, 12, text, sizeof text);
    CHECK_STR(text, "true");
    mr_gguf_key_at(g, 13, &kind, &n);
    CHECK(kind == MR_GGUF_ARRAY && n == 3);
    mr_gguf_value_text(g, 13, text, sizeof text);
    CHECK_STR(text, "[one, , three]");
    mr_gguf_value_text(g, 13, text, 16);
    CHECK_STR(text, "[one, , ...]");
    mr_gguf_close(g);
    free(block);
}

TEST(escapes_what_a_terminal_must_not_see) {
    static const struct {
        const char *in, *out;
        size_t cap;
    } cases[] = {
        {"plain \xc3\xa9 \xe2\x96\x81 \xf0\x9f\x98\x80",
         "plain \xc3\xa9 \xe2\x96\x81 \xf0\x9f\x98\x80", 64},
        {"back\\slash", "back\\\\slash", 64},
        {"\xc3", "\\xc3", 64},                                     /* cut in the middle */
        {"\xc0\xaf\xed\xa0\x80", "\\xc0\\xaf\\xed\\xa0\\x80", 64}, /* overlong; a surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", 64},          /* beyond U+10FFFF */
        {"\xe2\x80\xae!", "\\xe2\\x80\\xae!", 64},                 /* right-to-left override */
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m", 64}, /* C1: CSI */
        {"12345678", "12345678", 9},
        {"123456789", "12345...", 9},
        {"1234\n5", "1234...", 9},
    };
    char text[64];

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        mr_gguf_escape((mr_str){cases[i].in, strlen(cases[i].in)}, text, cases[i].cap);
        CHECK_STR(text, cases[i].out);
    }
}

/* --- wrong files ------------------------------------------------------------------------------ */

TEST(refuses_every_truncation) {
    file f;
    uint8_t *block;
    mr_gguf *g;
    mr_err err;

    base(&f);
    for (size_t n = 0; n < f.n; n++) {
        CHECK(open_file(&g, &f, n, &block, &err) != MR_OK);
        CHECK_ERR(err, "byte ");
        free(block);
    }
}

TEST(refuses_a_4_byte_file) {
    file f = {0};

    put(&f, "GGUF", 4);
    refused(&f, MR_EINVAL, 4, "version", "ends after 0");
}

TEST(refuses_magic_and_version) {
    file f;

    base(&f);
    f.bytes[3] = 'X';
    refused(&f, MR_EINVAL, 0, "magic is 47 47 55 58", "no GGUF file");
    static const uint32_t versions[] = {0, 1, 4, 0x03000000};
    for (size_t i = 0; i < MR_COUNT(versions); i++) {
        char part[32];
        base(&f);
        set_u32(&f, f.version, versions[i]);
        snprintf(part, sizeof part, "version is %u", versions[i]);
        refused(&f, MR_EUNSUPPORTED, f.version, part, i == 3 ? "big-endian" : "must be 2 or 3");
    }
}

TEST(refuses_counts_that_the_file_cannot_hold) {
    file f;

    base(&f);
    set_u64(&f, f.n_tensors, 65537);
    refused(&f, MR_EINVAL, f.n_tensors, "n_tensors is 65537", "limit is 65536");
    base(&f);
    set_u64(&f, f.n_tensors, UINT64_MAX);
    refused(&f, MR_EINVAL, f.n_tensors, "n_tensors is 18446744073709551615", "limit");
    base(&f);
    set_u64(&f, f.n_tensors, 1000);
    refused(&f, MR_EINVAL, f.n_tensors, "n_tensors is 1000", "follow");
    base(&f);
    set_u64(&f, f.n_kv, UINT64_MAX);
    refused(&f, MR_EINVAL, f.n_kv, "n_kv is 18446744073709551615", "limit is 65536");
    base(&f);
    set_u64(&f, f.n_kv, 60000);
    refused(&f, MR_EINVAL, f.n_kv, "n_kv is 60000", "follow");
}

TEST(refuses_bad_keys) {
    file f;

    base(&f);
    set_u64(&f, f.key_len, 0);
    refused(&f, MR_EINVAL, f.key_len, "key", "empty name");
    base(&f);
    set_u64(&f, f.key_len, 65536);
    refused(&f, MR_EINVAL, f.key_len, "length of a key is 65536", "limit is 65535");
    base(&f);
    set_u64(&f, f.key_len, 60000);
    refused(&f, MR_EINVAL, f.key_len, "length of a key is 60000", "follow");
    base(&f);
    set_u32(&f, f.kind, 13);
    refused(&f, MR_EINVAL, f.kind, "value type of key a\\x00\\x1b[1m\\x0a is 13", "12");
    base(&f);
    set_u64(&f, f.text_len, UINT64_MAX);
    refused(&f, MR_EINVAL, f.text_len, "length of key a\\x00", "18446744073709551615");
    base(&f);
    set_u64(&f, f.text_len, 16u << 20);
    refused(&f, MR_EINVAL, f.text_len, "is 16777216", "follow");
    base(&f);
    f.bytes[f.flag] = 2;
    refused(&f, MR_EINVAL, f.flag, "key bool", "value 2");
}

TEST(refuses_a_key_that_is_there_twice) {
    file f;
    uint8_t *block;
    mr_gguf *g;
    mr_err err;

    base(&f);
    for (size_t i = 0; i + 3 < f.n; i++)
        if (memcmp(f.bytes + i, "i16", 3) == 0) memcpy(f.bytes + i, "u16", 3);
    CHECK_I64(open_file(&g, &f, f.n, &block, &err), MR_EINVAL);
    CHECK_ERR(err, "key u16 is there twice");
    free(block);
}

TEST(refuses_bad_arrays) {
    file f;

    base(&f);
    set_u32(&f, f.item_kind, MR_GGUF_ARRAY);
    refused(&f, MR_EINVAL, f.item_kind, "item type of key strings is 9 (array)", "no scalar");
    base(&f);
    set_u32(&f, f.item_kind, 99);
    refused(&f, MR_EINVAL, f.item_kind, "item type of key strings is 99 (unknown)", "no scalar");
    base(&f);
    set_u64(&f, f.items, UINT64_MAX);
    refused(&f, MR_EINVAL, f.items, "item count of key strings is 18446744073709551615", "limit");
    base(&f);
    set_u64(&f, f.items, 100000);
    refused(&f, MR_EINVAL, f.items, "item count of key strings is 100000", "follow");
    base(&f);
    set_u32(&f, f.item_kind, MR_GGUF_U64);
    set_u64(&f, f.items, 1u << 26);
    refused(&f, MR_EINVAL, f.items, "item count of key strings is 67108864", "follow");
    base(&f);
    set_u64(&f, f.item_len, UINT64_MAX);
    refused(&f, MR_EINVAL, f.item_len, "length of item 1 of key strings is 1844674407", "limit");
    base(&f);
    set_u64(&f, f.item_len, 5000);
    refused(&f, MR_EINVAL, f.item_len, "length of item 1 of key strings is 5000", "follow");
    base(&f);
    f.bytes[f.flags + 1] = 7;
    refused(&f, MR_EINVAL, f.flags + 1, "item 1 of key flags", "value 7");
}

TEST(refuses_a_bad_alignment) {
    static const uint32_t wrong[] = {0, 1, 4, 48, 65535, 131072, UINT32_MAX};
    file f;

    for (size_t i = 0; i < MR_COUNT(wrong); i++) {
        char part[64];
        base(&f);
        set_u32(&f, f.alignment, wrong[i]);
        snprintf(part, sizeof part, "key general.alignment is %u,", wrong[i]);
        /* the error names the place of the key: kind, name and length stand before the value */
        refused(&f, MR_EINVAL, f.alignment - 4 - 17 - 8, part,
                wrong[i] == 48 || wrong[i] == 65535 ? "power of two" : "8..65536");
    }
}

TEST(refuses_bad_tensor_directories) {
    file f;

    base(&f);
    set_u64(&f, f.name_len, 0);
    refused(&f, MR_EINVAL, f.name_len, "tensor", "empty name");
    base(&f);
    set_u64(&f, f.name_len, 65);
    refused(&f, MR_EINVAL, f.name_len, "length of a tensor name is 65", "limit is 64");
    base(&f);
    set_u32(&f, f.n_dims, 0);
    refused(&f, MR_EINVAL, f.n_dims, "n_dims of tensor m is 0", "1..4");
    base(&f);
    set_u32(&f, f.n_dims, 5);
    refused(&f, MR_EINVAL, f.n_dims, "n_dims of tensor m is 5", "1..4");
    base(&f);
    set_u64(&f, f.dims, 0);
    refused(&f, MR_EINVAL, f.dims, "dimension 0 of tensor m is 0", "at least 1");
    base(&f);
    set_u64(&f, f.dims + 8, UINT64_MAX);
    refused(&f, MR_EINVAL, f.dims + 8, "dimension 1 of tensor m is 18446744073709551615",
            "overflows");
    base(&f);
    set_u64(&f, f.dims, 1ull << 32);
    set_u64(&f, f.dims + 8, 1ull << 31);
    refused(&f, MR_EINVAL, f.dims + 8, "dimension 1 of tensor m is 2147483648", "overflows");
    base(&f);
    set_u64(&f, f.dims, 40);
    refused(&f, MR_EINVAL, f.dims, "dimension 0 of tensor m is 40", "32, the block of Q8_0");
    base(&f); /* 2^62 values fit 63 bits, their bytes do not */
    set_u64(&f, f.dims, 1ull << 62);
    set_u64(&f, f.dims + 8, 1);
    set_u32(&f, f.type, MR_TYPE_F32);
    refused(&f, MR_EINVAL, f.dims, "size of tensor m overflows", "4611686018427387904");
    base(&f);
    memcpy(f.bytes + f.second_offset - 4 - 8 - 4 - 1, "m", 1);
    refused(&f, MR_EINVAL, f.second_offset - 4 - 8 - 4 - 1, "tensor m", "twice");
}

TEST(refuses_types_that_it_cannot_run) {
    static const struct {
        uint32_t type;
        const char *name;
    } cases[] = {{3, "3 (Q4_1)"},        {4, "4 (unknown)"},
                 {16, "16 (IQ2_XXS)"},   {31, "31 (unknown)"},
                 {999, "999 (unknown)"}, {UINT32_MAX, "4294967295 (unknown)"}};
    file f;

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        base(&f);
        set_u32(&f, f.type, cases[i].type);
        refused(&f, MR_EUNSUPPORTED, f.type, cases[i].name, "Q4_K");
    }
}

TEST(refuses_data_outside_the_file) {
    file f;

    base(&f);
    set_u64(&f, f.second_offset, 257);
    refused(&f, MR_EINVAL, f.second_offset, "offset of tensor v is 257", "alignment 64");
    base(&f);
    set_u64(&f, f.second_offset, 320);
    refused(&f, MR_EINVAL, f.second_offset, "tensor v (offset 320, 20 bytes)", "complete");
    base(&f);
    set_u64(&f, f.second_offset, UINT64_MAX - 63);
    refused(&f, MR_EINVAL, f.second_offset, "tensor v (offset 18446744073709551552", "complete");
    base(&f);
    set_u64(&f, f.dims + 8, 1000);
    refused(&f, MR_EINVAL, f.offset, "tensor m (offset 0, 68000 bytes)", "complete");
}

/* --- files on disk ---------------------------------------------------------------------------- */

TEST(maps_a_file_and_refuses_what_is_none) {
    char dir[] = "/tmp/mr-gguf-XXXXXX", path[64], pipe[64];
    file f;
    mr_gguf *g;
    mr_err err;

    base(&f);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.gguf", dir);
    snprintf(pipe, sizeof pipe, "%s/pipe", dir);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    CHECK_I64(fwrite(f.bytes, 1, f.n, out), f.n);
    fclose(out);
    CHECK_OK(mr_gguf_open(&g, path, &err), err);
    CHECK_STR(mr_gguf_path(g), path);
    CHECK_I64(mr_gguf_file_bytes(g), f.n);
    mr_gguf_read_ahead(g);
    mr_gguf_close(g);

    CHECK_I64(truncate(path, 0), 0);
    CHECK_I64(mr_gguf_open(&g, path, &err), MR_EINVAL);
    CHECK_ERR(err, "empty");
    CHECK_I64(mr_gguf_open(&g, dir, &err), MR_EINVAL);
    CHECK_ERR(err, "regular file");
    CHECK_I64(mkfifo(pipe, 0600), 0);
    CHECK_I64(mr_gguf_open(&g, pipe, &err), MR_EINVAL);
    CHECK_ERR(err, "regular file");
    unlink(path);
    CHECK_I64(mr_gguf_open(&g, path, &err), MR_ENOTFOUND);
    CHECK_ERR(err, "a.gguf");
    unlink(pipe);
    rmdir(dir);
}

MR_TEST_MAIN
