/* codec_value.c - from checked bytes to a tree of values.
 *
 * msgpack is built straight from its items; JSON goes through jansson, whose tree is copied into
 * the arena and dropped. Either way the scan came first, so the memory that is used here is at most
 * a small multiple of the record's own bytes. jansson says where it stopped but not in which field;
 * the scan finds that from the offset. Its error text is not used: it quotes the record, and prompt
 * text must not get into logs. Pure; any thread. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "schemas/codec_utf8.h"
#include "schemas/codec_value.h"

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

/* ---- JSON ---- */

static mr_status copy_json(mr_reader *r, const mr_path *at, const json_t *j, mr_value *out);

static mr_status copy_object(mr_reader *r, const mr_path *at, json_t *j, mr_value *out) {
    const size_t n = json_object_size(j);
    mr_member *m, *members = NULL;
    const char *key;
    json_t *value;

    if (n > MR_CODEC_MAX_MEMBERS)
        return mr_reader_fail(r, at, "too_many", "%zu members, at most %d", n,
                              MR_CODEC_MAX_MEMBERS);
    if (!(members = mr_arena_calloc(r->arena, n, sizeof *members)))
        return mr_reader_no_memory(r, at);
    m = members;
    json_object_foreach(j, key, value) {
        const mr_path here = {at, key, strlen(key)};
        mr_status st = copy_json(r, &here, value, &m->value);

        if (st != MR_OK) return st;
        if (!(m->key = mr_arena_copy(r->arena, key, here.n))) return mr_reader_no_memory(r, &here);
        m++;
    }
    *out = (mr_value){.kind = MR_VALUE_MAP, .n = (uint32_t)n, .as.members = members};
    return MR_OK;
}

static mr_status copy_array(mr_reader *r, const mr_path *at, const json_t *j, mr_value *out) {
    const size_t n = json_array_size(j);
    mr_value *items = mr_arena_calloc(r->arena, n, sizeof *items);

    if (!items) return mr_reader_no_memory(r, at);
    for (size_t i = 0; i < n; i++) {
        const mr_path here = {at, NULL, i};
        mr_status st = copy_json(r, &here, json_array_get(j, i), &items[i]);
        if (st != MR_OK) return st;
    }
    *out = (mr_value){.kind = MR_VALUE_LIST, .n = (uint32_t)n, .as.items = items};
    return MR_OK;
}

static mr_status copy_json(mr_reader *r, const mr_path *at, const json_t *j, mr_value *out) {
    switch (json_typeof(j)) {
    case JSON_OBJECT: return copy_object(r, at, (json_t *)j, out);
    case JSON_ARRAY: return copy_array(r, at, j, out);
    case JSON_STRING: return build_text(r, at, json_string_value(j), json_string_length(j), out);
    case JSON_INTEGER:
        *out = (mr_value){.kind = MR_VALUE_INT, .as.integer = json_integer_value(j)};
        return MR_OK;
    case JSON_REAL:
        *out = (mr_value){.kind = MR_VALUE_REAL, .as.real = json_real_value(j)};
        return MR_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = (mr_value){.kind = MR_VALUE_BOOL, .as.boolean = json_is_true(j)};
        return MR_OK;
    default: *out = (mr_value){.kind = MR_VALUE_NULL}; return MR_OK;
    }
}

static mr_status fail_json(mr_reader *r, const char *bytes, size_t n, const json_error_t *e) {
    const char *code = "malformed", *what = "is not JSON";
    const size_t offset = e->position < 0 ? 0 : (size_t)e->position;
    mr_codec_error *why = r->why;

    switch (json_error_code(e)) {
    case json_error_out_of_memory: return mr_reader_no_memory(r, NULL);
    case json_error_duplicate_key:
        code = "duplicate_field";
        what = "is there twice";
        break;
    case json_error_numeric_overflow:
        code = "out_of_range";
        what = "is a number that neither 64 bits nor a double can hold";
        break;
    case json_error_premature_end_of_input: what = "cut off"; break;
    case json_error_invalid_utf8: what = "text is not UTF-8"; break;
    case json_error_null_byte_in_key: what = "a key holds a zero byte"; break;
    case json_error_end_of_input_expected: what = "something follows the record"; break;
    default: break;
    }
    mr_scan_json_path(bytes, n, offset, why->field, sizeof why->field);
    snprintf(why->code, sizeof why->code, "%s", code);
    snprintf(why->message, sizeof why->message, "%s%s%s at byte %zu", why->field,
             why->field[0] ? ": " : "", what, offset);
    return MR_EINVAL;
}

static mr_status read_json(mr_reader *r, const char *bytes, size_t n, mr_value *out) {
    json_error_t error;
    json_t *tree;
    mr_status st;

    if (!n) return mr_reader_fail(r, NULL, "malformed", "the record is empty");
    if ((st = mr_scan_json(r, bytes, n)) != MR_OK) return st;
    tree = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!tree) return fail_json(r, bytes, n, &error);
    st = copy_json(r, NULL, tree, out);
    json_decref(tree);
    return st;
}

mr_status mr_value_read(mr_reader *r, mr_format f, const void *bytes, size_t n, mr_value *out) {
    const unsigned char *p = bytes;
    mr_status st;

    if (f == MR_FORMAT_JSON)
        st = read_json(r, bytes, n, out);
    else if ((st = mr_scan_msgpack(r, bytes, n)) == MR_OK)
        st = build_item(r, NULL, &p, p + n, out);
    if (st != MR_OK) return st;
    if (out->kind != MR_VALUE_MAP)
        return mr_reader_fail(r, NULL, "bad_type", "the record is not a map");
    return MR_OK;
}
