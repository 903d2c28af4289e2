/* when.c - see when.h. Source: RFC 3339, section 5.6; leap seconds are refused. */
#include "cli/when.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_AHEAD_DIGITS 9 /* of a time from now */

/* Exactly n digits; p moves on. */
static bool number(const char **p, int n, int *out) {
    *out = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (**p < '0' || **p > '9') return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

static bool sign(const char **p, char c) {
    return *(*p)++ == c;
}

static bool from_now(const char *text, uint64_t now_ms, uint64_t *out_ms) {
    static const struct {
        char letter;
        uint64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    const size_t n = strspn(text, "0123456789");
    uint64_t amount = 0;

    if (n == 0 || n > MAX_AHEAD_DIGITS || strlen(text) != n + 1) return false;
    for (size_t i = 0; i < n; i++) amount = amount * 10 + (uint64_t)(text[i] - '0');
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (text[n] != units[i].letter) continue;
        *out_ms = now_ms + amount * units[i].ms;
        return true;
    }
    return false;
}

/* ".5", ".123456": milliseconds, what is finer is dropped. */
static bool fraction(const char **p, int *ms) {
    int weight = 100;

    *ms = 0;
    if (**p != '.') return true;
    if (*++*p < '0' || **p > '9') return false;
    for (; **p >= '0' && **p <= '9'; (*p)++, weight /= 10) *ms += (**p - '0') * weight;
    return true;
}

/* "Z", "+01:00": seconds ahead of UTC. */
static bool offset(const char **p, int *seconds) {
    const bool west = **p == '-';
    int hours, minutes;

    *seconds = 0;
    if (**p == 'Z' || **p == 'z') return *++*p == '\0';
    if (**p != '+' && !west) return false;
    ++*p;
    if (!number(p, 2, &hours) || !sign(p, ':') || !number(p, 2, &minutes)) return false;
    *seconds = (west ? -60 : 60) * (hours * 60 + minutes);
    return hours < 24 && minutes < 60 && **p == '\0';
}

static bool point(const char *p, uint64_t *out_ms) {
    struct tm tm = {0};
    int year, month, ms, ahead_s;

    if (!number(&p, 4, &year) || !sign(&p, '-') || !number(&p, 2, &month) || !sign(&p, '-') ||
        !number(&p, 2, &tm.tm_mday) || (*p != 'T' && *p != 't' && *p != ' '))
        return false;
    p++;
    if (!number(&p, 2, &tm.tm_hour) || !sign(&p, ':') || !number(&p, 2, &tm.tm_min) ||
        !sign(&p, ':') || !number(&p, 2, &tm.tm_sec) || !fraction(&p, &ms) || !offset(&p, &ahead_s))
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    const struct tm given = tm;
    const time_t seconds = timegm(&tm); /* makes 32 January the first of February, and 24:00 0:00 */
    if (tm.tm_mon != given.tm_mon || tm.tm_hour != given.tm_hour || tm.tm_min != given.tm_min ||
        seconds < ahead_s)
        return false;
    *out_ms = (uint64_t)(seconds - ahead_s) * 1000 + (uint64_t)ms;
    return true;
}

bool mr_cli_when(const char *text, uint64_t now_ms, uint64_t *out_ms) {
    return text[0] == '+' ? from_now(text + 1, now_ms, out_ms) : point(text, out_ms);
}

void mr_cli_when_text(char out[MR_CLI_WHEN_LEN], uint64_t ms) {
    const time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || !strftime(out, MR_CLI_WHEN_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(out, MR_CLI_WHEN_LEN, "-");
}
