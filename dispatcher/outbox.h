/* outbox.h - records on their way to Kafka, each with somebody who waits for its acknowledgement.
 *
 * What is handed over is copied and sent until the brokers acknowledge it, however long they are
 * away: a record may reach Kafka twice, and is never dropped while the process lives. A record
 * whose topic is missing waits alone; it holds nobody else up.
 *
 * Bounds: MR_OUTBOX_MAX records, and who sends stops at full(): MR_OUTBOX_RESERVE records are kept
 * for what cannot stop at once, and MR_OUTBOX_MAX_BYTES may be passed by as much. Thread: loop. */
#ifndef MR_DISPATCHER_OUTBOX_H
#define MR_DISPATCHER_OUTBOX_H

#include "base/kafka.h"

#define MR_OUTBOX_MAX       8192
#define MR_OUTBOX_RESERVE   1024
#define MR_OUTBOX_MAX_BYTES (32u << 20)

typedef struct mr_outbox mr_outbox;

typedef struct mr_outbox_record { /* all of it is copied by send */
    const char *topic;
    int32_t partition;
    const char *key; /* NULL: none */
    const void *value;
    size_t len;
    const mr_kafka_header *headers; /* [n_headers], at most 12 */
    size_t n_headers;
    uint32_t give_up_ms; /* how long topic or partition may be unknown; 0: for ever */
} mr_outbox_record;

/* arg is as given to send. MR_OK: acknowledged at offset. MR_EINVAL: the brokers will never take
 * this record (too large), or its topic was unknown for give_up_ms. MR_ECANCELED: the outbox was
 * closed first. It may be called inside send. */
typedef void mr_outbox_done(void *owner, void *arg, mr_status status, int64_t offset);

mr_status mr_outbox_open(mr_outbox **out, uv_loop_t *loop, const mr_kafka_conf *conf, mr_err *err);
/* See mr_kafka_warm. */
void mr_outbox_warm(mr_outbox *o, const char *topic);
/* Each unacknowledged record is reported, before close returns. Run the loop until the handles are
 * gone. NULL is allowed. */
void mr_outbox_close(mr_outbox *o);
/* MR_ELIMIT: MR_OUTBOX_MAX records are on the way, or no memory; done will not be called. done may
 * be NULL. */
mr_status mr_outbox_send(mr_outbox *o, const mr_outbox_record *r, mr_outbox_done *done, void *owner,
                         void *arg);
size_t mr_outbox_len(const mr_outbox *o);
size_t mr_outbox_bytes(const mr_outbox *o);
/* Bring nothing more that can wait. */
bool mr_outbox_full(const mr_outbox *o);
/* More than half way to full: what stopped should not begin again. */
bool mr_outbox_busy(const mr_outbox *o);
/* Blocks at most timeout_ms until everything is acknowledged; for shut-down and revocation. */
void mr_outbox_flush(mr_outbox *o, int timeout_ms);

#endif
