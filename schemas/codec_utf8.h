/* codec_utf8.h - is this text well-formed UTF-8, and how to show a piece of it on one line. Pure.
 */
#ifndef MR_SCHEMAS_CODEC_UTF8_H
#define MR_SCHEMAS_CODEC_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes (1..4) of the well-formed character at s[0..n), n > 0. 0: ill-formed or cut off. */
size_t mr_utf8_char(const char *s, size_t n);
/* Offset of the first byte that is not part of a well-formed character; n when there is none. */
size_t mr_utf8_check(const char *s, size_t n);
/* At most cap - 1 bytes of s[0..n), whole characters only; what cannot be shown on a line becomes
 * '?'. Always terminated; cap > 0. Returns the bytes written. */
size_t mr_utf8_excerpt(char *dst, size_t cap, const char *s, size_t n);

#endif
