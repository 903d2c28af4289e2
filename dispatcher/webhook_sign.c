/* webhook_sign.c - see webhook_sign.h. What is signed is "<id>.<timestamp>.<body>"; neither id nor
 * timestamp has a full stop, so it can be taken apart in one way only. */
#include "dispatcher/webhook_sign.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/b64.h"
#include "base/hmac.h"

enum { LEAST_BYTES = 24 };

void mr_webhook_id(char out[MR_WEBHOOK_ID], const char *job_id, mr_job_status status) {
    snprintf(out, MR_WEBHOOK_ID, "msg_%s_%s", job_id, mr_job_status_name(status));
}

mr_status mr_webhook_secret_read(mr_webhook_secret *out, const char *text, size_t n, mr_err *err) {
    static const char prefix[] = "whsec_";
    const size_t skip = sizeof prefix - 1;

    if (n > skip && !strncmp(text, prefix, skip) &&
        mr_b64_decode(out->bytes, sizeof out->bytes, &out->n, text + skip, n - skip) == MR_OK &&
        out->n >= LEAST_BYTES)
        return MR_OK;
    mr_hmac_forget(out, sizeof *out);
    return mr_fail(err, MR_EINVAL, "a secret must be whsec_ and the base64 of %d to %zu bytes",
                   LEAST_BYTES, sizeof out->bytes);
}

void mr_webhook_sign(char out[MR_WEBHOOK_SIGNATURE], const mr_webhook_secret *secrets, size_t n,
                     const char *id, uint64_t timestamp_s, const void *body, size_t len) {
    char head[MR_WEBHOOK_ID + 24];
    uint8_t digest[MR_HMAC_LEN];

    const int head_len = snprintf(head, sizeof head, "%s.%" PRIu64 ".", id, timestamp_s);
    const mr_hmac_piece pieces[] = {{head, (size_t)head_len}, {body, len}};
    MR_CHECK(n <= MR_WEBHOOK_SECRETS && head_len > 0 && (size_t)head_len < sizeof head);
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        mr_hmac_sha256(digest, secrets[i].bytes, secrets[i].n, pieces, MR_COUNT(pieces));
        out += sprintf(out, "%sv1,", i ? " " : "");
        mr_b64_encode(out, digest, sizeof digest);
        out += strlen(out);
    }
}
