/* codec_value.c - from checked bytes to a tree of values.
 *
 * msgpack is built here, straight from its items: the scan came first, so the memory that is used is
 * at most a small multiple of the record's own bytes. JSON is codec_json.c's. Pure; any thread. */
#include "schemas/codec_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "schemas/codec_json.h"
#include "schemas/codec_utf8.h"

/* ---- errors ---- */

void mr_path_text(const mr_path *at, char *buf, size_t cap) {
    size_t used;

    buf[0] = '\0';
    if (!at) return;
    mr_path_text(at->up, buf, cap);
    used = strlen(buf);
    if (!at->key) {
        snprintf(buf + used, cap - used, "[%zu]", at->n);
        return;
    }
    if (used && used + 1 < cap) buf[used++] = '.';
    mr_utf8_excerpt(buf + used, cap - used, at->key, at->n);
}

static mr_status status_of(const char *code) {
    if (!strcmp(code, "unsupported")) return MR_EUNSUPPORTED;
    if (!strcmp(code, "no_memory")) return MR_ENOMEM;
    return MR_EINVAL;
}

mr_status mr_reader_fail(mr_reader *r, const mr_path *at, const char *code, const char *fmt, ...) {
    mr_codec_error *why = r->why;
    size_t used = 0;
    va_list ap;

    mr_path_text(at, why->field, sizeof why->field);
    snprintf(why->code, sizeof why->code, "%s", code);
    if (why->field[0])
        used = (size_t)snprintf(why->message, sizeof why->message, "%s: ", why->field);
    va_start(ap, fmt);
    vsnprintf(why->message + used, sizeof why->message - used, fmt, ap);
    va_end(ap);
    return status_of(code);
}

mr_status mr_reader_no_memory(mr_reader *r, const mr_path *at) {
    if (r->arena->limit)
        return mr_reader_fail(r, at, "no_memory", "the record needs more than %zu bytes of memory",
                              r->arena->limit);
    return mr_reader_fail(r, at, "no_memory", "out of memory");
}

/* ---- msgpack ---- */

static mr_status build_item(mr_reader *r, const mr_path *at, const unsigned char **p,
                            const unsigned char *end, mr_value *out);

static mr_status check_key_is_new(mr_reader *r, const mr_path *at, const mr_member *members,
                                  uint32_t n, const mr_item *key) {
    for (uint32_t i = 0; i < n; i++)
        if (!strncmp(members[i].key, key->bytes, key->count) && !members[i].key[key->count])
            return mr_reader_fail(r, at, "duplicate_field", "is there twice");
    return MR_OK;
}

static mr_status build_map(mr_reader *r, const mr_path *at, uint32_t n, const unsigned char **p,
                           const unsigned char *end, mr_value *out) {
    mr_member *members = mr_arena_calloc(r->arena, n, sizeof *members);

    if (!members) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < n; i++) {
        mr_item key = mr_item_read(*p, (size_t)(end - *p));
        const mr_path here = {at, key.bytes, key.count};
        mr_status st = check_key_is_new(r, &here, members, i, &key);

        if (st != MR_OK) return st;
        *p += key.size;
        members[i].key = mr_arena_copy(r->arena, key.bytes, key.count);
        if (!members[i].key) return mr_reader_no_memory(r, &here);
        if ((st = build_item(r, &here, p, end, &members[i].value)) != MR_OK) return st;
    }
    *out = (mr_value){.kind = MR_VALUE_MAP, .n = n, .as.members = members};
    return MR_OK;
}

static mr_status build_list(mr_reader *r, const mr_path *at, uint32_t n, const unsigned char **p,
                            const unsigned char *end, mr_value *out) {
    mr_value *items = mr_arena_calloc(r->arena, n, sizeof *items);

    if (!items) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < n; i++) {
        const mr_path here = {at, NULL, i};
        mr_status st = build_item(r, &here, p, end, &items[i]);
        if (st != MR_OK) return st;
    }
    *out = (mr_value){.kind = MR_VALUE_LIST, .n = n, .as.items = items};
    return MR_OK;
}

static mr_status build_text(mr_reader *r, const mr_path *at, const char *s, size_t n,
                            mr_value *out) {
    const char *copy = mr_arena_copy(r->arena, s, n);

    if (!copy) return mr_reader_no_memory(r, at);
    *out = (mr_value){.kind = MR_VALUE_TEXT, .n = (uint32_t)n, .as.text = copy};
    return MR_OK;
}

static mr_status build_item(mr_reader *r, const mr_path *at, const unsigned char **p,
                            const unsigned char *end, mr_value *out) {
    mr_item it = mr_item_read(*p, (size_t)(end - *p));

    *p += it.size;
    switch (it.kind) {
    case MR_ITEM_BOOL:
        *out = (mr_value){.kind = MR_VALUE_BOOL, .as.boolean = it.boolean};
        return MR_OK;
    case MR_ITEM_INT:
        *out = (mr_value){.kind = MR_VALUE_INT, .as.integer = it.integer};
        return MR_OK;
    case MR_ITEM_REAL:
        *out = (mr_value){.kind = MR_VALUE_REAL, .as.real = it.real};
        return MR_OK;
    case MR_ITEM_STR: return build_text(r, at, it.bytes, it.count, out);
    case MR_ITEM_LIST: return build_list(r, at, it.count, p, end, out);
    case MR_ITEM_MAP: return build_map(r, at, it.count, p, end, out);
    default:
        MR_CHECK(it.kind == MR_ITEM_NIL); /* the scan has refused all others */
        *out = (mr_value){.kind = MR_VALUE_NULL};
        return MR_OK;
    }
}

mr_status mr_value_read(mr_reader *r, mr_format f, const void *bytes, size_t n, mr_value *out) {
    const unsigned char *p = bytes;
    mr_status st;

    if (f == MR_FORMAT_JSON)
        st = mr_json_read(r, bytes, n, out);
    else if ((st = mr_scan_msgpack(r, bytes, n)) == MR_OK)
        st = build_item(r, NULL, &p, p + n, out);
    if (st != MR_OK) return st;
    if (out->kind != MR_VALUE_MAP)
        return mr_reader_fail(r, NULL, "bad_type", "the record is not a map");
    return MR_OK;
}
