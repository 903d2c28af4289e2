/* when.h - points in time as people write and read them. Pure; now_ms is an argument. */
#ifndef MR_CLI_WHEN_H
#define MR_CLI_WHEN_H

#include <stdbool.h>
#include <stdint.h>

#define MR_CLI_WHEN_LEN 24 /* "2026-01-02T03:04:05Z" and its end */

/* RFC 3339 ("2026-01-02T03:04:05Z", with a fraction or another offset), or a time from now: "+90s",
 * "+10m", "+2h", "+1d". False: neither, or before 1970. Wall clock. */
bool mr_cli_when(const char *text, uint64_t now_ms, uint64_t *out_ms);
/* UTC, in seconds. */
void mr_cli_when_text(char out[MR_CLI_WHEN_LEN], uint64_t ms);

#endif
