/* log.c - building one line and writing it with one write(2).
 *
 * The pairs are formatted first and then taken apart again, so that every value passes through the
 * same escaping and both forms (logfmt, JSON) come from one call. Between two \x01 stands a value
 * that may hold anything. A value that brings a \x01 of its own could forge further pairs; the
 * number of marks in the format gives it away, and then (or when the text is longer than a line)
 * everything is logged as one quoted value.
 *
 * Limits: LINE_BYTES bytes a line, VALUE_BYTES a value. A longer value is cut between characters; a
 * pair that does not fit any more is left out, so that a JSON line is whole whatever happens.
 * Any thread: the line is on the stack, and the settings are atomic. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES  4096
#define VALUE_BYTES 1024
#define MARK        '\x01'

static const char *const names[] = {"error", "warn", "info", "debug"}; /* by mr_log_level */

static atomic_int max_level = MR_LOG_INFO;
static atomic_bool as_json;

typedef struct line {
    bool json;
    bool full; /* the last append did not fit */
    size_t len;
    char text[LINE_BYTES];
} line;

void mr_log_setup(const char *name, bool json) {
    int level = MR_LOG_INFO;

    for (int i = MR_LOG_ERROR; i <= MR_LOG_DEBUG; i++)
        if (strcmp(name, names[i]) == 0) level = i;
    atomic_store_explicit(&max_level, level, memory_order_relaxed);
    atomic_store_explicit(&as_json, json, memory_order_relaxed);
}

bool mr_log_on(mr_log_level level) {
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

static void put(line *l, const char *s, size_t n) {
    const size_t reserved = 2; /* '}' and the newline always fit */
    if (l->full || n > sizeof l->text - reserved - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static void put_text(line *l, const char *s) {
    put(l, s, strlen(s));
}

/* Bytes of the well-formed UTF-8 character at s (Unicode 15, table 3-7), 0: there is none. */
static size_t utf8_len(const unsigned char *s, size_t n) {
    if (s[0] < 0x80) return 1;
    const size_t len = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (s[0] == 0xE0 && s[1] < 0xA0) return 0;
    if (s[0] == 0xED && s[1] > 0x9F) return 0;
    if (s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (s[0] == 0xF4 && s[1] > 0x8F) return 0;
    return len;
}

/* The same escapes serve both forms: logfmt readers unquote as JSON does. */
static void put_quoted(line *l, const char *s, size_t n) {
    const unsigned char *u = (const unsigned char *)s;
    const size_t start = l->len;
    put(l, "\"", 1);
    for (size_t i = 0; i < n && !l->full;) {
        if (l->len - start > VALUE_BYTES) {
            put_text(l, "...");
            break;
        }
        const size_t len = utf8_len(u + i, n - i);
        char escape[8];
        if (len == 0) {
            put_text(l, "\xEF\xBF\xBD"); /* U+FFFD */
        } else if (u[i] == '"' || u[i] == '\\') {
            put(l, u[i] == '"' ? "\\\"" : "\\\\", 2);
        } else if (u[i] == '\n') {
            put(l, "\\n", 2);
        } else if (u[i] < 0x20 || u[i] == 0x7F) {
            snprintf(escape, sizeof escape, "\\u%04x", u[i]);
            put_text(l, escape);
        } else {
            put(l, s + i, len);
        }
        i += len ? len : 1;
    }
    put(l, "\"", 1);
}

/* A number as JSON writes it, so that it needs no quotes in either form. */
static bool is_number(const char *s, size_t n) {
    size_t i = n > 0 && s[0] == '-';
    const size_t first = i;
    while (i < n && s[i] >= '0' && s[i] <= '9') i++;
    const size_t digits = i - first;
    if (digits == 0 || digits > 19 || (digits > 1 && s[first] == '0')) return false;
    if (i == n) return true;
    if (s[i++] != '.') return false;
    const size_t point = i;
    while (i < n && s[i] >= '0' && s[i] <= '9') i++;
    return i == n && i > point;
}

/* Letters that logfmt takes bare. */
static bool is_plain(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '=' || s[i] == '\\') return false;
    return n > 0 && n <= VALUE_BYTES;
}

static void put_pair(line *l, const char *key, size_t key_len, const char *value, size_t n) {
    const size_t before = l->len;
    if (l->json) {
        put(l, l->len == 0 ? "{" : ",", 1);
        put_quoted(l, key, key_len);
        put(l, ":", 1);
    } else {
        if (l->len) put(l, " ", 1);
        put(l, key, key_len);
        put(l, "=", 1);
    }
    if (l->json ? is_number(value, n) : is_plain(value, n))
        put(l, value, n);
    else
        put_quoted(l, value, n);
    if (l->full) { /* leave the pair out; a shorter one may still fit */
        l->len = before;
        l->full = false;
    }
}

static void put_fact(line *l, const char *key, const char *value) {
    put_pair(l, key, strlen(key), value, strlen(value));
}

static void put_time(line *l) {
    struct timespec t;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);

    char day[32], text[48];
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%03dZ", day, (int)(t.tv_nsec / 1000000));
    put_fact(l, "ts", text);
}

static size_t count_marks(const char *s) {
    size_t n = 0;
    for (; *s; s++) n += *s == MARK;
    return n;
}

/* "a=1 b=\x01two words\x01" into its pairs. */
static void put_pairs(line *l, const char *s) {
    for (;;) {
        s += strspn(s, " ");
        if (*s == 0) return;
        const size_t key_len = strcspn(s, "= ");
        if (s[key_len] != '=') { /* a word without a value */
            put_pair(l, "text", 4, s, key_len);
            s += key_len;
            continue;
        }
        const char *value = s + key_len + 1;
        const char until[2] = {*value == MARK ? MARK : ' ', 0};
        value += *value == MARK;
        const size_t n = strcspn(value, until);
        put_pair(l, s, key_len, value, n);
        s = value + n;
        s += *s == MARK;
    }
}

static void write_line(const char *text, size_t n) {
    const int saved = errno; /* a log line must not disturb who reports errno next */
    while (write(STDERR_FILENO, text, n) < 0 && errno == EINTR) {
    }
    errno = saved;
}

void mr_log(mr_log_level level, const char *mod, const char *msg, const char *pairs, ...) {
    if (!mr_log_on(level)) return;

    line l;
    l.json = atomic_load_explicit(&as_json, memory_order_relaxed);
    l.full = false;
    l.len = 0;
    put_time(&l);
    put_fact(&l, "level", names[level]);
    put_fact(&l, "mod", mod);
    put_fact(&l, "msg", msg);
    if (pairs) {
        char text[LINE_BYTES];
        va_list args;
        va_start(args, pairs);
        const int n = vsnprintf(text, sizeof text, pairs, args);
        va_end(args);
        if (n > 0 && n < (int)sizeof text && count_marks(text) == count_marks(pairs))
            put_pairs(&l, text);
        else if (n > 0)
            put_fact(&l, "pairs", text);
    }
    if (l.json) l.text[l.len++] = '}';
    l.text[l.len++] = '\n';
    write_line(l.text, l.len);
}
