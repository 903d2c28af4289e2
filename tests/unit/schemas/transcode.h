/* transcode.h - a JSON text as msgpack, by the libraries alone, so that every case of a test runs
 * in both formats without trusting our own writer. */
#ifndef MR_TESTS_TRANSCODE_H
#define MR_TESTS_TRANSCODE_H

#include <jansson.h>
#include <msgpack.h>

#include "tests/test.h"

static void pack_json(msgpack_packer *pk, const json_t *j) {
    const char *key;
    json_t *value;
    size_t i;

    switch (json_typeof(j)) {
    case JSON_OBJECT:
        msgpack_pack_map(pk, json_object_size(j));
        json_object_foreach((json_t *)j, key, value) {
            msgpack_pack_str_with_body(pk, key, strlen(key));
            pack_json(pk, value);
        }
        break;
    case JSON_ARRAY:
        msgpack_pack_array(pk, json_array_size(j));
        json_array_foreach(j, i, value) pack_json(pk, value);
        break;
    case JSON_STRING:
        msgpack_pack_str_with_body(pk, json_string_value(j), json_string_length(j));
        break;
    case JSON_INTEGER: msgpack_pack_int64(pk, json_integer_value(j)); break;
    case JSON_REAL: msgpack_pack_double(pk, json_real_value(j)); break;
    case JSON_TRUE: msgpack_pack_true(pk); break;
    case JSON_FALSE: msgpack_pack_false(pk); break;
    default: msgpack_pack_nil(pk);
    }
}

/* out: to be destroyed by the caller. */
static void to_msgpack(const char *json, msgpack_sbuffer *out) {
    json_error_t error;
    json_t *j = json_loads(json, JSON_ALLOW_NUL, &error);
    msgpack_packer pk;

    if (!j) fail_msg("the test's own JSON: %s: %s", error.text, json);
    msgpack_sbuffer_init(out);
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    pack_json(&pk, j);
    json_decref(j);
}

#endif
