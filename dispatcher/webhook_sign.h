/* webhook_sign.h - ids, secrets and signatures of Standard Webhooks 1.0.0. Pure.
 *
 * A secret is 24 to 64 bytes, written as "whsec_" and their base64. While one is being replaced a
 * receiver may have either: then an event is signed with each. */
#ifndef MR_DISPATCHER_WEBHOOK_SIGN_H
#define MR_DISPATCHER_WEBHOOK_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "millrace/job.h"

#define MR_WEBHOOK_SECRETS   4                                   /* at one time under one id */
#define MR_WEBHOOK_ID        (4 + MR_JOB_ID_LEN + 1 + 9 + 1)     /* and its end */
#define MR_WEBHOOK_SIGNATURE ((3 + 44 + 1) * MR_WEBHOOK_SECRETS) /* and its end */

typedef struct mr_webhook_secret {
    uint8_t bytes[64];
    size_t n;
} mr_webhook_secret;

/* The id of the event that a job has ended so: always the same one, so a receiver can tell what it
 * has had. */
void mr_webhook_id(char out[MR_WEBHOOK_ID], const char *job_id, mr_job_status status);
/* text[n]. MR_EINVAL: err says what is wanted, and nothing of the text. */
mr_status mr_webhook_secret_read(mr_webhook_secret *out, const char *text, size_t n, mr_err *err);
/* The value of webhook-signature: one signature per secret, in their order, at most
 * MR_WEBHOOK_SECRETS. */
void mr_webhook_sign(char out[MR_WEBHOOK_SIGNATURE], const mr_webhook_secret *secrets, size_t n,
                     const char *id, uint64_t timestamp_s, const void *body, size_t len);

#endif
