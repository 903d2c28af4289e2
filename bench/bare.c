/* bare.c - see bare.h. The properties are those of base/kafka_consumer.c and
 * base/kafka_txn_client.c, so that the difference is not one of settings. */
#include "bench/bare.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { CALL_MS = 30000, POLL_MS = 100, TURN = 512, ID_LEN = 36 };

typedef struct bare {
    const mr_bare_conf *conf;
    rd_kafka_t *consumer, *producer;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_t *to;
    rd_kafka_topic_partition_list_t *offsets; /* of this transaction */
    size_t in_batch;
    bool at_end;     /* nothing more is there */
    uint64_t due_ms; /* of this transaction, once it has a record */
} bare;

static mr_status fail_error(rd_kafka_error_t *error, const char *what, mr_err *err) {
    if (!error) return MR_OK;
    mr_fail(err, MR_EUNAVAIL, "bare loop: %s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return MR_EUNAVAIL;
}

/* ---- clients ---- */

static mr_status set(rd_kafka_conf_t *c, const char *name, const char *value, mr_err *err) {
    char why[256];
    if (rd_kafka_conf_set(c, name, value, why, sizeof why) == RD_KAFKA_CONF_OK) return MR_OK;
    return mr_fail(err, MR_EINVAL, "bare loop: property %s: %s", name, why);
}

static mr_status set_extra(rd_kafka_conf_t *c, const char *extra, mr_err *err) {
    mr_status st = MR_OK;
    char *copy = strdup(extra), *rest = copy;

    for (char *pair; st == MR_OK && (pair = strsep(&rest, ";")) != NULL;) {
        char *value = strchr(pair, '=');
        if (!value) continue; /* behind the last semicolon */
        *value++ = '\0';
        st = set(c, pair, value, err);
    }
    free(copy);
    return st;
}

static mr_status open_client(rd_kafka_t **out, rd_kafka_type_t type, const mr_bare_conf *conf,
                             const char *const (*props)[2], size_t n, mr_err *err) {
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    char why[256];
    mr_status st = set(c, "bootstrap.servers", conf->brokers, err);

    for (size_t i = 0; i < n && st == MR_OK; i++) st = set(c, props[i][0], props[i][1], err);
    if (st == MR_OK) st = set_extra(c, conf->extra, err);
    if (st == MR_OK && (*out = rd_kafka_new(type, c, why, sizeof why)) != NULL) return MR_OK;
    rd_kafka_conf_destroy(c);
    return st != MR_OK ? st : mr_fail(err, MR_EINVAL, "bare loop: %s", why);
}

static mr_status open_consumer(bare *b, mr_err *err) {
    const char *const props[][2] = {
        {"group.id", b->conf->group},          {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"}, {"auto.offset.reset", "earliest"},
        {"isolation.level", "read_committed"}, {"partition.assignment.strategy", "range"},
        {"session.timeout.ms", "10000"},       {"queued.max.messages.kbytes", "32768"},
        {"queued.min.messages", "40000"},      {"fetch.max.bytes", "33554432"},
        {"fetch.wait.max.ms", "100"},          {"socket.nagle.disable", "true"}};
    mr_status st =
        open_client(&b->consumer, RD_KAFKA_CONSUMER, b->conf, props, MR_COUNT(props), err);

    if (st != MR_OK) return st;
    rd_kafka_poll_set_consumer(b->consumer);
    b->queue = rd_kafka_queue_get_consumer(b->consumer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, b->conf->from, RD_KAFKA_PARTITION_UA);
    const rd_kafka_resp_err_t e = rd_kafka_subscribe(b->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return e ? mr_fail(err, MR_EUNAVAIL, "bare loop: subscribe: %s", rd_kafka_err2str(e)) : MR_OK;
}

static mr_status open_producer(bare *b, mr_err *err) {
    const char *const props[][2] = {{"transactional.id", b->conf->group},
                                    {"enable.idempotence", "true"},
                                    {"acks", "all"},
                                    {"linger.ms", "1"},
                                    {"queue.buffering.max.messages", "100000"},
                                    {"queue.buffering.max.kbytes", "262144"},
                                    {"socket.nagle.disable", "true"}};
    mr_status st =
        open_client(&b->producer, RD_KAFKA_PRODUCER, b->conf, props, MR_COUNT(props), err);

    if (st != MR_OK) return st;
    b->to = rd_kafka_topic_new(b->producer, b->conf->to, NULL);
    return fail_error(rd_kafka_init_transactions(b->producer, CALL_MS), "init", err);
}

static void close_all(bare *b) {
    if (b->to) rd_kafka_topic_destroy(b->to);
    if (b->producer) rd_kafka_destroy(b->producer);
    if (b->queue) rd_kafka_queue_destroy(b->queue);
    if (b->consumer) rd_kafka_destroy(b->consumer);
    rd_kafka_topic_partition_list_destroy(b->offsets);
}

/* ---- the loop ---- */

static void note_offset(bare *b, const rd_kafka_message_t *m) {
    rd_kafka_topic_partition_t *at =
        rd_kafka_topic_partition_list_find(b->offsets, b->conf->from, m->partition);
    if (!at) at = rd_kafka_topic_partition_list_add(b->offsets, b->conf->from, m->partition);
    at->offset = m->offset + 1;
}

static mr_status pass_on(bare *b, const rd_kafka_message_t *m, mr_err *err) {
    static const char type[] = "application/json";
    const char *mark = memmem(m->payload, m->len, b->conf->id_mark, strlen(b->conf->id_mark));
    const char *id = mark ? mark + strlen(b->conf->id_mark) : NULL;

    if (!id || id + ID_LEN > (const char *)m->payload + m->len)
        return mr_fail(err, MR_EINVAL, "bare loop: a record without an id");
    const int64_t came_ms = rd_kafka_message_timestamp(m, NULL);
    const rd_kafka_resp_err_t e = rd_kafka_producev(
        b->producer, RD_KAFKA_V_RKT(b->to), RD_KAFKA_V_PARTITION(m->partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK),
        RD_KAFKA_V_KEY((void *)(uintptr_t)id, (size_t)ID_LEN), RD_KAFKA_V_VALUE(m->payload, m->len),
        RD_KAFKA_V_HEADER("content-type", type, sizeof type - 1),
        RD_KAFKA_V_HEADER(MR_BARE_CAME, &came_ms, sizeof came_ms), RD_KAFKA_V_END);
    if (e) return mr_fail(err, MR_EUNAVAIL, "bare loop: produce: %s", rd_kafka_err2str(e));
    note_offset(b, m);
    b->in_batch++;
    return MR_OK;
}

/* How long to wait for more: until the transaction is due. */
static int wait_ms(const bare *b) {
    const uint64_t now_ms = mr_clock_mono_ms();

    if (b->in_batch == 0) return POLL_MS;
    return now_ms < b->due_ms ? (int)(b->due_ms - now_ms) : 0;
}

static mr_status take_some(bare *b, mr_err *err) {
    rd_kafka_message_t *got[TURN];
    const size_t room = MR_BARE_BATCH - b->in_batch, want = room < TURN ? room : TURN;
    const ssize_t n = rd_kafka_consume_batch_queue(b->queue, wait_ms(b), got, want);
    mr_status st = MR_OK;

    if (b->in_batch == 0) b->due_ms = mr_clock_mono_ms() + b->conf->commit_ms;
    for (ssize_t i = 0; i < n; i++) {
        if (st == MR_OK && !got[i]->err) st = pass_on(b, got[i], err);
        rd_kafka_message_destroy(got[i]);
    }
    b->at_end = n < (ssize_t)want;
    return st;
}

static bool is_due(const bare *b) {
    return b->in_batch == MR_BARE_BATCH ||
           (b->in_batch > 0 && b->at_end && mr_clock_mono_ms() >= b->due_ms);
}

static mr_status commit(bare *b, mr_err *err) {
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(b->consumer);
    mr_status st =
        fail_error(rd_kafka_send_offsets_to_transaction(b->producer, b->offsets, group, CALL_MS),
                   "offsets", err);

    rd_kafka_consumer_group_metadata_destroy(group);
    if (st == MR_OK)
        st = fail_error(rd_kafka_commit_transaction(b->producer, CALL_MS), "commit", err);
    rd_kafka_topic_partition_list_destroy(b->offsets);
    b->offsets = rd_kafka_topic_partition_list_new(8);
    return st;
}

static mr_status run_batch(bare *b, uint64_t *done, mr_err *err) {
    mr_status st = fail_error(rd_kafka_begin_transaction(b->producer), "begin", err);

    b->in_batch = 0;
    while (st == MR_OK && !is_due(b) && *done + b->in_batch < b->conf->n) st = take_some(b, err);
    if (st == MR_OK) st = commit(b, err);
    *done += b->in_batch;
    return st;
}

mr_status mr_bare_run(const mr_bare_conf *conf, mr_err *err) {
    bare b = {.conf = conf, .offsets = rd_kafka_topic_partition_list_new(8)};
    uint64_t done = 0;

    mr_status st = open_consumer(&b, err);
    if (st == MR_OK) st = open_producer(&b, err);
    while (st == MR_OK && done < conf->n) st = run_batch(&b, &done, err);
    close_all(&b);
    return st;
}
