/* when.h - points in time, and spans of it, as people write and read them. Pure; now_ms is an
 * argument. */
#ifndef MR_CLI_WHEN_H
#define MR_CLI_WHEN_H

#include <stdbool.h>
#include <stdint.h>

#define MR_CLI_WHEN_LEN 24 /* "2026-01-02T03:04:05Z" and its end */
#define MR_CLI_SPAN_LEN 24

/* "90s", "10m", "1.5h", "1d", or a number of seconds. False: none of these, or over 999,999,999. */
bool mr_cli_span(const char *text, uint64_t *out_ms);
/* The same way back, in the largest unit that it fills. */
void mr_cli_span_text(char out[MR_CLI_SPAN_LEN], uint64_t ms);
/* RFC 3339 ("2026-01-02T03:04:05Z", with a fraction or another offset), or a span from now: "+90s",
 * "+10m". False: neither, or before 1970. Wall clock. */
bool mr_cli_when(const char *text, uint64_t now_ms, uint64_t *out_ms);
/* UTC, in seconds. */
void mr_cli_when_text(char out[MR_CLI_WHEN_LEN], uint64_t ms);

#endif
