/* fuzz_packed.c - the header of a file of packed weights, of arbitrary bytes.
 *
 * Goal: what is taken says what was asked for, and nothing that is changed afterwards is taken. Method: the
 * input is a header; it is checked against the key that it names itself, so that mutations get past the first
 * fields, and then with each of its bytes changed. */
#include <stdlib.h>
#include <string.h>

#include "engine/pack_cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { SOURCE_BYTES = 16, BYTES = 24, SOURCE = 32, HEADER = 80 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    mr_pack_key key = {.bytes = 0};
    uint8_t *copy = malloc(n + 1); /* exactly n, for the sanitizer; + 1: never a malloc of 0 */
    mr_digest content;
    mr_err err;

    MR_CHECK(copy);
    if (n > 0) memcpy(copy, data, n);
    if (n >= HEADER) {
        memcpy(&key.source_bytes, data + SOURCE_BYTES, 8);
        memcpy(&key.bytes, data + BYTES, 8);
        memcpy(&key.source, data + SOURCE, 16);
    }
    const uint64_t file_bytes = key.bytes + MR_PACK_CACHE_HEADER;
    const mr_status st = mr_pack_cache_check(copy, n, file_bytes, &key, &content, &err);
    MR_CHECK(st == MR_OK || err.text[0]);
    for (size_t i = 0; st == MR_OK && i < HEADER; i++) {
        copy[i] ^= 1;
        MR_CHECK(mr_pack_cache_check(copy, n, file_bytes, &key, &content, &err) != MR_OK);
        copy[i] ^= 1;
    }
    if (st == MR_OK) {
        MR_CHECK(mr_pack_cache_check(copy, n, file_bytes + 1, &key, &content, &err) == MR_EINVAL);
        key.source.word[1]++;
        MR_CHECK(mr_pack_cache_check(copy, n, file_bytes, &key, &content, &err) == MR_ENOTFOUND);
    }
    free(copy);
    return 0;
}
