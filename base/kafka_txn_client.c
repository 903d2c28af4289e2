/* kafka_txn_client.c - the calls of a transactional producer, and what their results mean.
 *
 * base/txn_plan.h says which call comes next; this file makes it and puts its result into one of
 * the plan's outcomes. Where librdkafka's answer leaves room, the outcome is the safer one:
 *
 *  - An error of COMMIT is UNKNOWN, also when librdkafka asks for an abort: it does so when it gave
 *    up waiting, and the request may have arrived.
 *  - Fenced while a transaction was open longer than its time-out: the coordinator ended it, it is
 *    our own producer that is stale. Fenced before that: another process has our transactional.id.
 *  - READ compares what the group has committed with the batch and with what was there before. Any
 *    partition as before: the batch is not there, for a transaction is all or nothing. None as
 *    before, one as in the batch: it is. Neither: others own all of them by now; absent, and the
 *    next try is refused for its generation.
 *
 * Mode plain makes the same calls with an idempotent producer: INIT, BEGIN, COMMIT and ABORT do
 * nothing, OFFSETS commits through the consumer, and what was acknowledged is not sent again.
 *
 * Records that travel in one set may be too large together, so a record is refused as too large
 * only after it went alone.
 *
 * Limits: CALL_MS per blocking call; a record waits in librdkafka for the transaction's time-out.
 * Thread: the committer's, but open, use and close. */
#include "base/kafka_txn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#define CALL_MS        5000 /* so that close stays within MR_KAFKA_CLOSE_MS */
#define ABORT_MS       2000 /* of the last abort, at close */
#define READ_MS        2000
#define LOOK_UP_MS     1000
#define FLUSH_MS       100      /* between two looks at stop */
#define QUEUE_MESSAGES "100000" /* both more than a batch can have */
#define QUEUE_KBYTES   "262144"

static uint64_t boot_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts); /* goes on while the machine is suspended */
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int call_ms(const mr_txn_client *t) {
    return t->timeout_ms < CALL_MS ? (int)t->timeout_ms : CALL_MS;
}

static bool stopping(mr_txn_client *t) {
    return atomic_load(&t->stop);
}

/* ---- what an error means ---- */

static bool is_fence(rd_kafka_resp_err_t e) {
    return e == RD_KAFKA_RESP_ERR__FENCED || e == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH ||
           e == RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
}

static bool is_stale(rd_kafka_resp_err_t e) {
    return e == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || e == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
           e == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
}

/* A record that the brokers will not take later either. */
static bool is_refusal(rd_kafka_resp_err_t e) {
    switch (e) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return true;
    default:
        return false;
    }
}

static bool is_too_large(rd_kafka_resp_err_t e) {
    return e == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || e == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE;
}

/* What a person has to change; NULL: nothing. */
static const char *advice(rd_kafka_resp_err_t e, bool fatal) {
    switch (e) {
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
        return "transaction_timeout_ms is above the brokers' transaction.max.timeout.ms";
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE: /* else: the connection is just away */
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
        return fatal ? "the brokers have no transactions; commit_mode plain does without" : NULL;
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return "not authorised to use this transactional.id";
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        return "not authorised to commit for the consumer group";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return "not authorised to write to a topic";
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
        return "the brokers' offset.metadata.max.bytes must be 4096 or more";
    default:
        return NULL;
    }
}

static void note_cause(mr_txn_client *t, const char *text) {
    mr_fail(&t->cause, MR_EUNAVAIL, "%s", text ? text : "");
}

static mr_txn_outcome judge_fence(mr_txn_client *t) {
    if (t->in_txn && boot_ms() - t->begun_ms >= t->timeout_ms) return MR_TXN_DEAD;
    mr_fail(&t->cause, MR_EFENCED,
            "another process uses transactional.id %s: each needs a worker_id or dispatcher_id "
            "of its own",
            t->id);
    return MR_TXN_FENCED;
}

