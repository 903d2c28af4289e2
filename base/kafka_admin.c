/* kafka_admin.c - blocking questions to a cluster: make topics, count partitions, find offsets.
 *
 * Each call makes a client of its own and drops it: they run once at the start of a program, where
 * waiting is right. What exists is asked for with a list of all topics, since asking for one by
 * name may create it.
 *
 * Limits: the caller's timeout over all steps of a call; MAX_TOPICS per call. */
#include "base/kafka_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_TOPICS 256
#define LOOK_MS    100 /* between two looks whether new topics, or their leaders, are there */

typedef struct admin {
    rd_kafka_t *rk;
    const char *brokers;
    uint64_t until_ms;
} admin;

static int left_ms(const admin *a) {
    const uint64_t now = mr_clock_mono_ms();
    return now < a->until_ms ? (int)(a->until_ms - now) : 1; /* 0 would be "do not wait at all" */
}

static bool is_late(const admin *a) {
    return mr_clock_mono_ms() >= a->until_ms;
}

static mr_status admin_open(admin *a, const mr_kafka_conf *conf, int timeout_ms, mr_err *err) {
    rd_kafka_conf_t *rk_conf;
    *a = (admin){.brokers = conf->brokers,
                 .until_ms = mr_clock_mono_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0)};
    const mr_status st = mr_kafka_conf_new(&rk_conf, conf, NULL, 0, err);
    if (st != MR_OK) return st;
    return mr_kafka_client_new(&a->rk, RD_KAFKA_PRODUCER, rk_conf, err);
}

static void admin_close(admin *a) {
    if (a->rk) rd_kafka_destroy(a->rk);
}

/* Whatever the reason is, no broker answered. */
static mr_status no_answer(const admin *a, rd_kafka_resp_err_t e, mr_err *err) {
    return mr_fail(err, MR_EUNAVAIL, "kafka %s: no answer: %s", a->brokers, rd_kafka_err2str(e));
}

/* topic NULL: all topics, creates none. */
static mr_status get_metadata(const admin *a, const char *topic,
                              const struct rd_kafka_metadata **md, mr_err *err) {
    rd_kafka_topic_t *rkt = topic ? rd_kafka_topic_new(a->rk, topic, NULL) : NULL;
    const rd_kafka_resp_err_t e = rd_kafka_metadata(a->rk, topic == NULL, rkt, md, left_ms(a));
    if (rkt) rd_kafka_topic_destroy(rkt);
    return e ? no_answer(a, e, err) : MR_OK;
}

/* Partitions of a topic that all have a leader; 0: it is not there (yet). */
static int32_t partitions_in(const struct rd_kafka_metadata *md, const char *topic) {
    for (int i = 0; i < md->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *t = &md->topics[i];
        if (strcmp(t->topic, topic) != 0) continue;
        return t->err == RD_KAFKA_RESP_ERR_NO_ERROR ? t->partition_cnt : 0;
    }
    return 0;
}

/* ---- making topics ---- */

static mr_status new_topic(rd_kafka_NewTopic_t **out, const mr_kafka_topic *t, mr_err *err) {
    char why[256];
    *out =
        rd_kafka_NewTopic_new(t->name, t->n_partitions, -1 /* broker's default */, why, sizeof why);
    if (!*out) return mr_fail(err, MR_EINVAL, "kafka topic %s: %s", t->name, why);
    for (size_t i = 0; t->config && t->config[i]; i++) {
        char name[128];
        const char *eq = strchr(t->config[i], '=');
        const size_t n = eq ? (size_t)(eq - t->config[i]) : 0;
        if (n == 0 || n >= sizeof name)
            return mr_fail(err, MR_EINVAL, "kafka topic %s: config \"%s\" is not name=value",
                           t->name, t->config[i]);
        memcpy(name, t->config[i], n);
        name[n] = 0;
        rd_kafka_NewTopic_set_config(*out, name, eq + 1);
    }
    return MR_OK;
}

