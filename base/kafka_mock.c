/* kafka_mock.c - librdkafka's mock cluster as an embedded broker.
 *
 * It lives in threads of a librdkafka client of its own and listens on loopback ports, so any Kafka
 * client of this machine can use it. It is a broker for trying things out and for tests: nothing
 * survives it, it keeps 5 MiB per partition and then forgets the oldest silently, offsets that are
 * committed in transactions are lost, and it cannot create topics on request: a topic that is asked
 * for appears with four partitions, so make topics with mr_kafka_mock_topic first. */
#include "base/kafka_internal.h"

#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>

#include "base/log.h"

#define MAX_BROKERS    8
#define MAX_PARTITIONS 1024

struct mr_kafka_mock {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    int n_brokers, default_partitions;
};

/* Its client has nobody to connect to and says so; that is no news. */
static void on_log(const rd_kafka_t *rk, int level, const char *fac, const char *text) {
    (void)rk;
    (void)level;
    mr_log(MR_LOG_DEBUG, "kafka", "embedded broker", "fac=%s text=" MR_Q, fac, text);
}

mr_status mr_kafka_mock_open(mr_kafka_mock **out, int n_brokers, int default_partitions,
                             mr_err *err) {
    mr_status st = MR_OK;
    mr_kafka_mock *m = NULL;

    *out = NULL;
    if (n_brokers < 1 || n_brokers > MAX_BROKERS)
        return mr_fail(err, MR_EINVAL, "embedded broker: %d brokers; it must be 1..%d", n_brokers,
                       MAX_BROKERS);
    if (default_partitions < 1 || default_partitions > MAX_PARTITIONS)
        return mr_fail(err, MR_EINVAL, "embedded broker: %d partitions; it must be 1..%d",
                       default_partitions, MAX_PARTITIONS);
    m = calloc(1, sizeof *m);
    if (!m) return mr_fail(err, MR_ENOMEM, "embedded broker: no memory");
    m->n_brokers = n_brokers;
    m->default_partitions = default_partitions;

    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, on_log);
    if ((st = mr_kafka_client_new(&m->rk, RD_KAFKA_PRODUCER, conf, err)) != MR_OK) goto fail;
    m->cluster = rd_kafka_mock_cluster_new(m->rk, n_brokers);
    if (!m->cluster) {
        st = mr_fail(err, MR_EUNAVAIL, "embedded broker: cannot listen on loopback");
        goto fail;
    }
    *out = m;
    return MR_OK;
fail:
    mr_kafka_mock_close(m);
    return st;
}

mr_status mr_kafka_mock_topic(mr_kafka_mock *m, const char *topic, int32_t n_partitions,
                              mr_err *err) {
    if (!mr_kafka_topic_ok(topic))
        return mr_fail(err, MR_EINVAL, "embedded broker: \"%s\" is not a topic name",
                       topic ? topic : "");
    const int n = n_partitions > 0 ? n_partitions : m->default_partitions;
    if (n > MAX_PARTITIONS)
        return mr_fail(err, MR_EINVAL, "embedded broker: topic %s of %d partitions, limit %d",
                       topic, n, MAX_PARTITIONS);
    const rd_kafka_resp_err_t e = rd_kafka_mock_topic_create(m->cluster, topic, n, m->n_brokers);
    if (e && e != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return mr_fail(err, mr_kafka_status(e), "embedded broker: topic %s: %s", topic,
                       rd_kafka_err2str(e));
    return MR_OK;
}

const char *mr_kafka_mock_brokers(const mr_kafka_mock *m) {
    return rd_kafka_mock_cluster_bootstraps(m->cluster);
}

void mr_kafka_mock_close(mr_kafka_mock *m) {
    if (!m) return;
    if (m->cluster) rd_kafka_mock_cluster_destroy(m->cluster);
    if (m->rk) rd_kafka_destroy(m->rk);
    free(m);
}

void mr_kafka_mock_fail_next(mr_kafka_mock *m, int api_key, const int *kafka_errors, size_t n) {
    for (size_t i = 0; i < n; i++)
        rd_kafka_mock_push_request_errors(m->cluster, (int16_t)api_key, 1,
                                          (rd_kafka_resp_err_t)kafka_errors[i]);
}

void mr_kafka_mock_broker_up(mr_kafka_mock *m, bool up) {
    for (int32_t id = 1; id <= m->n_brokers; id++) {
        if (up)
            rd_kafka_mock_broker_set_up(m->cluster, id);
        else
            rd_kafka_mock_broker_set_down(m->cluster, id);
    }
}

void mr_kafka_mock_delay(mr_kafka_mock *m, int rtt_ms) {
    for (int32_t id = 1; id <= m->n_brokers; id++)
        rd_kafka_mock_broker_set_rtt(m->cluster, id, rtt_ms);
}
