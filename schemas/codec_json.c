/* codec_json.c - see codec_json.h. One pass from bytes to values.
 *
 * JSON does not say how many members a map will have. So what the maps and lists that are open hold
 * so far stands on one stack, and moves into the arena when its own closes: a tree takes no more
 * memory than it needs, and the stack at most max_values of it. Most records fit the part of the
 * stack that needs no malloc. Texts are looked at eight bytes at a time: they are most of a job.
 *
 * An error names the path and the byte, and never quotes the record: prompt text must not get into
 * logs. The recursion is MR_CODEC_MAX_DEPTH deep at most. */
#include "schemas/codec_json.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "schemas/codec_utf8.h"

#define STACK_FIRST  64
#define EXACT_DIGITS 15 /* as many make a whole number that a double holds exactly, as 10^15 is */

typedef struct json {
    mr_reader *r;
    const char *start, *p, *end;
    size_t n_values;
    mr_member *stack; /* first, or from malloc; keys are NULL in lists */
    size_t n, cap;
    mr_member first[STACK_FIRST];
} json;

/* ---- errors ---- */

static mr_status fail_at(json *j, const mr_path *at, const char *code, const char *what,
                         const char *where) {
    return mr_reader_fail(j->r, at, code, "%s at byte %zu", what, (size_t)(where - j->start));
}

/* What stands at p, or that nothing does any more. */
static mr_status not_json(json *j, const mr_path *at) {
    return fail_at(j, at, "malformed", j->p == j->end ? "cut off" : "is not JSON", j->p);
}

/* ---- texts ---- */

#define EACH(byte) (0x0101010101010101u * (byte)) /* in all eight bytes */

/* Some byte of the word is below 0x20, a quote or a backslash. */
static bool has_special(uint64_t word) {
    const uint64_t quote = word ^ EACH('"'), slash = word ^ EACH('\\');

    return (((word - EACH(0x20)) & ~word) | ((quote - EACH(1)) & ~quote) |
            ((slash - EACH(1)) & ~slash)) &
           EACH(0x80);
}

size_t mr_json_plain(const char *s, size_t n) {
    size_t i = 0;

    for (uint64_t word; i + sizeof word <= n; i += sizeof word) {
        memcpy(&word, s + i, sizeof word);
        if (has_special(word)) break;
    }
    while (i < n && (unsigned char)s[i] >= 0x20 && s[i] != '"' && s[i] != '\\') i++;
    return i;
}

/* The text whose opening quote is passed, as it is written; p moves behind its end. */
static mr_status find_text(json *j, const mr_path *at, const char **text, size_t *n) {
    *text = j->p;
    while ((j->p += mr_json_plain(j->p, (size_t)(j->end - j->p))) < j->end && *j->p == '\\')
        j->p += j->end - j->p > 1 ? 2 : 1;
    if (j->p == j->end || *j->p != '"') return not_json(j, at);
    *n = (size_t)(j->p++ - *text);
    const size_t good = mr_utf8_check(*text, *n);
    if (good == *n) return MR_OK;
    return fail_at(j, at, "malformed", "text is not UTF-8", *text + good);
}

/* Four hex digits at s; -1: they are not. */
static long hex4(const char *s, const char *end) {
    long x = 0;

    if (end - s < 4) return -1;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *at = s[i] ? strchr(digits, s[i] | 0x20) : NULL;
        if (!at || (s[i] < '0')) return -1;
        x = x << 4 | (at - digits);
    }
    return x;
}

static char *put_utf8(char *to, unsigned long c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* "\uXXXX" or two of them for one character; *s is behind the u, and moves on. NULL: neither. */
static char *put_unicode(char *to, const char **s, const char *end) {
    const long high = hex4(*s, end);

    *s += 4;
    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff)) return NULL;
    if (high < 0xd800 || high > 0xdbff) return put_utf8(to, (unsigned long)high);
    if (end - *s < 6 || (*s)[0] != '\\' || (*s)[1] != 'u') return NULL;
    const long low = hex4(*s + 2, end);
    *s += 6;
    if (low < 0xdc00 || low > 0xdfff) return NULL;
    return put_utf8(to, 0x10000ul + (((unsigned long)high - 0xd800) << 10) +
                            ((unsigned long)low - 0xdc00));
}