/* Sends one CreateTopics request; *e is its error, or the first of a topic's. */
static mr_status send_create(const admin *a, rd_kafka_NewTopic_t **nt, size_t n, mr_err *err) {
    char why[256];
    mr_status st = MR_OK;
    rd_kafka_queue_t *q = rd_kafka_queue_new(a->rk);
    rd_kafka_AdminOptions_t *opt = rd_kafka_AdminOptions_new(a->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);

    rd_kafka_AdminOptions_set_request_timeout(opt, left_ms(a), why, sizeof why);
    rd_kafka_AdminOptions_set_operation_timeout(opt, left_ms(a), why, sizeof why);
    rd_kafka_CreateTopics(a->rk, nt, n, opt, q);
    rd_kafka_event_t *ev =
        rd_kafka_queue_poll(q, left_ms(a) + 1000 /* its own timeout comes first */);
    const rd_kafka_CreateTopics_result_t *r = ev ? rd_kafka_event_CreateTopics_result(ev) : NULL;
    if (!ev || !r || rd_kafka_event_error(ev)) {
        const rd_kafka_resp_err_t e = ev ? rd_kafka_event_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
        st = mr_fail(err, mr_kafka_status(e), "kafka %s: create topics: %s", a->brokers,
                     ev ? rd_kafka_event_error_string(ev) : rd_kafka_err2str(e));
        goto done;
    }
    size_t n_results = 0;
    const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(r, &n_results);
    for (size_t i = 0; i < n_results; i++) {
        const rd_kafka_resp_err_t e = rd_kafka_topic_result_error(results[i]);
        if (!e || e == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) continue; /* somebody was faster */
        const char *text = rd_kafka_topic_result_error_string(results[i]);
        st = mr_fail(err, mr_kafka_status(e), "kafka topic %s: not created: %s",
                     rd_kafka_topic_result_name(results[i]), text ? text : rd_kafka_err2str(e));
        break;
    }
done:
    if (ev) rd_kafka_event_destroy(ev);
    rd_kafka_AdminOptions_destroy(opt);
    rd_kafka_queue_destroy(q);
    return st;
}

static mr_status create(const admin *a, const mr_kafka_topic *const *missing, size_t n,
                        mr_err *err) {
    rd_kafka_NewTopic_t *nt[MAX_TOPICS];
    mr_status st = MR_OK;
    size_t made = 0;
    for (; made < n && st == MR_OK; made++) st = new_topic(&nt[made], missing[made], err);
    if (st == MR_OK) st = send_create(a, nt, n, err);
    for (size_t i = 0; i < made; i++)
        if (nt[i]) rd_kafka_NewTopic_destroy(nt[i]);
    return st;
}

/* The embedded broker has no controller, so CreateTopics would wait for one until time is over. */
static bool is_mock(const admin *a) {
    char *id = rd_kafka_clusterid(a->rk, left_ms(a));
    const bool yes = id && strncmp(id, "mockCluster", strlen("mockCluster")) == 0;
    rd_kafka_mem_free(a->rk, id);
    return yes;
}

/* It makes a topic when somebody asks for it. */
static mr_status create_by_asking(const admin *a, const mr_kafka_topic *const *missing, size_t n,
                                  mr_err *err) {
    for (size_t i = 0; i < n; i++) {
        const struct rd_kafka_metadata *md = NULL;
        const mr_status st = get_metadata(a, missing[i]->name, &md, err);
        if (st != MR_OK) return st;
        rd_kafka_metadata_destroy(md);
    }
    return MR_OK;
}

/* *n_missing topics of topics[n] that the cluster does not have. */
static mr_status find_missing(const admin *a, const mr_kafka_topic *topics, size_t n,
                              const mr_kafka_topic **missing, size_t *n_missing, mr_err *err) {
    const struct rd_kafka_metadata *md = NULL;
    const mr_status st = get_metadata(a, NULL, &md, err);
    *n_missing = 0;
    if (st != MR_OK) return st;
    for (size_t i = 0; i < n; i++)
        if (partitions_in(md, topics[i].name) == 0) missing[(*n_missing)++] = &topics[i];
    rd_kafka_metadata_destroy(md);
    return MR_OK;
}

