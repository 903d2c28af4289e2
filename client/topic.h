/* topic.h - reads what stands in a topic now: all of it, or one record. Not installed; for the
 * command line, which shows what no caller of millrace.h needs.
 *
 * Committed records only. A callback that wants to keep a record copies it, and must not call what
 * waits (millrace.h). */
#ifndef MR_CLIENT_TOPIC_H
#define MR_CLIENT_TOPIC_H

#include "base/kafka.h"
#include "millrace/millrace.h"

typedef struct mr_topic {
    mr_client *c;
    char name[256];
    mr_kafka_tp *next; /* [n] where reading goes on; offset MR_TOPIC_READ: to the end */
    size_t n, n_left;  /* partitions; those with something left */
} mr_topic;

#define MR_TOPIC_READ (-3)

/* False: it has seen enough for now. */
typedef bool mr_topic_record(void *owner, const mr_kafka_msg *m);

/* The topic <prefix>.<suffix>, from its beginning. MR_ENOTFOUND: there is none. */
mr_status mr_topic_init(mr_topic *t, mr_client *c, const char *suffix, mr_err *err);
void mr_topic_deinit(mr_topic *t); /* a zeroed one, too */
/* Hands over records, in order within each partition, until fn says false or all partitions have
 * been read to their ends (n_left 0). Called again it goes on where it stopped. MR_ETIMEOUT:
 * neither within timeout_ms. */
mr_status mr_topic_read(mr_topic *t, mr_topic_record *fn, void *owner, int timeout_ms, mr_err *err);

/* The record at exactly this place, once. MR_ENOTFOUND: it is no longer there, or never was. */
mr_status mr_topic_fetch(mr_client *c, const char *topic, int32_t partition, int64_t offset,
                         mr_topic_record *fn, void *owner, int timeout_ms, mr_err *err);

/* One JSON record into <prefix>.<suffix>; returns when the brokers have acknowledged it. */
mr_status mr_topic_write(mr_client *c, const char *suffix, const char *job_id, const void *bytes,
                         size_t n, mr_err *err);

#endif