/* Frees error. */
static mr_txn_outcome judge(mr_txn_client *t, rd_kafka_error_t *error) {
    const mr_txn_call call = t->call;
    char why[256];

    if (!error) return MR_TXN_OK;
    rd_kafka_resp_err_t e = rd_kafka_error_code(error);
    const rd_kafka_resp_err_t root = rd_kafka_fatal_error(t->rk, why, sizeof why);
    const bool fatal = root || rd_kafka_error_is_fatal(error);
    const bool must_abort = rd_kafka_error_txn_requires_abort(error);
    const bool retriable = rd_kafka_error_is_retriable(error);
    note_cause(t, root ? why : rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    if (root) e = root;

    if (advice(e, fatal)) {
        mr_fail(&t->cause, MR_EINVAL, "%s (%s)", advice(e, fatal), rd_kafka_err2name(e));
        return MR_TXN_MISCONFIGURED;
    }
    if (is_fence(e)) return judge_fence(t);
    if (fatal) return MR_TXN_DEAD;
    if (call == MR_TXN_COMMIT || call == MR_TXN_ABORT) return MR_TXN_UNKNOWN;
    if (call == MR_TXN_INIT) return MR_TXN_RETRIABLE;
    if (is_stale(e) && (call == MR_TXN_OFFSETS || call == MR_TXN_PRODUCE)) return MR_TXN_STALE;
    if (must_abort) return MR_TXN_ABORTABLE;
    return retriable ? MR_TXN_RETRIABLE : MR_TXN_DEAD;
}

/* ---- the producer ---- */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    mr_txn_record *r = m->_private;
    (void)rk;
    (void)opaque;
    r->why = m->err ? rd_kafka_err2str(m->err) : "";
    r->acked = !m->err;
    r->offset = m->offset;
    if (!m->err)
        r->status = MR_OK;
    else if (is_too_large(m->err) && !r->alone)
        r->status = MR_ELIMIT;
    else
        r->status = is_refusal(m->err) ? MR_EINVAL : MR_EUNAVAIL;
}

/* Lost connections and the like are logged by librdkafka and healed by it; what breaks a
 * transaction comes back from the call that it broke. */
static void on_error(rd_kafka_t *rk, int e, const char *why, void *opaque) {
    (void)rk;
    (void)opaque;
    mr_log(MR_LOG_DEBUG, "commit", "producer error", "code=%d err=" MR_Q, e, why);
}

static void stop_client(mr_txn_client *t) {
    while (t->n_topics > 0) rd_kafka_topic_destroy(t->topics[--t->n_topics]);
    if (t->rk) rd_kafka_destroy(t->rk);
    t->rk = NULL;
    t->in_txn = false;
}

static mr_txn_outcome rebuild(mr_txn_client *t) {
    stop_client(t);
    if (mr_kafka_client_new(&t->rk, RD_KAFKA_PRODUCER, rd_kafka_conf_dup(t->conf), &t->cause) ==
        MR_OK)
        return MR_TXN_OK;
    return rd_kafka_last_error() == RD_KAFKA_RESP_ERR__INVALID_ARG ? MR_TXN_MISCONFIGURED
                                                                   : MR_TXN_RETRIABLE;
}

/* ---- topics ---- */

