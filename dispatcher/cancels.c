/* cancels.c - see cancels.h. Where the log has been cut meanwhile, reading starts at its beginning.
 */
#include "dispatcher/cancels.h"

#include <stdlib.h>

#include "base/log.h"
#include "dispatcher/recent.h"
#include "schemas/codec.h"

enum { MAX_PARTITIONS = 4096, QUEUED_KBYTES = 1024 };

struct mr_cancels {
    mr_cancels_conf conf;
    mr_kafka_consumer *consumer;
    size_t n, behind;            /* partitions; those not read up to their end */
    int64_t end[MAX_PARTITIONS]; /* at the open; -1: read */
    mr_kafka_tp from[MAX_PARTITIONS];
};

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_cancels *c = owner;
    char id[MR_JOB_ID_LEN + 1];
    mr_err err;

    if (!m->value) return;
    if (mr_codec_cancel_decode(id, m->value, m->len, &err) == MR_OK)
        c->conf.on_cancel(c->conf.owner, id);
    else
        mr_log(MR_LOG_WARN, "cancels", "not a control record, skipped",
               "part=%d off=%lld err=" MR_Q, m->partition, (long long)m->offset, err.text);
}

static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_cancels *c = owner;
    (void)topic;
    if ((size_t)partition >= c->n || c->end[partition] < 0 || offset < c->end[partition]) return;
    c->end[partition] = -1;
    if (--c->behind == 0) mr_log(MR_LOG_INFO, "cancels", "caught up", "parts=%zu", c->n);
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_cancels *c = owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "cancels", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) c->conf.on_fatal(c->conf.owner, text);
}

static void go_back(mr_cancels *c) {
    const int64_t back = (int64_t)(MR_RECENT_MAX / c->n);
    c->behind = c->n;
    for (size_t i = 0; i < c->n; i++) {
        c->end[i] = c->from[i].offset;
        c->from[i].offset = c->end[i] > back ? c->end[i] - back : 0;
    }
}

mr_status mr_cancels_open(mr_cancels **out, uv_loop_t *loop, const mr_cancels_conf *conf,
                          mr_err *err) {
    mr_cancels *c = calloc(1, sizeof *c);
    const mr_kafka_consumer_conf cc = {.conn = *conf->kafka,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                       .queued_max_kbytes = QUEUED_KBYTES,
                                       .owner = c,
                                       .on_msg = on_msg,
                                       .on_error = on_error,
                                       .on_eof = on_eof};
    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "cancels: out of memory");
    c->conf = *conf;
    mr_status st = mr_kafka_ends(conf->kafka, conf->topic, conf->timeout_ms, c->from,
                                 MAX_PARTITIONS, &c->n, err);
    if (st == MR_OK) {
        go_back(c);
        st = mr_kafka_consumer_open(&c->consumer, loop, &cc, err);
    }
    if (st == MR_OK) st = mr_kafka_assign(c->consumer, c->from, c->n, err);
    if (st != MR_OK) {
        mr_cancels_close(c);
        return st;
    }
    *out = c;
    return MR_OK;
}

bool mr_cancels_caught_up(const mr_cancels *c) {
    return c->behind == 0;
}

void mr_cancels_close(mr_cancels *c) {
    if (!c) return;
    mr_kafka_consumer_close(c->consumer);
    free(c);
}