static mr_status wait_until_there(const admin *a, const mr_kafka_topic *topics, size_t n,
                                  mr_err *err) {
    const mr_kafka_topic *missing[MAX_TOPICS];
    size_t n_missing = 0;
    for (;;) {
        const mr_status st = find_missing(a, topics, n, missing, &n_missing, err);
        if (st != MR_OK || n_missing == 0) return st;
        if (is_late(a))
            return mr_fail(err, MR_ETIMEOUT, "kafka topic %s: created, but not visible in time",
                           missing[0]->name);
        usleep(LOOK_MS * 1000);
    }
}

mr_status mr_kafka_ensure_topics(const mr_kafka_conf *conf, const mr_kafka_topic *topics, size_t n,
                                 int timeout_ms, mr_err *err) {
    const mr_kafka_topic *missing[MAX_TOPICS];
    size_t n_missing = 0;
    admin a = {0};
    mr_status st = MR_OK;

    if (n > MAX_TOPICS)
        return mr_fail(err, MR_EINVAL, "kafka topics: %zu at one time, limit %d", n, MAX_TOPICS);
    for (size_t i = 0; i < n; i++)
        if (!mr_kafka_topic_ok(topics[i].name) || topics[i].n_partitions < 1)
            return mr_fail(err, MR_EINVAL,
                           "kafka topic \"%s\" of %d partitions: bad name or number",
                           topics[i].name ? topics[i].name : "", (int)topics[i].n_partitions);
    if ((st = admin_open(&a, conf, timeout_ms, err)) != MR_OK) return st;
    if ((st = find_missing(&a, topics, n, missing, &n_missing, err)) != MR_OK) goto done;
    if (n_missing == 0) goto done;
    st = is_mock(&a) ? create_by_asking(&a, missing, n_missing, err)
                     : create(&a, missing, n_missing, err);
    if (st == MR_OK) st = wait_until_there(&a, topics, n, err);
done:
    admin_close(&a);
    return st;
}

/* ---- deleting topics ---- */

static bool begins_with(const char *topic, const char *prefix) {
    const size_t n = strlen(prefix);
    return strncmp(topic, prefix, n) == 0 && (topic[n] == '.' || topic[n] == '\0');
}

