/* Goal: our JSON reader accepts what is JSON, refuses what is not, and reads what is there.
 * Method: jansson, an independent reader, is asked the same: about a list of texts at the edges of
 * the grammar, and about seeded mutations of them. Where both accept, the trees must be equal. What
 * we bound and jansson does not (depth, members, values) is tested in test_codec_broken.c. */
#include <jansson.h>
#include <math.h>

#include "schemas/codec_json.h"
#include "schemas/codec_utf8.h"
#include "tests/test.h"

static bool is_equal(const mr_value *v, const json_t *j) {
    const char *key;
    json_t *member;
    size_t i = 0;

    switch (json_typeof(j)) {
    case JSON_OBJECT:
        if (v->kind != MR_VALUE_MAP || v->n != json_object_size(j)) return false;
        json_object_foreach((json_t *)(uintptr_t)j, key, member) { /* in order of insertion */
            if (strcmp(v->as.members[i].key, key) != 0) return false;
            if (!is_equal(&v->as.members[i++].value, member)) return false;
        }
        return true;
    case JSON_ARRAY:
        if (v->kind != MR_VALUE_LIST || v->n != json_array_size(j)) return false;
        for (; i < v->n; i++)
            if (!is_equal(&v->as.items[i], json_array_get(j, i))) return false;
        return true;
    case JSON_STRING:
        return v->kind == MR_VALUE_TEXT && v->n == json_string_length(j) &&
               memcmp(v->as.text, json_string_value(j), v->n) == 0 && v->as.text[v->n] == '\0';
    case JSON_INTEGER:
        return v->kind == MR_VALUE_INT && v->as.integer == json_integer_value(j);
    case JSON_REAL: {
        const double want = json_real_value(j);
        return v->kind == MR_VALUE_REAL && memcmp(&v->as.real, &want, sizeof want) == 0;
    }
    case JSON_TRUE:
    case JSON_FALSE:
        return v->kind == MR_VALUE_BOOL && v->as.boolean == json_is_true(j);
    default:
        return v->kind == MR_VALUE_NULL;
    }
}

/* bytes must be in a buffer of exactly n, so that a sanitizer sees a read behind it. */
static void compare(const char *bytes, size_t n) {
    mr_codec_error why;
    mr_arena arena;
    mr_value v;

    mr_arena_init(&arena, 0);
    mr_reader r = {.arena = &arena, .why = &why, .max_values = 1 << 20};
    json_t *want = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const mr_status st = mr_json_read(&r, bytes, n, &v);
    if ((st == MR_OK) != (want != NULL))
        fail_msg("%s by us (%s): %.*s", st == MR_OK ? "accepted" : "refused",
                 st == MR_OK ? "" : why.message, (int)n, bytes);
    if (want && !is_equal(&v, want)) fail_msg("read differently: %.*s", (int)n, bytes);
    json_decref(want);
    mr_arena_drop(&arena);
}

static void compare_copy(const char *bytes, size_t n) {
    char *exact = malloc(n + 1);
    memcpy(exact, bytes, n);
    exact = realloc(exact, n ? n : 1);
    compare(exact, n);
    free(exact);
}

