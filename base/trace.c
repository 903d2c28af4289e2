/* trace.c - see trace.h.
 *
 * A traceparent is 00-<32 digits>-<16 digits>-<2 digits>, lower case. Ids of all zeros are invalid,
 * and so is version ff. A later version has these four first, and behind them nothing or a dash.
 *
 * tracestate is a list of at most 32 entries name=value; its content is other people's, and only
 * its characters and its shape are looked at. Too long a list loses entries from its end, which
 * are the oldest. */
#include "base/trace.h"

#include <string.h>

#include "base/siphash.h"
#include "base/uuid.h"
#include "millrace/error.h"

enum {
    AT_TRACE = 3,
    AT_PARENT = 36,
    AT_FLAGS = 53,
    STATE_ENTRIES = 32,
    NAME_MAX_BYTES = 1024,
    RATIO_DIGITS = 20
};

/* ---- digits ---- */

static int digit(char c, bool upper) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return upper && c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex(uint8_t *out, size_t n, const char *text) {
    for (size_t i = 0; i < n; i++) {
        const int hi = digit(text[2 * i], false), lo = digit(text[2 * i + 1], false);
        if (hi < 0 || lo < 0) return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void mr_trace_hex(char *out, const uint8_t *bytes, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

static bool is_zero(const uint8_t *bytes, size_t n) {
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) any |= bytes[i];
    return any == 0;
}

/* ---- traceparent ---- */

bool mr_trace_read(mr_trace_context *out, const void *text, size_t len) {
    const char *s = text;
    uint8_t version;

    if (!s || len < MR_TRACE_TEXT || len > MR_TRACE_MAX || !read_hex(&version, 1, s)) return false;
    if (version == 0xff || (version == 0 && len != MR_TRACE_TEXT)) return false;
    if (len > MR_TRACE_TEXT && s[MR_TRACE_TEXT] != '-') return false;
    if (s[AT_TRACE - 1] != '-' || s[AT_PARENT - 1] != '-' || s[AT_FLAGS - 1] != '-') return false;
    if (!read_hex(out->trace_id, MR_TRACE_ID, s + AT_TRACE) ||
        !read_hex(out->parent_id, MR_SPAN_ID, s + AT_PARENT) ||
        !read_hex(&out->flags, 1, s + AT_FLAGS))
        return false;
    return !is_zero(out->trace_id, MR_TRACE_ID) && !is_zero(out->parent_id, MR_SPAN_ID);
}

void mr_trace_write(char out[MR_TRACE_TEXT + 1], const mr_trace_context *t) {
    memcpy(out, "00-", 3);
    mr_trace_hex(out + AT_TRACE, t->trace_id, MR_TRACE_ID);
    out[AT_PARENT - 1] = '-';
    mr_trace_hex(out + AT_PARENT, t->parent_id, MR_SPAN_ID);
    out[AT_FLAGS - 1] = '-';
    mr_trace_hex(out + AT_FLAGS, &t->flags, 1);
}

/* ---- tracestate ---- */

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("_-*/@", c));
}

/* One entry; of nothing but blanks it is allowed. */
static bool entry_ok(const char *s, const char *end) {
    while (s < end && (*s == ' ' || *s == '\t')) s++;
    while (s < end && (end[-1] == ' ' || end[-1] == '\t')) end--;
    const char *equals = memchr(s, '=', (size_t)(end - s));
    if (s == end) return true;
    if (!equals || equals == s) return false;
    for (; s < equals; s++)
        if (!is_name_char(*s)) return false;
    for (s++; s < end; s++)
        if (*s < 0x20 || *s > 0x7e || *s == '=') return false;
    return true;
}

size_t mr_trace_state_fit(const void *text, size_t len) {
    const char *s = text;
    size_t at = 0, fits = 0;

    if (!s) return 0;
    for (int n = 0; at < len; n++) {
        const char *comma = memchr(s + at, ',', len - at);
        const size_t end = comma ? (size_t)(comma - s) : len;
        if (end > MR_TRACE_STATE || n == STATE_ENTRIES) return fits;
        if (!entry_ok(s + at, s + end)) return 0;
        if (memchr(s + at, '=', end - at)) fits = end; /* else it says nothing */
        at = end + 1;
    }
    return fits;
}

/* ---- ids ---- */

void mr_trace_span_id(uint8_t out[MR_SPAN_ID], const mr_trace_context *t, const char *name) {
    const mr_digest d = mr_siphash(t->trace_id, name, strnlen(name, NAME_MAX_BYTES));

    for (size_t i = 0; i < MR_SPAN_ID; i++) out[i] = (uint8_t)(d.lo >> (8 * i));
    if (is_zero(out, MR_SPAN_ID)) out[0] = 1;
}

void mr_trace_job_span(uint8_t out[MR_SPAN_ID], const mr_trace_context *t, const char *job_id) {
    mr_trace_span_id(out, t, job_id);
}

static bool read_uuid(uint8_t out[MR_TRACE_ID], const char *text) {
    size_t n = 0;

    if (!mr_uuid_valid(text, strlen(text))) return false;
    for (const char *c = text; *c; c++) {
        if (*c == '-') continue;
        const int d = digit(*c, true);
        out[n / 2] = (uint8_t)(n % 2 ? out[n / 2] | d : d << 4);
        n++;
    }
    return true;
}

bool mr_trace_make(mr_trace_context *out, const char *job_id) {
    if (!read_uuid(out->trace_id, job_id) || is_zero(out->trace_id, MR_TRACE_ID)) return false;
    out->flags = MR_TRACE_SAMPLED;
    mr_trace_job_span(out->parent_id, out, job_id);
    return true;
}

/* ---- which ---- */

bool mr_trace_chosen(const char *job_id, double ratio) {
    static const uint8_t secret[MR_SIPHASH_SECRET] = "part of jobs"; /* no secret: all must agree */

    if (ratio <= 0) return false;
    const mr_digest d = mr_siphash(secret, job_id, strlen(job_id));
    return (double)(d.lo >> 11) < ratio * 0x1p53;
}

double mr_trace_ratio(const char *text) {
    double v = 0, unit = 1;
    bool digits = false;
    const char *c = text;

    if (strlen(text) > RATIO_DIGITS) return -1;
    for (; *c >= '0' && *c <= '9'; c++, digits = true) v = v * 10 + (*c - '0');
    if (*c == '.')
        for (c++; *c >= '0' && *c <= '9'; c++, digits = true) v += (*c - '0') * (unit /= 10);
    return digits && !*c && v <= 1 ? v : -1;
}