/* text[n] without its escapes, which only makes it shorter. The end, or NULL: a wrong escape. */
static char *unescape(char *to, const char *text, size_t n) {
    static const char named[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *s = text, *end = text + n;

    while (to) {
        const size_t plain = mr_json_plain(s, (size_t)(end - s));
        memcpy(to, s, plain);
        to += plain;
        s += plain;
        if (s == end) break;
        const char c = s[1]; /* find_text has seen that a backslash is never the last */
        s += 2;
        const char *at = c ? strchr(named, c) : NULL;
        if (c == 'u')
            to = put_unicode(to, &s, end);
        else if (at)
            *to++ = meant[at - named];
        else
            to = NULL;
    }
    return to;
}

static mr_status copy_text(json *j, const mr_path *at, const char *text, size_t n, const char **out,
                           size_t *len) {
    char *copy = mr_arena_alloc(j->r->arena, n + 1);

    if (!copy) return mr_reader_no_memory(j->r, at);
    char *end = unescape(copy, text, n);
    if (!end) return fail_at(j, at, "malformed", "is not JSON", text);
    *end = '\0';
    *out = copy;
    *len = (size_t)(end - copy);
    return MR_OK;
}

static mr_status read_text(json *j, const mr_path *at, mr_value *out) {
    const char *text;
    size_t n, len;

    j->p++;
    mr_status st = find_text(j, at, &text, &n);
    if (st != MR_OK) return st;
    *out = (mr_value){.kind = MR_VALUE_TEXT};
    st = copy_text(j, at, text, n, &out->as.text, &len);
    out->n = (uint32_t)len;
    return st;
}

/* ---- numbers ---- */

static bool skip_digits(json *j) {
    const char *from = j->p;

    while (j->p < j->end && *j->p >= '0' && *j->p <= '9') j->p++;
    return j->p > from;
}

static bool skip_one(json *j, char a, char b) {
    if (j->p == j->end || (*j->p != a && *j->p != b)) return false;
    j->p++;
    return true;
}

static mr_status too_large(json *j, const mr_path *at) {
    return fail_at(j, at, "out_of_range", "is a number that neither 64 bits nor a double can hold",
                   j->p);
}

static mr_status make_integer(json *j, const mr_path *at, const char *s, mr_value *out) {
    const bool minus = *s == '-';
    uint64_t x = 0;

    for (s += minus; s < j->p; s++) {
        const uint64_t digit = (uint64_t)(*s - '0');
        if (x > (UINT64_MAX - digit) / 10) return too_large(j, at);
        x = x * 10 + digit;
    }
    if (x > (uint64_t)INT64_MAX + minus) return too_large(j, at);
    *out = (mr_value){.kind = MR_VALUE_INT, .as.integer = (int64_t)(minus ? 0 - x : x)};
    return MR_OK;
}

/* -123.45 without an exponent, short enough to be exact: both parts of the quotient are, so its
 * rounding is the only one. */
static bool make_short_real(const char *s, const char *end, double *out) {
    static const double power[EXACT_DIGITS + 1] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const bool minus = *s == '-';
    uint64_t digits = 0;
    size_t n = 0, behind = 0;

    s += minus;
    if (end - s > EXACT_DIGITS) return false;
    for (; s < end && *s != 'e' && *s != 'E'; s++) {
        if (*s == '.') {
            behind = n;
            continue;
        }
        digits = digits * 10 + (uint64_t)(*s - '0');
        n++;
    }
    if (s < end) return false;
    const double x = (double)digits / power[n - behind];
    *out = minus ? -x : x;
    return true;
}

/* The host of libmillrace may have set a locale with a decimal comma. */
static mr_status make_real(json *j, const mr_path *at, const char *s, mr_value *out) {
    double x;

    if (!make_short_real(s, j->p, &x)) {
        char *copy = mr_arena_copy(j->r->arena, s, (size_t)(j->p - s));
        if (!copy) return mr_reader_no_memory(j->r, at);
        char *point = strchr(copy, '.');
        if (point) *point = *localeconv()->decimal_point;
        errno = 0;
        x = strtod(copy, NULL);
        if (errno == ERANGE && (x > 1 || x < -1)) return too_large(j, at);
    }
    *out = (mr_value){.kind = MR_VALUE_REAL, .as.real = x};
    return MR_OK;
}

static mr_status read_number(json *j, const mr_path *at, mr_value *out) {
    const char *from = j->p;
    bool whole = true;

    (void)skip_one(j, '-', '-');
    if (!skip_one(j, '0', '0') && !skip_digits(j)) return not_json(j, at);
    if (skip_one(j, '.', '.')) {
        whole = false;
        if (!skip_digits(j)) return not_json(j, at);
    }
    if (skip_one(j, 'e', 'E')) {
        whole = false;
        (void)skip_one(j, '+', '-');
        if (!skip_digits(j)) return not_json(j, at);
    }
    return whole ? make_integer(j, at, from, out) : make_real(j, at, from, out);
}

/* ---- values ---- */

static mr_status read_value(json *j, const mr_path *at, unsigned depth, mr_value *out);

static void skip_blanks(json *j) {
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t'))
        j->p++;
}

static mr_status push(json *j, const mr_path *at, const char *key, const mr_value *v) {
    if (j->n == j->cap) {
        mr_member *grown = j->stack == j->first ? NULL : j->stack;
        grown = realloc(grown, 2 * j->cap * sizeof *grown);
        if (!grown) return mr_reader_no_memory(j->r, at);
        if (j->stack == j->first) memcpy(grown, j->first, sizeof j->first);
        j->stack = grown;
        j->cap *= 2;
    }
    j->stack[j->n++] = (mr_member){key, *v};
    return MR_OK;
}

/* A comma was passed: true. Else the end should stand here. */
static bool goes_on(json *j) {
    skip_blanks(j);
    return skip_one(j, ',', ',');
}

static mr_status close_list(json *j, const mr_path *at, size_t base, mr_value *out) {
    const size_t n = j->n - base;
    mr_value *items = mr_arena_calloc(j->r->arena, n, sizeof *items);

    if (!items) return mr_reader_no_memory(j->r, at);
    for (size_t i = 0; i < n; i++) items[i] = j->stack[base + i].value;
    j->n = base;
    *out = (mr_value){.kind = MR_VALUE_LIST, .n = (uint32_t)n, .as.items = items};
    return MR_OK;
}

static mr_status read_list(json *j, const mr_path *at, unsigned depth, mr_value *out) {
    const size_t base = j->n;
    mr_path here = {at, NULL, 0};
    mr_value item;

    j->p++;
    skip_blanks(j);
    if (skip_one(j, ']', ']')) return close_list(j, at, base, out);
    for (;; here.n++) {
        mr_status st = read_value(j, &here, depth, &item);
        if (st == MR_OK) st = push(j, &here, NULL, &item);
        if (st != MR_OK) return st;
        if (goes_on(j)) continue;
        if (skip_one(j, ']', ']')) return close_list(j, at, base, out);
        return not_json(j, &here);
    }
}

static mr_status close_map(json *j, const mr_path *at, size_t base, mr_value *out) {
    const size_t n = j->n - base;

    if (n > MR_CODEC_MAX_MEMBERS)
        return mr_reader_fail(j->r, at, "too_many", "%zu members, at most %d", n,
                              MR_CODEC_MAX_MEMBERS);
    mr_member *members = mr_arena_calloc(j->r->arena, n, sizeof *members);
    if (!members) return mr_reader_no_memory(j->r, at);
    if (n) memcpy(members, j->stack + base, n * sizeof *members);
    j->n = base;
    *out = (mr_value){.kind = MR_VALUE_MAP, .n = (uint32_t)n, .as.members = members};
    return MR_OK;
}

/* here: the path of the member, its key as it is written. */
static mr_status read_key(json *j, const mr_path *at, size_t base, mr_path *here,
                          const char **key) {
    size_t len;

    skip_blanks(j);
    if (!skip_one(j, '"', '"')) return not_json(j, here->key ? here : at);
    mr_status st = find_text(j, at, &here->key, &here->n);
    if (st == MR_OK) st = copy_text(j, here, here->key, here->n, key, &len);
    if (st != MR_OK) return st;
    if (strlen(*key) != len) return fail_at(j, here, "malformed", "a key holds a zero byte", j->p);
    for (size_t i = base; i < j->n && j->n - base <= MR_CODEC_MAX_MEMBERS; i++)
        if (j->stack[i].key[0] == **key && strcmp(j->stack[i].key, *key) == 0)
            return fail_at(j, here, "duplicate_field", "is there twice", j->p);
    skip_blanks(j);
    return skip_one(j, ':', ':') ? MR_OK : not_json(j, here);
}

static mr_status read_map(json *j, const mr_path *at, unsigned depth, mr_value *out) {
    const size_t base = j->n;
    mr_path here = {at, NULL, 0};
    mr_value value;
    const char *key;

    j->p++;
    skip_blanks(j);
    if (skip_one(j, '}', '}')) return close_map(j, at, base, out);
    for (;;) {
        mr_status st = read_key(j, at, base, &here, &key);
        if (st == MR_OK) st = read_value(j, &here, depth, &value);
        if (st == MR_OK) st = push(j, &here, key, &value);
        if (st != MR_OK) return st;
        if (goes_on(j)) continue;
        if (skip_one(j, '}', '}')) return close_map(j, at, base, out);
        return not_json(j, &here);
    }
}

static mr_status read_word(json *j, const mr_path *at, const char *word, mr_value what,
                           mr_value *out) {
    const size_t n = strlen(word), left = (size_t)(j->end - j->p);
    const size_t seen = left < n ? left : n;

    if (memcmp(j->p, word, seen) != 0) return not_json(j, at);
    j->p += seen;
    *out = what;
    return seen == n ? MR_OK : not_json(j, at);
}

static mr_status read_value(json *j, const mr_path *at, unsigned depth, mr_value *out) {
    skip_blanks(j);
    if (j->p == j->end) return not_json(j, at);
    if (++j->n_values > j->r->max_values)
        return mr_reader_fail(j->r, at, "too_many", "more than %zu values in one record",
                              j->r->max_values);
    switch (*j->p) {
    case '{':
    case '[':
        if (depth == MR_CODEC_MAX_DEPTH)
            return mr_reader_fail(j->r, at, "malformed", "nested deeper than %d",
                                  MR_CODEC_MAX_DEPTH);
        return *j->p == '{' ? read_map(j, at, depth + 1, out) : read_list(j, at, depth + 1, out);
    case '"':
        return read_text(j, at, out);
    case 't':
        return read_word(j, at, "true", (mr_value){.kind = MR_VALUE_BOOL, .as.boolean = true}, out);
    case 'f':
        return read_word(j, at, "false", (mr_value){.kind = MR_VALUE_BOOL}, out);
    case 'n':
        return read_word(j, at, "null", (mr_value){.kind = MR_VALUE_NULL}, out);
    default:
        return read_number(j, at, out);
    }
}

mr_status mr_json_read(mr_reader *r, const char *bytes, size_t n, mr_value *out) {
    json j = {.r = r, .start = bytes, .p = bytes, .end = bytes + n, .cap = STACK_FIRST};
    mr_status st;

    if (!n) return mr_reader_fail(r, NULL, "malformed", "the record is empty");
    j.stack = j.first;
    skip_blanks(&j);
    if (j.p < j.end && *j.p != '{' && *j.p != '[')
        st = not_json(&j, NULL);
    else
        st = read_value(&j, NULL, 0, out);
    skip_blanks(&j);
    if (st == MR_OK && j.p < j.end)
        st = fail_at(&j, NULL, "malformed", "something follows the record", j.p);
    if (j.stack != j.first) free(j.stack);
    return st;
}
