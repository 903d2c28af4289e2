/* codec_format.c - which of the two formats a record is in. Pure; any thread. */
#include <string.h>
#include <strings.h>

#include "schemas/codec.h"

#define MAX_TYPE 64 /* longest content type that can match, parameters cut off */

static const struct {
    const char *name;
    mr_format format;
} types[] = {
    {"application/json", MR_FORMAT_JSON},
    {"application/msgpack", MR_FORMAT_MSGPACK},
    {"application/x-msgpack", MR_FORMAT_MSGPACK},
    {"application/vnd.msgpack", MR_FORMAT_MSGPACK},
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool mr_format_of(const char *content_type, size_t len, const void *bytes, size_t n,
                  mr_format *out) {
    const char *semicolon = len ? memchr(content_type, ';', len) : NULL;

    if (semicolon) len = (size_t)(semicolon - content_type);
    while (len && is_blank(*content_type)) content_type++, len--;
    while (len && is_blank(content_type[len - 1])) len--;
    if (!len) {
        const char first = n ? *(const char *)bytes : '{';
        *out = first == '{' || is_blank(first) ? MR_FORMAT_JSON : MR_FORMAT_MSGPACK;
        return true;
    }
    for (size_t i = 0; len <= MAX_TYPE && i < MR_COUNT(types); i++)
        if (strlen(types[i].name) == len && !strncasecmp(types[i].name, content_type, len)) {
            *out = types[i].format;
            return true;
        }
    return false;
}

const char *mr_format_content_type(mr_format f) {
    return f == MR_FORMAT_JSON ? types[0].name : types[1].name;
}
