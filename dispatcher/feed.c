/* feed.c - see feed.h. */
#include "dispatcher/feed.h"

#include <stdlib.h>

#include "base/log.h"

enum { MAX_PARTITIONS = 4096 };

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "feed", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
}

mr_status mr_feed_open(mr_kafka_consumer **out, uv_loop_t *loop, const mr_kafka_conf *conf,
                       const char *topic, int timeout_ms, void *owner,
                       void (*on_msg)(void *owner, const mr_kafka_msg *m), mr_err *err) {
    const mr_kafka_consumer_conf cc = {.conn = *conf, .reset_offset = MR_KAFKA_OFFSET_END,
                                       .owner = owner, .on_msg = on_msg, .on_error = on_error};
    int32_t n = 0;
    *out = NULL;
    mr_status st = mr_kafka_partitions(conf, topic, timeout_ms, &n, err);
    if (st != MR_OK) return st;
    if (n < 1 || n > MAX_PARTITIONS)
        return mr_fail(err, MR_ELIMIT, "topic %s has %d partitions, must have 1 to %d", topic, n,
                       MAX_PARTITIONS);
    mr_kafka_tp *tp = calloc((size_t)n, sizeof *tp);
    if (!tp) return mr_fail(err, MR_ENOMEM, "feed %s: out of memory", topic);
    for (int32_t i = 0; i < n; i++) tp[i] = (mr_kafka_tp){topic, i, MR_KAFKA_OFFSET_END};
    st = mr_kafka_consumer_open(out, loop, &cc, err);
    if (st == MR_OK && (st = mr_kafka_assign(*out, tp, (size_t)n, err)) != MR_OK) {
        mr_kafka_consumer_close(*out);
        *out = NULL;
    }
    free(tp);
    return st;
}