/* *n_partitions as in mr_txn_topic. The handle is borrowed; NULL: no such topic, or too many. */
static rd_kafka_topic_t *learn_topic(mr_txn_client *t, const char *name, int32_t *n_partitions,
                                     rd_kafka_resp_err_t *error) {
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_topic_t *topic =
        t->n_topics < MR_TXN_MAX_TOPICS ? rd_kafka_topic_new(t->rk, name, NULL) : NULL;

    *n_partitions = -1;
    if (!topic) return NULL;
    rd_kafka_resp_err_t e = rd_kafka_metadata(t->rk, 0, topic, &md, LOOK_UP_MS);
    if (!e && md->topic_cnt > 0) e = md->topics[0].err;
    *error = e;
    if (!e && md->topic_cnt > 0 && md->topics[0].partition_cnt > 0)
        *n_partitions = md->topics[0].partition_cnt;
    else if (is_refusal(e) || e == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
        *n_partitions = 0;
    if (md) rd_kafka_metadata_destroy(md);
    if (*n_partitions == 0) {
        rd_kafka_topic_destroy(topic);
        return NULL;
    }
    t->topics[t->n_topics++] = topic;
    return topic;
}

static rd_kafka_topic_t *find_topic(mr_txn_client *t, const char *name) {
    int32_t n_partitions;
    rd_kafka_resp_err_t e;
    for (size_t i = 0; i < t->n_topics; i++)
        if (strcmp(rd_kafka_topic_name(t->topics[i]), name) == 0) return t->topics[i];
    return learn_topic(t, name, &n_partitions, &e);
}

static void forget_topic(mr_txn_client *t, const char *name) {
    for (size_t i = 0; i < t->n_topics; i++) {
        if (strcmp(rd_kafka_topic_name(t->topics[i]), name) != 0) continue;
        rd_kafka_topic_destroy(t->topics[i]);
        t->topics[i] = t->topics[--t->n_topics];
        return;
    }
}

mr_txn_outcome mr_txn_client_look_up(mr_txn_client *t, mr_txn_work *w) {
    rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR_NO_ERROR;

    for (size_t i = 0; i < w->n_topics; i++, atomic_fetch_add(&t->returned, 1)) {
        w->topics[i].n_partitions = -1;
        if (stopping(t)) continue;
        forget_topic(t, w->topics[i].name); /* what was known may be out of date */
        learn_topic(t, w->topics[i].name, &w->topics[i].n_partitions, &e);
        if (e != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) continue;
        mr_fail(&t->cause, MR_EINVAL, "topic %s: %s", w->topics[i].name, advice(e, false));
        return MR_TXN_MISCONFIGURED;
    }
    return MR_TXN_OK;
}

/* ---- produce ---- */

static bool is_dead(const mr_txn_client *t) {
    return rd_kafka_fatal_error(t->rk, NULL, 0) != 0;
}

/* Until every record is reported. */
static void flush(mr_txn_client *t) {
    while (rd_kafka_outq_len(t->rk) > 0 && !stopping(t)) {
        if (is_dead(t)) rd_kafka_purge(t->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_flush(t->rk, FLUSH_MS);
    }
}

static rd_kafka_resp_err_t hand_over(mr_txn_client *t, mr_txn_record *r) {
    const mr_commit_record *m = &r->out;
    rd_kafka_topic_t *topic = find_topic(t, m->topic);
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_resp_err_t e;

    if (!topic) return RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    if (mr_kafka_headers_new(&headers, m->headers, m->n_headers, NULL) != MR_OK)
        return RD_KAFKA_RESP_ERR_INVALID_RECORD;
    do {
        e = rd_kafka_producev(t->rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(m->partition),
                              RD_KAFKA_V_KEY((void *)(uintptr_t)m->key, m->key_len),
                              RD_KAFKA_V_VALUE((void *)(uintptr_t)m->value, m->len),
                              RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(r), RD_KAFKA_V_END);
        if (e == RD_KAFKA_RESP_ERR__QUEUE_FULL) rd_kafka_poll(t->rk, FLUSH_MS);
    } while (e == RD_KAFKA_RESP_ERR__QUEUE_FULL && !stopping(t));
    if (e && headers) rd_kafka_headers_destroy(headers); /* producev takes them on success only */
    return e;
}

static void send_record(mr_txn_client *t, mr_txn_record *r) {
    r->status = MR_EUNAVAIL; /* until it is reported */
    if (r->alone) flush(t);
    const rd_kafka_resp_err_t e = hand_over(t, r);
    if (e) {
        r->why = rd_kafka_err2str(e);
        r->status = is_refusal(e) ? MR_EINVAL : MR_EUNAVAIL;
    } else if (r->alone) {
        flush(t);
    }
}

/* What the records say when all are reported. begin_transaction cannot succeed while one is open,
 * and names the error that broke it. */
static mr_txn_outcome judge_records(mr_txn_client *t, const mr_txn_work *w) {
    bool refused = false, failed = false;

    for (size_t i = 0; i < w->n_records; i++) {
        mr_txn_record *r = w->records[i];
        if (r->status == MR_OK) continue;
        note_cause(t, r->why);
        refused |= r->status == MR_EINVAL || r->status == MR_ELIMIT;
        failed = true;
        if (r->status == MR_ELIMIT) r->alone = true;
    }
    if (!failed) return MR_TXN_OK;
    if (is_dead(t)) {
        const mr_txn_outcome o = judge(t, rd_kafka_begin_transaction(t->rk));
        return o == MR_TXN_OK ? MR_TXN_DEAD : o;
    }
    if (refused) return MR_TXN_REFUSED;
    if (!t->id) return MR_TXN_RETRIABLE;
    const mr_txn_outcome o = judge(t, rd_kafka_begin_transaction(t->rk));
    return o == MR_TXN_MISCONFIGURED || o == MR_TXN_FENCED || o == MR_TXN_STALE ? o
                                                                                : MR_TXN_ABORTABLE;
}

static mr_txn_outcome produce(mr_txn_client *t, const mr_txn_work *w) {
    for (size_t i = 0; i < w->n_records && !stopping(t); i++)
        if (t->id || !w->records[i]->acked) send_record(t, w->records[i]);
    flush(t);
    return judge_records(t, w);
}

/* ---- offsets ---- */

static mr_txn_outcome commit_plain(mr_txn_client *t, const mr_txn_work *w) {
    mr_status st = MR_ECANCELED;

    if (w->n_tp == 0) return MR_TXN_OK;
    uv_mutex_lock(&t->consumer_lock);
    if (t->consumer)
        st = mr_kafka_commit_sync(t->consumer, w->after, w->n_tp, call_ms(t), &t->cause);
    uv_mutex_unlock(&t->consumer_lock);
    if (st == MR_OK) return MR_TXN_OK;
    if (st == MR_EINVAL) {
        note_cause(t, advice(RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, false));
        return MR_TXN_MISCONFIGURED;
    }
    return st == MR_ECANCELED || st == MR_EFENCED ? MR_TXN_STALE : MR_TXN_RETRIABLE;
}

static mr_txn_outcome send_offsets(mr_txn_client *t, const mr_txn_work *w) {
    if (!t->id) return commit_plain(t, w);
    if (w->n_tp == 0) return MR_TXN_OK;
    rd_kafka_topic_partition_list_t *list = mr_kafka_list_of(w->after, w->n_tp);
    if (!list) {
        note_cause(t, "no memory for the offsets");
        return MR_TXN_RETRIABLE;
    }
    rd_kafka_error_t *error =
        rd_kafka_send_offsets_to_transaction(t->rk, list, w->group, call_ms(t));
    rd_kafka_topic_partition_list_destroy(list);
    return judge(t, error);
}

static bool same(const mr_kafka_tp *a, const mr_kafka_tp *b) {
    if (a->offset < 0 || b->offset < 0) return a->offset < 0 && b->offset < 0;
    return a->offset == b->offset && a->metadata_len == b->metadata_len &&
           (a->metadata_len == 0 || memcmp(a->metadata, b->metadata, a->metadata_len) == 0);
}

static mr_txn_outcome compare(const mr_txn_work *w, const mr_kafka_tp *now) {
    bool as_batch = false;

    for (size_t i = 0; i < w->n_tp; i++) {
        if (same(&w->before[i], &w->after[i])) continue; /* says nothing */
        if (same(&now[i], &w->before[i])) return MR_TXN_ABSENT;
        as_batch |= same(&now[i], &w->after[i]);
    }
    return as_batch ? MR_TXN_PRESENT : MR_TXN_ABSENT;
}

static mr_txn_outcome read_back(mr_txn_client *t, const mr_txn_work *w) {
    mr_kafka_tp *now = calloc(w->n_tp + 1, sizeof *now);
    char *text = NULL;
    mr_status st = MR_ENOMEM;
    mr_txn_outcome outcome = MR_TXN_RETRIABLE;

    if (now) {
        memcpy(now, w->after, w->n_tp * sizeof *now);
        uv_mutex_lock(&t->consumer_lock);
        st = t->consumer ? mr_kafka_committed(t->consumer, now, w->n_tp, READ_MS, &text, &t->cause)
                         : mr_fail(&t->cause, MR_EUNAVAIL, "no consumer to ask");
        uv_mutex_unlock(&t->consumer_lock);
    }
    if (st == MR_OK) {
        outcome = compare(w, now);
        mr_log(MR_LOG_WARN, "commit", "looked up a batch of unknown outcome",
               "records=%zu parts=%zu committed=%s", w->n_records, w->n_tp,
               outcome == MR_TXN_PRESENT ? "yes" : "no");
    }
    free(text);
    free(now);
    return outcome;
}

/* ---- the calls ---- */

static mr_txn_outcome begin(mr_txn_client *t) {
    if (!t->id) return MR_TXN_OK;
    const mr_txn_outcome o = judge(t, rd_kafka_begin_transaction(t->rk));
    if (o == MR_TXN_OK) {
        t->in_txn = true;
        t->begun_ms = boot_ms();
    }
    return o;
}

static mr_txn_outcome end(mr_txn_client *t, bool commit) {
    if (!t->id) return MR_TXN_OK;
    const mr_txn_outcome o = judge(t, commit ? rd_kafka_commit_transaction(t->rk, call_ms(t))
                                             : rd_kafka_abort_transaction(t->rk, call_ms(t)));
    t->in_txn = false; /* or nobody knows */
    return o;
}

static mr_txn_outcome make_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w) {
    switch (call) {
    case MR_TXN_REBUILD:
        return rebuild(t);
    case MR_TXN_INIT:
        return t->id ? judge(t, rd_kafka_init_transactions(t->rk, call_ms(t))) : MR_TXN_OK;
    case MR_TXN_READ:
        return read_back(t, w);
    case MR_TXN_BEGIN:
        return begin(t);
    case MR_TXN_PRODUCE:
        return produce(t, w);
    case MR_TXN_OFFSETS:
        return send_offsets(t, w);
    case MR_TXN_COMMIT:
        return end(t, true);
    case MR_TXN_ABORT:
        return end(t, false);
    default:
        MR_CHECK(!"a call");
        return MR_TXN_OK;
    }
}

mr_txn_outcome mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w) {
    t->call = call;
    const mr_txn_outcome o = make_call(t, call, w);
    atomic_fetch_add(&t->returned, 1);
    return o;
}

