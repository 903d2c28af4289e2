/* kafka_offsets.c - offsets of a consumer's partitions: where they end, what is committed.
 *
 * A commit waits for nobody: asynchronous, or bounded by the caller's timeout_ms. Metadata travels
 * with the offset both ways. */
#include <stdlib.h>
#include <string.h>

#include "base/kafka_consumer_internal.h"

rd_kafka_topic_partition_list_t *mr_kafka_list_of(const mr_kafka_tp *tp, size_t n) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_topic_partition_t *e =
            rd_kafka_topic_partition_list_add(list, tp[i].topic, tp[i].partition);
        e->offset = tp[i].offset;
        if (!tp[i].metadata || tp[i].metadata_len == 0) continue;
        e->metadata = malloc(tp[i].metadata_len); /* the list frees it */
        if (!e->metadata) {
            rd_kafka_topic_partition_list_destroy(list);
            return NULL;
        }
        memcpy(e->metadata, tp[i].metadata, tp[i].metadata_len);
        e->metadata_size = tp[i].metadata_len;
    }
    return list;
}

int64_t mr_kafka_end(const mr_kafka_consumer *c, const char *topic, int32_t partition) {
    int64_t first = 0, end = -1;
    const rd_kafka_resp_err_t e =
        rd_kafka_get_watermark_offsets(c->rk, topic, partition, &first, &end);
    return e || end < 0 ? -1 : end;
}

mr_status mr_kafka_commit(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, mr_err *err) {
    if (n == 0) return MR_OK;
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    if (!list) return mr_fail(err, MR_ENOMEM, "kafka commit: no memory");
    const rd_kafka_resp_err_t e = rd_kafka_commit(c->rk, list, 1 /* asynchronous */);
    rd_kafka_topic_partition_list_destroy(list);
    if (e) return mr_fail(err, mr_kafka_status(e), "kafka commit: %s", rd_kafka_err2str(e));
    return MR_OK;
}

/* The error of the whole commit, or of its first partition that has one. */
static rd_kafka_resp_err_t commit_error(rd_kafka_event_t *ev) {
    rd_kafka_resp_err_t e = rd_kafka_event_error(ev);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
    for (int i = 0; !e && list && i < list->cnt; i++) e = list->elems[i].err;
    return e;
}

mr_status mr_kafka_commit_sync(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n,
                               int timeout_ms, mr_err *err) {
    if (n == 0) return MR_OK;
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    if (!list) return mr_fail(err, MR_ENOMEM, "kafka commit: no memory");
    rd_kafka_queue_t *q = rd_kafka_queue_new(c->rk);
    /* Its own queue, because rd_kafka_commit would wait without a limit. */
    rd_kafka_resp_err_t e = rd_kafka_commit_queue(c->rk, list, q, NULL, NULL);
    rd_kafka_topic_partition_list_destroy(list);
    if (!e) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(q, timeout_ms);
        e = ev ? commit_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (ev) rd_kafka_event_destroy(ev);
    }
    rd_kafka_queue_destroy(q);
    if (e) return mr_fail(err, mr_kafka_status(e), "kafka commit: %s", rd_kafka_err2str(e));
    return MR_OK;
}

mr_status mr_kafka_committed(mr_kafka_consumer *c, mr_kafka_tp *tp, size_t n, int timeout_ms,
                             char **text, mr_err *err) {
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    size_t bytes = 1;

    *text = NULL;
    if (!list) return mr_fail(err, MR_ENOMEM, "committed offsets: no memory");
    rd_kafka_resp_err_t e = rd_kafka_committed(c->rk, list, timeout_ms);
    for (int i = 0; !e && i < list->cnt; i++) {
        e = list->elems[i].err;
        bytes += list->elems[i].metadata_size;
    }
    char *to = e ? NULL : malloc(bytes);
    for (size_t i = 0; to && i < n; i++) {
        const rd_kafka_topic_partition_t *at = &list->elems[i]; /* in the order of tp */
        tp[i].offset = at->offset;
        tp[i].metadata = to;
        tp[i].metadata_len = at->metadata_size;
        if (at->metadata_size) memcpy(to, at->metadata, at->metadata_size);
        if (!*text) *text = to;
        to += at->metadata_size;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (e) return mr_fail(err, mr_kafka_status(e), "committed offsets: %s", rd_kafka_err2str(e));
    if (!*text && n > 0) return mr_fail(err, MR_ENOMEM, "committed offsets: no memory");
    return MR_OK;
}

/* An empty member id would pass the coordinator unchecked: whoever lost its membership could still
 * commit. So the id must be there, before and after: it changes with every loss. */
rd_kafka_consumer_group_metadata_t *mr_kafka_generation(const mr_kafka_consumer *c) {
    char *before = rd_kafka_memberid(c->rk);
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(c->rk);
    char *after = rd_kafka_memberid(c->rk);

    if (group && (!before || !*before || !after || strcmp(before, after) != 0)) {
        rd_kafka_consumer_group_metadata_destroy(group);
        group = NULL;
    }
    free(before);
    free(after);
    return group;
}
