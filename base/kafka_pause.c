/* kafka_pause.c - partitions that stand still.
 *
 * A pause puts a barrier into librdkafka's queue: what was fetched before is thrown away when it
 * comes up, and fetched again from the position behind the last delivered message after the resume.
 * That works only for pauses and resumes in pairs (a stray resume delivers everything twice in
 * 2.0.2), so the set of paused partitions is kept here.
 *
 * A pause ends with the assignment, and may be asked for while the owner hears of a partition that
 * librdkafka has not got yet. */
#include "base/kafka_consumer_internal.h"

/* Those of list that the owner has paused; to be destroyed. */
static rd_kafka_topic_partition_list_t *paused_of(const mr_kafka_consumer *c,
                                                  const rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *p = rd_kafka_topic_partition_list_new(4);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        if (rd_kafka_topic_partition_list_find(c->paused, e->topic, e->partition))
            rd_kafka_topic_partition_list_add(p, e->topic, e->partition);
    }
    return p;
}

/* Partitions of list that the owner paused before librdkafka knew them. */
void mr_kafka_pause_early(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *p = paused_of(c, list);
    if (p->cnt > 0) mr_kafka_check_group(c, "pause", NULL, rd_kafka_pause_partitions(c->rk, p));
    rd_kafka_topic_partition_list_destroy(p);
}

/* librdkafka 2.0.2 keeps a pause beyond the assignment, and a partition that came back would stand
 * still for ever: so it is taken back before the partitions of list go. */
void mr_kafka_end_pauses(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *p = paused_of(c, list);
    if (p->cnt > 0) mr_kafka_check_group(c, "resume", NULL, rd_kafka_resume_partitions(c->rk, p));
    mr_kafka_list_drop(c->paused, list);
    rd_kafka_topic_partition_list_destroy(p);
}

bool mr_kafka_paused(const mr_kafka_consumer *c, const char *topic, int32_t partition) {
    return rd_kafka_topic_partition_list_find(c->paused, topic, partition) != NULL;
}

bool mr_kafka_any_paused(const mr_kafka_consumer *c) {
    return c->paused->cnt > 0;
}

typedef rd_kafka_resp_err_t partition_call(rd_kafka_t *, rd_kafka_topic_partition_list_t *);

static mr_status call_for_one(mr_kafka_consumer *c, partition_call *call, const char *what,
                              const char *topic, int32_t partition, mr_err *err) {
    const mr_kafka_tp one = {
        .topic = topic, .partition = partition, .offset = RD_KAFKA_OFFSET_INVALID};
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(&one, 1);
    rd_kafka_resp_err_t e = call(c->rk, list);
    if (!e) e = list->elems[0].err;
    rd_kafka_topic_partition_list_destroy(list);
    if (!e) return MR_OK;
    return mr_fail(err, mr_kafka_status(e), "kafka %s %s/%d: %s", what, topic, (int)partition,
                   rd_kafka_err2str(e));
}

/* Partitions of the assignment that on_assign is told of: pause_early does what was asked for. */
static bool is_new(const mr_kafka_consumer *c, const char *topic, int32_t partition) {
    return c->assigning && rd_kafka_topic_partition_list_find(c->assigning, topic, partition);
}

mr_status mr_kafka_pause(mr_kafka_consumer *c, const char *topic, int32_t partition, mr_err *err) {
    if (mr_kafka_paused(c, topic, partition)) return MR_OK;
    if (!rd_kafka_topic_partition_list_find(c->held, topic, partition))
        return mr_fail(err, MR_ENOTFOUND, "kafka pause %s/%d: the partition is not assigned", topic,
                       (int)partition);
    if (!is_new(c, topic, partition)) {
        const mr_status st =
            call_for_one(c, rd_kafka_pause_partitions, "pause", topic, partition, err);
        if (st != MR_OK) return st;
    }
    rd_kafka_topic_partition_list_add(c->paused, topic, partition);
    return MR_OK;
}

mr_status mr_kafka_resume(mr_kafka_consumer *c, const char *topic, int32_t partition, mr_err *err) {
    if (!mr_kafka_paused(c, topic, partition)) return MR_OK;
    if (!is_new(c, topic, partition)) {
        const mr_status st =
            call_for_one(c, rd_kafka_resume_partitions, "resume", topic, partition, err);
        if (st != MR_OK) return st;
    }
    rd_kafka_topic_partition_list_del(c->paused, topic, partition);
    return MR_OK;
}
