/* feed.c - see feed.h. */
#include "dispatcher/feed.h"

#include <stdlib.h>

enum { MAX_PARTITIONS = 4096, QUEUED_KBYTES = 1024 };

mr_status mr_feed_open(mr_kafka_consumer **out, uv_loop_t *loop, const mr_feed_conf *conf,
                       mr_err *err) {
    const mr_kafka_consumer_conf cc = {.conn = *conf->kafka,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_END,
                                       .queued_max_kbytes = QUEUED_KBYTES,
                                       .owner = conf->owner,
                                       .on_msg = conf->on_msg,
                                       .on_error = conf->on_error};
    int32_t n = 0;
    *out = NULL;
    mr_status st = mr_kafka_partitions(conf->kafka, conf->topic, conf->timeout_ms, &n, err);
    if (st != MR_OK) return st;
    if (n < 1 || n > MAX_PARTITIONS)
        return mr_fail(err, MR_ELIMIT, "topic %s has %d partitions, must have 1 to %d", conf->topic,
                       n, MAX_PARTITIONS);
    mr_kafka_tp *tp = calloc((size_t)n, sizeof *tp);
    if (!tp) return mr_fail(err, MR_ENOMEM, "feed %s: out of memory", conf->topic);
    for (int32_t i = 0; i < n; i++)
        tp[i] = (mr_kafka_tp){.topic = conf->topic, .partition = i, .offset = MR_KAFKA_OFFSET_END};
    st = mr_kafka_consumer_open(out, loop, &cc, err);
    if (st == MR_OK && (st = mr_kafka_assign(*out, tp, (size_t)n, err)) != MR_OK) {
        mr_kafka_consumer_close(*out);
        *out = NULL;
    }
    free(tp);
    return st;
}
