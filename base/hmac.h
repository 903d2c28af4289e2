/* hmac.h - HMAC-SHA256 of some pieces in a row, and forgetting a key. Pure; any thread. */
#ifndef MR_BASE_HMAC_H
#define MR_BASE_HMAC_H

#include <stddef.h>
#include <stdint.h>

#define MR_HMAC_LEN 32

typedef struct mr_hmac_piece {
    const void *bytes;
    size_t len;
} mr_hmac_piece;

void mr_hmac_sha256(uint8_t out[MR_HMAC_LEN], const void *key, size_t key_len,
                    const mr_hmac_piece *pieces, size_t n);
/* Overwrites what no optimizer may leave behind. */
void mr_hmac_forget(void *key, size_t len);

#endif
