/* webhook_secrets.h - the secrets that events are signed with, by id.
 *
 * From the setting webhook_secrets ("id=whsec_...;id=whsec_... whsec_...", for the environment) and
 * from a file (webhook_secrets_file), the same as YAML: `id: whsec_... whsec_...`. Several under
 * one id are active at once. An id `tenant/id` belongs to that tenant, and goes before a plain
 * `id`, which is everybody's: so no tenant gets a signature that another one's receiver would
 * believe. Owner: caller. Bound: MR_WEBHOOK_MAX_SECRETS ids. */
#ifndef MR_DISPATCHER_WEBHOOK_SECRETS_H
#define MR_DISPATCHER_WEBHOOK_SECRETS_H

#include "dispatcher/webhook_sign.h"

#define MR_WEBHOOK_MAX_SECRETS 4096
#define MR_WEBHOOK_DEFAULT_ID  "default" /* of a callback that names none */

typedef struct mr_webhook_secrets mr_webhook_secrets;

/* text, path: "" for none. MR_EINVAL: err names id or line, never a secret. */
mr_status mr_webhook_secrets_open(mr_webhook_secrets **out, const char *text, const char *path,
                                  mr_err *err);
void mr_webhook_secrets_close(mr_webhook_secrets *s); /* NULL is allowed */
/* id "": the default one. *n of them, until close; NULL: none of that id. */
const mr_webhook_secret *mr_webhook_secrets_find(const mr_webhook_secrets *s, const char *tenant,
                                                 const char *id, size_t *n);

#endif