static mr_status send_delete(const admin *a, rd_kafka_DeleteTopic_t **dt, size_t n, mr_err *err) {
    char why[256];
    rd_kafka_queue_t *q = rd_kafka_queue_new(a->rk);
    rd_kafka_AdminOptions_t *opt = rd_kafka_AdminOptions_new(a->rk, RD_KAFKA_ADMIN_OP_DELETETOPICS);

    rd_kafka_AdminOptions_set_request_timeout(opt, left_ms(a), why, sizeof why);
    rd_kafka_DeleteTopics(a->rk, dt, n, opt, q);
    rd_kafka_event_t *ev =
        rd_kafka_queue_poll(q, left_ms(a) + 1000 /* its own timeout comes first */);
    rd_kafka_resp_err_t e = ev ? rd_kafka_event_error(ev) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const rd_kafka_DeleteTopics_result_t *r =
        ev && !e ? rd_kafka_event_DeleteTopics_result(ev) : NULL;
    size_t n_results = 0;
    const rd_kafka_topic_result_t **results =
        r ? rd_kafka_DeleteTopics_result_topics(r, &n_results) : NULL;
    for (size_t i = 0; i < n_results && !e; i++) {
        e = rd_kafka_topic_result_error(results[i]);
        if (e == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) e = RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (ev) rd_kafka_event_destroy(ev);
    rd_kafka_AdminOptions_destroy(opt);
    rd_kafka_queue_destroy(q);
    if (!e) return MR_OK;
    return mr_fail(err, mr_kafka_status(e), "kafka %s: delete topics: %s", a->brokers,
                   rd_kafka_err2str(e));
}

mr_status mr_kafka_drop_topics(const mr_kafka_conf *conf, const char *prefix, int timeout_ms,
                               mr_err *err) {
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_DeleteTopic_t *dt[MAX_TOPICS];
    size_t n = 0;
    admin a = {0};

    if (!mr_kafka_topic_ok(prefix)) return mr_fail(err, MR_EINVAL, "kafka topics: no such prefix");
    mr_status st = admin_open(&a, conf, timeout_ms, err);
    if (st == MR_OK) st = get_metadata(&a, NULL, &md, err);
    for (int i = 0; md && i < md->topic_cnt && n < MAX_TOPICS; i++)
        if (begins_with(md->topics[i].topic, prefix))
            dt[n++] = rd_kafka_DeleteTopic_new(md->topics[i].topic);
    if (st == MR_OK && n > 0) st = send_delete(&a, dt, n, err);
    rd_kafka_DeleteTopic_destroy_array(dt, n);
    if (md) rd_kafka_metadata_destroy(md);
    admin_close(&a);
    return st;
}

/* ---- questions ---- */

mr_status mr_kafka_partitions(const mr_kafka_conf *conf, const char *topic, int timeout_ms,
                              int32_t *n_out, mr_err *err) {
    const struct rd_kafka_metadata *md = NULL;
    admin a = {0};

    *n_out = 0;
    mr_status st = admin_open(&a, conf, timeout_ms, err);
    if (st == MR_OK) st = get_metadata(&a, NULL, &md, err);
    if (st == MR_OK) {
        *n_out = partitions_in(md, topic);
        if (*n_out == 0) st = mr_fail(err, MR_ENOTFOUND, "kafka topic %s: no such topic", topic);
        rd_kafka_metadata_destroy(md);
    }
    admin_close(&a);
    return st;
}

/* One request per broker: as a time, -1 is Kafka's word for the end of a partition. Asking partition by
 * partition takes a round trip each, some 40 ms on the embedded broker. */
static rd_kafka_resp_err_t query_ends_once(const admin *a, const char *topic, int32_t n,
                                           mr_kafka_tp *tp) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
    for (int32_t i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_END;
    rd_kafka_resp_err_t e = rd_kafka_offsets_for_times(a->rk, list, left_ms(a));
    for (int32_t i = 0; i < n && !e; i++) {
        e = list->elems[i].err;
        tp[i] = (mr_kafka_tp){.topic = topic, .partition = list->elems[i].partition,
                              .offset = list->elems[i].offset};
    }
    rd_kafka_topic_partition_list_destroy(list);
    return e;
}

/* A topic that was just made, or whose broker just died, has no leader for a moment; until the client
 * has heard of one it does not know the partition either. */
static bool is_without_leader(rd_kafka_resp_err_t e) {
    return e == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           e == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
           e == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || e == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

static mr_status query_ends(const admin *a, const char *topic, int32_t n, mr_kafka_tp *tp, mr_err *err) {
    rd_kafka_resp_err_t e;
    while (is_without_leader(e = query_ends_once(a, topic, n, tp)) && !is_late(a))
        usleep(LOOK_MS * 1000);
    return e ? no_answer(a, e, err) : MR_OK;
}

mr_status mr_kafka_ends(const mr_kafka_conf *conf, const char *topic, int timeout_ms,
                        mr_kafka_tp *tp, size_t cap, size_t *n, mr_err *err) {
    const struct rd_kafka_metadata *md = NULL;
    admin a = {0};

    *n = 0;
    mr_status st = admin_open(&a, conf, timeout_ms, err);
    if (st != MR_OK) return st;
    st = get_metadata(&a, NULL, &md, err);
    const int32_t count = st == MR_OK ? partitions_in(md, topic) : 0;
    if (st == MR_OK && count == 0)
        st = mr_fail(err, MR_ENOTFOUND, "kafka topic %s: not there", topic);
    if (st == MR_OK && (size_t)count > cap)
        st = mr_fail(err, MR_ELIMIT, "kafka topic %s has %d partitions, must have at most %zu",
                     topic, (int)count, cap);
    if (st == MR_OK) st = query_ends(&a, topic, count, tp, err);
    if (st == MR_OK) *n = (size_t)count;
    if (md) rd_kafka_metadata_destroy(md);
    admin_close(&a);
    return st;
}