/* A table; clang-format would spread it. */
/* clang-format off */
static const char *const texts[] = {
    "{}", "[]", " \t\r\n{ } ", "[ ]", "[[],{},[{}]]", "{\"a\":{\"b\":[1,2,{\"c\":null}]}}",
    "[true,false,null]", "[tru]", "[truee]", "[nul", "[True]", "true", "1", "\"x\"", "", " ", "[",
    "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "[1,]", "[,1]", "[1 2]",
    "{\"a\" 1}", "{a:1}", "{\"a\":1 \"b\":2}", "{1:2}", "[1]]", "[1] x", "[1]\n", "{}{}",
    /* numbers */
    "[0,-0,1,-1,10,123456789]", "[01]", "[-]", "[-01]", "[+1]", "[.5]", "[1.]", "[1.5,-1.5,0.0,-0.0]",
    "[1e5,1E5,1e+5,1e-5,-1.25e2]", "[1e]", "[1e+]", "[1.e5]", "[0x10]", "[1a]", "[1-2]",
    "[9223372036854775807,-9223372036854775808]", "[9223372036854775808]", "[-9223372036854775809]",
    "[18446744073709551616]", "[99999999999999999999999999]", "[1e308,1e309]", "[-1e999]", "[1e-400]",
    "[0.1,0.2,0.3,0.7,1.0000001,3.141592653589793,2.2250738585072014e-308]",
    "[123456789012.345]", "[0.30000000000000004]", "[1.7976931348623157e308]", "[4.9e-324]",
    "[99999999999999.9,9007199254740993.0,0.000000000001]", "[NaN]", "[Infinity]", "[-Infinity]",
    /* texts */
    "[\"\"]", "[\"plain text of more than eight bytes\"]", "[\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\te\"]",
    "[\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"]", "[\"\\u0000\"]", "[\"x\\u0000y\"]", "[\"\\ud83d\"]",
    "[\"\\ud83dx\"]", "[\"\\ud83d\\u0041\"]", "[\"\\ude00\"]", "[\"\\uD83D\\uDE00\"]", "[\"\\u00e\"]",
    "[\"\\u00G0\"]", "[\"\\x41\"]", "[\"\\", "[\"\\\"", "[\"\\u", "[\"a", "[\"tab\there\"]",
    "[\"line\nbreak\"]", "[\"\x01\"]", "[\"\x7f\"]", "[\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"]",
    "[\"\xc3\"]", "[\"\xc0\x80\"]", "[\"\xed\xa0\x80\"]", "[\"\xf4\x90\x80\x80\"]", "[\"\xff\"]",
    ("[\"1234567\xc3\xa9" "12345678\"]"), "[\"1234567\\n12345678\\\"\"]", "[\"\\u10ffff\"]",
    "{\"\\u0061\":1,\"a\":2}", "{\"a\":1,\"b\":2,\"a\":3}", "{\"\":1}", "{\"a\\u0000\":1}",
    "{\"a\":1,\"aa\":2,\"aaa\":3,\"A\":4}", "\xef\xbb\xbf{}", "['x']", "[1,/* */2]",
};
/* clang-format on */

TEST(texts_at_the_edges) {
    for (size_t i = 0; i < MR_COUNT(texts); i++) compare_copy(texts[i], strlen(texts[i]));
    compare_copy("[\"a\0b\"]", 7); /* elsewhere jansson takes a zero byte for a blank */
}

TEST(every_beginning) {
    for (size_t i = 0; i < MR_COUNT(texts); i++)
        for (size_t n = 0; n < strlen(texts[i]); n++) compare_copy(texts[i], n);
}

/* One to four bytes are replaced, put in or taken out; the bytes are those that matter in JSON. */
TEST(mutations) {
    static const char bytes[] = "{}[]:,\"\\ue0123456789aA.+-tfn \n\x01\x1f\x7f\x80\xc3\xe2\xf0\xff";
    uint32_t random = 1;
    char buf[256];

    for (int round = 0; round < 300000; round++) {
        const char *from = texts[(random >> 8) % MR_COUNT(texts)];
        size_t n = strlen(from);
        memcpy(buf, from, n);
        for (uint32_t k = (random >> 4) % 4 + 1; k > 0; k--) {
            random = random * 1664525u + 1013904223u;
            const size_t at = n ? (random >> 12) % n : 0;
            const char byte = bytes[(random >> 7) % (sizeof bytes - 1)];
            if ((random >> 29) == 0 && n > 0) {
                memmove(buf + at, buf + at + 1, --n - at);
            } else if ((random >> 29) < 4 && n < sizeof buf - 1) {
                memmove(buf + at + 1, buf + at, n++ - at);
                buf[at] = byte;
            } else if (n > 0) {
                buf[at] = byte;
            }
        }
        random = random * 1664525u + 1013904223u;
        compare_copy(buf, n);
    }
}

/* The stack begins in place and goes on in memory of its own; nothing is lost on the way. */
TEST(many_members_and_items) {
    static char text[1 << 16];
    size_t n = 0;

    n += (size_t)sprintf(text + n, "{");
    for (int i = 0; i < 200; i++)
        n += (size_t)sprintf(text + n, "%s\"k%d\":[%d,{\"x\":[%d,%d,%d]}]", i ? "," : "", i, i, i,
                             i, i);
    n += (size_t)sprintf(text + n, ",\"list\":[0");
    for (int i = 1; i < 3000; i++) n += (size_t)sprintf(text + n, ",%d", i);
    n += (size_t)sprintf(text + n, "]}");
    compare_copy(text, n);
}

/* What a text may hold as it is: compared byte by byte. */
TEST(plain_stretches) {
    char s[40];

    for (int byte = 0; byte < 256; byte++)
        for (size_t at = 0; at < sizeof s; at++) {
            memset(s, 'x', sizeof s);
            s[at] = (char)byte;
            const bool plain = byte >= 0x20 && byte != '"' && byte != '\\';
            CHECK_I64(mr_json_plain(s, sizeof s), plain ? sizeof s : at);
            const bool ascii = byte < 0x80;
            CHECK_I64(mr_utf8_check(s, sizeof s), ascii ? sizeof s : at);
        }
}

MR_TEST_MAIN
