/* kafka_assign.c - which partitions a consumer has: what its group gives it, or what it is told.
 *
 * Before it takes partitions of the group it asks for their committed offsets, tells the owner, and
 * starts exactly there; so the owner's offset window and the first message agree. When the
 * coordinator does not answer, the assignment waits and is tried again; the group is kept alive by
 * librdkafka meanwhile.
 *
 * Limits: COMMITTED_MS for one question, the next one ASSIGN_RETRY_MS later. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/kafka_consumer_internal.h"

#define COMMITTED_MS    3000 /* the loop stands still so long at worst, while a group forms */
#define ASSIGN_RETRY_MS 1000

static void add_to(rd_kafka_topic_partition_list_t *to,
                   const rd_kafka_topic_partition_list_t *what) {
    for (int i = 0; i < what->cnt; i++)
        rd_kafka_topic_partition_list_add(to, what->elems[i].topic, what->elems[i].partition);
}

void mr_kafka_list_drop(rd_kafka_topic_partition_list_t *from,
                        const rd_kafka_topic_partition_list_t *what) {
    for (int i = what->cnt - 1; i >= 0; i--) /* downwards: what may be from */
        rd_kafka_topic_partition_list_del(from, what->elems[i].topic, what->elems[i].partition);
}

static bool is_cooperative(const mr_kafka_consumer *c) {
    return strcmp(rd_kafka_rebalance_protocol(c->rk), "COOPERATIVE") == 0;
}

static mr_kafka_tp tp_of(const rd_kafka_topic_partition_t *e) {
    return (mr_kafka_tp){e->topic, e->partition, e->offset, e->metadata, e->metadata_size};
}

static void tell_partitions(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list,
                            bool assigned, bool lost) {
    mr_kafka_tp *tp = calloc((size_t)list->cnt + 1, sizeof *tp);
    MR_CHECK(tp); /* some bytes per partition: as librdkafka, which aborts too */
    for (int i = 0; i < list->cnt; i++) {
        tp[i] = tp_of(&list->elems[i]);
        if (assigned)
            mr_past_add(&c->past, tp[i].topic, tp[i].partition, tp[i].offset);
        else
            mr_past_drop(&c->past, tp[i].topic, tp[i].partition);
    }
    if (assigned && c->conf.on_assign) c->conf.on_assign(c->conf.owner, tp, (size_t)list->cnt);
    if (!assigned && c->conf.on_revoke)
        c->conf.on_revoke(c->conf.owner, tp, (size_t)list->cnt, lost);
    free(tp);
}

static void take_partitions(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    if (is_cooperative(c))
        mr_kafka_check_group(c, "assign", rd_kafka_incremental_assign(c->rk, list), 0);
    else
        mr_kafka_check_group(c, "assign", NULL, rd_kafka_assign(c->rk, list));
}

static void give_up_partitions(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    if (is_cooperative(c))
        mr_kafka_check_group(c, "unassign", rd_kafka_incremental_unassign(c->rk, list), 0);
    else
        mr_kafka_check_group(c, "unassign", NULL, rd_kafka_assign(c->rk, NULL));
}

static rd_kafka_resp_err_t find_committed(mr_kafka_consumer *c) {
    rd_kafka_resp_err_t e = rd_kafka_committed(c->rk, c->waiting, COMMITTED_MS);
    for (int i = 0; !e && i < c->waiting->cnt; i++) e = c->waiting->elems[i].err;
    for (int i = 0; !e && i < c->waiting->cnt; i++)
        if (c->waiting->elems[i].offset < 0) c->waiting->elems[i].offset = c->conf.reset_offset;
    return e;
}

