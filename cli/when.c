/* when.c - see when.h. Source: RFC 3339, section 5.6; leap seconds are refused. */
#include "cli/when.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_SPAN_DIGITS 9 /* before the point */

static const struct {
    char letter;
    uint64_t ms;
} units[] = {{'d', 86400000}, {'h', 3600000}, {'m', 60000}, {'s', 1000}};
enum { N_UNITS = sizeof units / sizeof *units };

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

/* ".5", ".123456": thousandths, what is finer is dropped. */
static bool fraction(const char **p, int *thousandths) {
    int weight = 100;

    *thousandths = 0;
    if (**p != '.') return true;
    if (*++*p < '0' || **p > '9') return false;
    for (; **p >= '0' && **p <= '9'; (*p)++, weight /= 10) *thousandths += (**p - '0') * weight;
    return true;
}

bool mr_cli_span(const char *text, uint64_t *out_ms) {
    const char *p = text;
    int digit, thousandths;
    uint64_t amount = 0;

    while (p - text < MAX_SPAN_DIGITS && number(&p, 1, &digit))
        amount = amount * 10 + (uint64_t)digit;
    if (p == text || !fraction(&p, &thousandths)) return false;
    const char letter = *p ? *p++ : 's';
    for (size_t i = 0; i < N_UNITS && !*p; i++) {
        if (letter != units[i].letter) continue;
        *out_ms = amount * units[i].ms + (uint64_t)thousandths * units[i].ms / 1000;
        return true;
    }
    return false;
}

void mr_cli_span_text(char out[MR_CLI_SPAN_LEN], uint64_t ms) {
    size_t i = 0;

    while (i + 1 < N_UNITS && ms < units[i].ms) i++;
    snprintf(out, MR_CLI_SPAN_LEN, "%g%c", (double)ms / (double)units[i].ms, units[i].letter);
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
    if (text[0] != '+') return point(text, out_ms);
    if (!mr_cli_span(text + 1, out_ms)) return false;
    *out_ms += now_ms;
    return true;
}

void mr_cli_when_text(char out[MR_CLI_WHEN_LEN], uint64_t ms) {
    const time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || !strftime(out, MR_CLI_WHEN_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(out, MR_CLI_WHEN_LEN, "-");
}