void mr_txn_client_poll(mr_txn_client *t) {
    rd_kafka_poll(t->rk, 0);
}

/* ---- open and close ---- */

static mr_status make_conf(mr_txn_client *t, const mr_commit_conf *conf, mr_err *err) {
    char timeout[16], socket[16];
    const mr_kafka_prop props[] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"partitioner", "murmur2_random"}, /* as the Java client, so equal keys meet */
        {"linger.ms", "1"},                /* a batch is handed over at once, then flushed */
        {"queue.buffering.max.messages", QUEUE_MESSAGES},
        {"queue.buffering.max.kbytes", QUEUE_KBYTES},
        {"message.max.bytes", MR_KAFKA_MESSAGE_BYTES},
        {"topic.metadata.refresh.fast.interval.ms", "50"},
        {"socket.timeout.ms", socket},
        {"transactional.id", t->id}, /* these two only with transactions */
        {"transaction.timeout.ms", timeout},
    };
    snprintf(timeout, sizeof timeout, "%u", t->timeout_ms);
    snprintf(socket, sizeof socket, "%d", call_ms(t));
    const mr_status st =
        mr_kafka_conf_new(&t->conf, &conf->kafka, props, MR_COUNT(props) - (t->id ? 0 : 2), err);
    if (st != MR_OK) return st;
    rd_kafka_conf_set_dr_msg_cb(t->conf, on_delivery);
    rd_kafka_conf_set_error_cb(t->conf, on_error);
    return MR_OK;
}

