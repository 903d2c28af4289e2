/* log.h - one line per fact on stderr, logfmt or JSON.
 *
 *   ts=2026-01-02T03:04:05.678Z level=info mod=worker msg="job started" job=... part=3 off=17
 *
 * Never prompt or output text. error: a person must act; warn: it healed itself; info: life
 * cycle; debug: decisions. Any thread; a line is one write(2). */
#ifndef MR_BASE_LOG_H
#define MR_BASE_LOG_H

#include <stdbool.h>

typedef enum mr_log_level { MR_LOG_ERROR, MR_LOG_WARN, MR_LOG_INFO, MR_LOG_DEBUG } mr_log_level;

/* level: "error", "warn", "info" or "debug"; any other name counts as info. May be called again. */
void mr_log_setup(const char *level, bool json);
bool mr_log_on(mr_log_level level);

/* pairs: printf format of space-separated key=value pairs; a value that may hold blanks or quotes
 * is written as %s between two \x01 characters through MR_Q: mr_log(MR_LOG_INFO, "worker",
 * "job started", "job=%s err=" MR_Q, id, text). NULL: no pairs. msg is plain text. */
#define MR_Q "\x01%s\x01"
void mr_log(mr_log_level level, const char *mod, const char *msg, const char *pairs, ...)
    __attribute__((format(printf, 4, 5)));

#endif
