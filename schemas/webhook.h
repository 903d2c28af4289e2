/* webhook.h - records about events that are owed to a callback: the event, and what each try came
 * to.
 *
 * An event is made once, from a committed result; its body is what is signed and sent, the same
 * with every try. Pure; texts live in the arena. */
#ifndef MR_SCHEMAS_WEBHOOK_H
#define MR_SCHEMAS_WEBHOOK_H

#include "schemas/codec.h"

#define MR_WEBHOOK_MAX_BODY                                                                        \
    (256u << 10) /* bytes; a result that makes it longer is left out of it */
#define MR_WEBHOOK_MAX_WHY 200
#define MR_CALLBACK_TEXT   (MR_JOB_MAX_URL + MR_JOB_MAX_NAME + 64) /* as a header, with its end */
#define MR_HEADER_CALLBACK "millrace-callback"

/* A record of <prefix>.webhooks and its delays: what is owed. */
typedef struct mr_webhook {
    char job_id[MR_JOB_ID_LEN + 1];
    mr_job_status status;                 /* the event: the job has ended so */
    const char *tenant, *url, *secret_id; /* secret_id "": the default one */
    const char *body;                     /* [body_len] JSON */
    size_t body_len;
    uint32_t tries;      /* made */
    uint32_t put_off;    /* times that there was no room for it */
    uint64_t due_ms;     /* wall clock; 0: at once */
    uint64_t created_ms; /* wall clock */
    bool forced;         /* somebody asked for it: also to a URL that is disabled */
    mr_trace trace;      /* of the job; it travels in headers, beside the record */
} mr_webhook;

mr_status mr_codec_webhook_encode(const mr_webhook *w, mr_arena *arena, const void **bytes,
                                  size_t *n);
mr_status mr_codec_webhook_decode(mr_webhook *out, const void *bytes, size_t n, mr_arena *arena,
                                  mr_err *err);

typedef enum mr_delivery_outcome {
    MR_DELIVERY_DELIVERED,
    MR_DELIVERY_FAILED, /* another try follows, at due_ms */
    MR_DELIVERY_DEAD
} mr_delivery_outcome;

/* A record of <prefix>.deliveries: one try, or the end without one. */
typedef struct mr_delivery {
    char job_id[MR_JOB_ID_LEN + 1];
    const char *id;            /* webhook-id */
    unsigned event;            /* mr_job_status */
    const char *tenant, *host; /* host:port; of the URL no more, for it may hold a secret */
    unsigned outcome;          /* mr_delivery_outcome */
    uint32_t tries;
    int32_t code; /* HTTP status; 0: no answer */
    uint32_t took_ms;
    const char *why;          /* "": delivered */
    uint64_t time_ms, due_ms; /* wall clock; due_ms 0: no try follows */
} mr_delivery;

mr_status mr_codec_delivery_encode(const mr_delivery *d, mr_arena *arena, const void **bytes,
                                   size_t *n);
mr_status mr_codec_delivery_decode(mr_delivery *out, const void *bytes, size_t n, mr_arena *arena,
                                   mr_err *err);
const char *mr_delivery_outcome_name(unsigned outcome);

/* What is sent: {"type":"job.<status>","timestamp","data"}. place: topic, partition and offset of
 * the result. full: with the result itself; MR_ELIMIT: it is longer than MR_WEBHOOK_MAX_BODY then.
 */
mr_status mr_webhook_body(const mr_result *r, const char *topic, int32_t partition, int64_t offset,
                          bool full, mr_arena *arena, const char **body, size_t *n);

/* The header of a result that says who is to hear of it: "<events> <url> <secret id>", events as
 * names with commas, or *. Returns the length; 0: no callback. */
size_t mr_callback_write(char out[MR_CALLBACK_TEXT], const mr_callback *c);
/* False: it is not there (NULL), not of this form, or finds no memory. */
bool mr_callback_read(mr_callback *out, const void *value, size_t len, mr_arena *arena);
/* Whether the callback wants to hear of such an end. */
bool mr_callback_wants(const mr_callback *c, mr_job_status status);

#endif