mr_status mr_txn_client_open(mr_txn_client *t, const mr_commit_conf *conf, mr_err *err) {
    t->timeout_ms = conf->transaction_timeout_ms;
    atomic_init(&t->stop, false);
    atomic_init(&t->returned, 0);
    if (conf->transactional_id && !(t->id = strdup(conf->transactional_id)))
        return mr_fail(err, MR_ENOMEM, "commit: no memory");
    const mr_status st = make_conf(t, conf, err);
    if (st != MR_OK) {
        free(t->id);
        return st;
    }
    uv_mutex_init(&t->consumer_lock); /* always 0 on Linux */
    return MR_OK;
}

void mr_txn_client_use(mr_txn_client *t, mr_kafka_consumer *consumer) {
    uv_mutex_lock(&t->consumer_lock);
    t->consumer = consumer;
    uv_mutex_unlock(&t->consumer_lock);
}

void mr_txn_client_stop(mr_txn_client *t) {
    if (!t->rk) return;
    if (t->in_txn) { /* not when a commit of it was tried */
        rd_kafka_error_t *error = rd_kafka_abort_transaction(t->rk, ABORT_MS);
        if (error) rd_kafka_error_destroy(error); /* the next producer of this id ends it */
    }
    rd_kafka_purge(t->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(t->rk, FLUSH_MS); /* the reports point into the work */
    stop_client(t);
}

void mr_txn_client_close(mr_txn_client *t) {
    uv_mutex_destroy(&t->consumer_lock);
    rd_kafka_conf_destroy(t->conf);
    free(t->id);
}
