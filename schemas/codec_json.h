/* codec_json.h - JSON (RFC 8259): reading it into a tree of values, and what a text must escape.
 * Pure; any thread. */
#ifndef MR_SCHEMAS_CODEC_JSON_H
#define MR_SCHEMAS_CODEC_JSON_H

#include "schemas/codec_value.h"

/* Bytes at the front of s[0..n) that stand in a JSON text as they are: no quote, no backslash, no
 * control character. */
size_t mr_json_plain(const char *s, size_t n);

/* bytes[n] as one map or list, in r's arena. Refused with path and byte: what is not JSON, text
 * that is not UTF-8, what is nested deeper than MR_CODEC_MAX_DEPTH, more than r->max_values values,
 * more than MR_CODEC_MAX_MEMBERS members of a map, a key that is there twice or holds a zero byte,
 * a number that neither 64 bits nor a double can hold. Texts of values may hold zero bytes. */
mr_status mr_json_read(mr_reader *r, const char *bytes, size_t n, mr_value *out);

#endif
