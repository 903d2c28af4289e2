/* outbox.h - records on their way to Kafka, each with somebody who waits for its acknowledgement.
 *
 * What is handed over is copied and sent until the brokers acknowledge it, however long they are
 * away: a record may reach Kafka twice, and is never dropped while the process lives. Bounded by
 * MR_OUTBOX_MAX records. Thread: loop. */
#ifndef MR_DISPATCHER_OUTBOX_H
#define MR_DISPATCHER_OUTBOX_H

#include "base/kafka.h"

#define MR_OUTBOX_MAX 8192

typedef struct mr_outbox mr_outbox;
/* arg is as given to send; MR_ECANCELED: the outbox was closed first; else MR_OK with the offset, or
 * MR_EINVAL: the brokers will never take this record (too large, no such topic). */
typedef void mr_outbox_done(void *owner, void *arg, mr_status status, int64_t offset);

mr_status mr_outbox_open(mr_outbox **out, uv_loop_t *loop, const mr_kafka_conf *conf, mr_err *err);
/* Unacknowledged records get MR_ECANCELED. Run the loop until its handles are gone. */
void mr_outbox_close(mr_outbox *o);
/* MR_ELIMIT: MR_OUTBOX_MAX records are on the way. done may be NULL. */
mr_status mr_outbox_send(mr_outbox *o, const char *topic, int32_t partition, const char *key,
                         const void *value, size_t len, const mr_kafka_header *headers,
                         size_t n_headers, mr_outbox_done *done, void *owner, void *arg);
size_t mr_outbox_len(const mr_outbox *o);
/* Blocks at most timeout_ms until everything is acknowledged; for shut-down. */
void mr_outbox_flush(mr_outbox *o, int timeout_ms);

#endif
