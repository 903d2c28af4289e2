/* control.c - no group: a cancel is for whoever holds the job, and nobody knows who does.
 *
 * Reading starts at the end, so a request from before the start of this worker does not reach it;
 * the dispatcher, which holds a job first, keeps those. A record that is no request is logged and
 * left. */
#include "worker/control.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "schemas/codec.h"
#include "worker/cancelled.h"

#define MAX_PARTITIONS 1024
#define QUEUED_KBYTES  1024

struct mr_control {
    mr_control_conf conf;
    mr_kafka_consumer *consumer;
    mr_cancelled cancelled;
};

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_control *c = owner;
    char job_id[MR_JOB_ID_LEN + 1];
    mr_err err = {0};

    if (!m->value) return;
    if (mr_codec_cancel_decode(job_id, m->value, m->len, &err) != MR_OK) {
        mr_log(MR_LOG_WARN, "control", "record not understood", "part=%d off=%" PRId64 " err=" MR_Q,
               (int)m->partition, m->offset, err.text);
        return;
    }
    mr_cancelled_add(&c->cancelled, job_id);
    c->conf.on_cancel(c->conf.owner, job_id);
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "control",
           fatal ? "no further cancel will be heard" : "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
}

static mr_status assign_all(mr_control *c, mr_err *err) {
    mr_kafka_tp all[MAX_PARTITIONS];

    if (c->conf.n_partitions > MAX_PARTITIONS)
        return mr_fail(err, MR_ELIMIT, "topic %s has %d partitions; at most %d are read",
                       c->conf.topic, (int)c->conf.n_partitions, MAX_PARTITIONS);
    for (int32_t i = 0; i < c->conf.n_partitions; i++)
        all[i] = (mr_kafka_tp){.topic = c->conf.topic, .partition = i,
                               .offset = MR_KAFKA_OFFSET_END};
    return mr_kafka_assign(c->consumer, all, (size_t)c->conf.n_partitions, err);
}

mr_status mr_control_open(mr_control **out, uv_loop_t *loop, const mr_control_conf *conf,
                          mr_err *err) {
    mr_control *c = calloc(1, sizeof *c);
    mr_status st;

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "control: out of memory");
    c->conf = *conf;
    if ((st = mr_cancelled_init(&c->cancelled, err)) != MR_OK) goto fail;
    st = mr_kafka_consumer_open(&c->consumer, loop,
                                &(mr_kafka_consumer_conf){
                                    .conn = conf->kafka,
                                    .reset_offset = MR_KAFKA_OFFSET_END,
                                    .queued_max_kbytes = QUEUED_KBYTES,
                                    .read_committed = true,
                                    .owner = c,
                                    .on_msg = on_msg,
                                    .on_error = on_error,
                                },
                                err);
    if (st != MR_OK || (st = assign_all(c, err)) != MR_OK) goto fail;
    *out = c;
    return MR_OK;
fail:
    mr_control_close(c);
    return st;
}

bool mr_control_cancelled(const mr_control *c, const char *job_id) {
    return mr_cancelled_has(&c->cancelled, job_id);
}

void mr_control_close(mr_control *c) {
    if (!c) return;
    mr_kafka_consumer_close(c->consumer);
    mr_cancelled_deinit(&c->cancelled);
    free(c);
}
