/* b64.h - base64 of RFC 4648 section 4, with padding. Pure. */
#ifndef MR_BASE_B64_H
#define MR_BASE_B64_H

#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_B64_LEN(n) (((n) + 2) / 3 * 4)
/* out has MR_B64_LEN(n) + 1 bytes and is terminated. */
void mr_b64_encode(char *out, const void *bytes, size_t n);
/* out has room for cap bytes. MR_EINVAL: not canonical base64; MR_ELIMIT: longer than cap. */
mr_status mr_b64_decode(void *out, size_t cap, size_t *n_out, const char *text, size_t len);

#endif
