/* hmac.c - libsodium's HMAC: it streams, so nothing is copied together, and it cannot fail. */
#include "base/hmac.h"

#include <sodium.h>

void mr_hmac_sha256(uint8_t out[MR_HMAC_LEN], const void *key, size_t key_len,
                    const mr_hmac_piece *pieces, size_t n) {
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, key, key_len);
    for (size_t i = 0; i < n; i++)
        crypto_auth_hmacsha256_update(&state, pieces[i].bytes, pieces[i].len);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}

void mr_hmac_forget(void *key, size_t len) {
    sodium_memzero(key, len);
}