void mr_kafka_try_assign(mr_kafka_consumer *c) {
    const rd_kafka_resp_err_t e = find_committed(c);
    if (e) {
        mr_err err;
        mr_fail(&err, mr_kafka_status(e),
                "committed offsets of %d partitions: %s; next try in %d ms", c->waiting->cnt,
                rd_kafka_err2str(e), ASSIGN_RETRY_MS);
        c->retry_ms = mr_clock_mono_ms() + ASSIGN_RETRY_MS;
        mr_kafka_tell_error(c, err.status, err.text, false);
        return;
    }
    rd_kafka_topic_partition_list_t *list = c->waiting;
    c->waiting = rd_kafka_topic_partition_list_new(0);
    add_to(c->held, list);
    c->assigning = list;
    tell_partitions(c, list, true, false);
    c->assigning = NULL;
    take_partitions(c, list);
    mr_kafka_pause_early(c, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static void on_assigned(mr_kafka_consumer *c, const rd_kafka_topic_partition_list_t *list) {
    add_to(c->waiting, list);
    if (c->waiting->cnt > 0)
        mr_kafka_try_assign(c);
    else
        take_partitions(c, list); /* nothing for us: the group still waits for the answer */
}

/* The owner hears only of what it was told to have. */
static void on_revoked(mr_kafka_consumer *c, rd_kafka_topic_partition_list_t *list) {
    rd_kafka_topic_partition_list_t *told = rd_kafka_topic_partition_list_copy(list);
    mr_kafka_list_drop(told, c->waiting);
    mr_kafka_list_drop(c->waiting, list);
    if (told->cnt > 0) tell_partitions(c, told, false, rd_kafka_assignment_lost(c->rk) != 0);
    mr_kafka_list_drop(c->held, list);
    mr_kafka_end_pauses(c, list);
    give_up_partitions(c, told);
    rd_kafka_topic_partition_list_destroy(told);
}

void mr_kafka_on_rebalance(mr_kafka_consumer *c, rd_kafka_event_t *ev) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
    c->rebalancing = true;
    switch (rd_kafka_event_error(ev)) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        if (c->closing) /* too late: take nothing that would be given back at once */
            rd_kafka_assign(c->rk, NULL);
        else
            on_assigned(c, list);
        break;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
        on_revoked(c, list);
        break;
    default:
        mr_kafka_check_group(c, "rebalance", NULL, rd_kafka_event_error(ev));
        rd_kafka_assign(c->rk, NULL);
    }
    c->rebalancing = false;
}

void mr_kafka_begin_anew(mr_kafka_consumer *c, const char *topic, int32_t partition,
                         int64_t offset) {
    const mr_kafka_tp tp = {.topic = topic, .partition = partition, .offset = offset};
    if (c->conf.on_revoke) c->conf.on_revoke(c->conf.owner, &tp, 1, true);
    if (c->conf.on_assign) c->conf.on_assign(c->conf.owner, &tp, 1);
}

_Static_assert(MR_KAFKA_OFFSET_TAIL(7) == RD_KAFKA_OFFSET_TAIL(7), "librdkafka's offsets");

mr_status mr_kafka_assign(mr_kafka_consumer *c, const mr_kafka_tp *tp, size_t n, mr_err *err) {
    if (c->conf.group) return mr_fail(err, MR_EINVAL, "kafka assign: the consumer has a group");
    for (size_t i = 0; i < n; i++)
        if (!mr_kafka_topic_ok(tp[i].topic) || tp[i].partition < 0 ||
            (tp[i].offset < MR_KAFKA_OFFSET_BEGIN && tp[i].offset > MR_KAFKA_OFFSET_TAIL(0)))
            return mr_fail(err, MR_EINVAL, "kafka assign: topic \"%s\" partition %d offset %lld",
                           tp[i].topic ? tp[i].topic : "", (int)tp[i].partition,
                           (long long)tp[i].offset);
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(tp, n);
    if (!list) return mr_fail(err, MR_ENOMEM, "kafka assign: no memory");
    mr_kafka_end_pauses(c, c->held); /* a new assignment delivers everything */
    const rd_kafka_resp_err_t e = rd_kafka_assign(c->rk, list);
    if (!e) {
        mr_kafka_list_drop(c->held, c->held);
        add_to(c->held, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (e) return mr_fail(err, mr_kafka_status(e), "kafka assign: %s", rd_kafka_err2str(e));
    return MR_OK;
}

bool mr_kafka_may_commit(const mr_kafka_consumer *c) {
    return !c->rebalancing || !is_cooperative(c);
}
