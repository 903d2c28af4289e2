/* commit.c - one producer, one window of offsets per partition.
 *
 * A record that could not be produced is tried again, later and later; its job keeps its slot, so a
 * broker that takes nothing stops the intake by itself when the slots are used up. After
 * MR_COMMIT_MAX_TRIES the worker ends rather than run in circles: its offsets are not committed,
 * and whoever starts next does the jobs again.
 *
 * A record that Kafka will never take because of its size is replaced by a short one that says so.
 *
 * Watermarks are committed by a timer that runs only when one has moved. Thread: loop. */
#include "worker/commit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/offsets.h"
#include "schemas/headers.h"
#include "worker/result.h"

#define BACKOFF_FIRST_MS 50
#define WARM_MS          1000
#define RETRY_TICK_MS    25

typedef struct part {
    mr_offsets *offsets; /* NULL: not ours */
    uint32_t epoch;
    bool known; /* offsets has its start */
    int64_t committed;
} part;

struct mr_commit {
    mr_commit_conf conf;
    mr_kafka_producer *producer;
    mr_kafka_consumer *consumer;
    uv_timer_t commit_timer, retry_timer;
    int n_timers;
    uint32_t last_epoch;
    part *parts; /* [n_parts] by partition number */
    size_t n_parts;
    mr_kafka_tp *moved; /* [n_parts] scratch */
    mr_job *retry;      /* list by next_retry */
    bool closing;
    mr_commit_stats stats;
};

/* ---- watermarks ---- */

static size_t collect(mr_commit *c, bool only_moved) {
    size_t n = 0;

    for (size_t i = 0; i < c->n_parts; i++) {
        part *p = &c->parts[i];
        const int64_t next = p->offsets && p->known ? mr_offsets_commit(p->offsets) : -1;
        if (next < 0 || (only_moved && next <= p->committed)) continue;
        c->moved[n++] = (mr_kafka_tp){c->conf.work_topic, (int32_t)i, next};
    }
    return n;
}

static void note_committed(mr_commit *c, size_t n) {
    for (size_t i = 0; i < n; i++) c->parts[c->moved[i].partition].committed = c->moved[i].offset;
    c->stats.commits++;
}

static void on_commit_timer(uv_timer_t *timer) {
    mr_commit *c = timer->data;
    const size_t n = collect(c, true);
    mr_err err = {0};

    if (n == 0 || !c->consumer) return;
    if (mr_kafka_commit(c->consumer, c->moved, n, &err) == MR_OK) {
        note_committed(c, n);
        return;
    }
    mr_log(MR_LOG_WARN, "commit", "offsets not committed, will try again", "err=" MR_Q, err.text);
    uv_timer_start(&c->commit_timer, on_commit_timer, MR_COMMIT_BACKOFF_MS, 0);
}

void mr_commit_now(mr_commit *c, int timeout_ms) {
    const size_t n = collect(c, false); /* an earlier commit may have failed */
    mr_err err = {0};

    uv_timer_stop(&c->commit_timer);
    if (n == 0 || !c->consumer) return;
    if (mr_kafka_commit_sync(c->consumer, c->moved, n, timeout_ms, &err) == MR_OK) {
        note_committed(c, n);
    } else {
        mr_log(MR_LOG_WARN, "commit", "offsets not committed: their jobs may run again",
               "parts=%zu err=" MR_Q, n, err.text);
    }
}

static mr_status grow_parts(mr_commit *c, size_t n, mr_err *err) {
    part *parts;
    mr_kafka_tp *moved;

    if (n <= c->n_parts) return MR_OK;
    if (n > MR_COMMIT_MAX_PARTS)
        return mr_fail(err, MR_ELIMIT, "topic %s: partition %zu; at most %d partitions are handled",
                       c->conf.work_topic, n - 1, MR_COMMIT_MAX_PARTS);
    moved = realloc(c->moved, n * sizeof *moved);
    if (moved) c->moved = moved;
    parts = moved ? realloc(c->parts, n * sizeof *parts) : NULL;
    if (!parts) return mr_fail(err, MR_ENOMEM, "commit: no memory for %zu partitions", n);
    memset(parts + c->n_parts, 0, (n - c->n_parts) * sizeof *parts);
    c->parts = parts;
    c->n_parts = n;
    return MR_OK;
}

mr_status mr_commit_assign(mr_commit *c, int32_t partition, int64_t next, mr_err *err) {
    part *p;
    mr_status st;

    MR_CHECK(partition >= 0);
    if ((st = grow_parts(c, (size_t)partition + 1, err)) != MR_OK) return st;
    p = &c->parts[partition];
    mr_commit_revoke(c, partition);
    if ((st = mr_offsets_open(&p->offsets, c->conf.window, err)) != MR_OK) return st;
    p->epoch = ++c->last_epoch;
    p->known = next >= 0;
    p->committed = next >= 0 ? next : -1;
    if (p->known) mr_offsets_reset(p->offsets, next);
    return MR_OK;
}

void mr_commit_revoke(mr_commit *c, int32_t partition) {
    if ((size_t)partition >= c->n_parts) return;
    mr_offsets_close(c->parts[partition].offsets);
    c->parts[partition] = (part){0};
}

mr_status mr_commit_begin(mr_commit *c, int32_t partition, int64_t offset, uint32_t *epoch) {
    part *p;

    if ((size_t)partition >= c->n_parts || !c->parts[partition].offsets) return MR_EINVAL;
    p = &c->parts[partition];
    if (!p->known) {
        mr_offsets_reset(p->offsets, offset);
        p->known = true;
    }
    *epoch = p->epoch;
    return mr_offsets_begin(p->offsets, offset);
}

void mr_commit_finish(mr_commit *c, int32_t partition, uint32_t epoch, int64_t offset) {
    part *p;

    if ((size_t)partition >= c->n_parts || c->parts[partition].epoch != epoch) return;
    p = &c->parts[partition];
    if (!p->offsets) return;
    if (mr_offsets_finish(p->offsets, offset) > p->committed && !c->closing &&
        !uv_is_active((uv_handle_t *)&c->commit_timer))
        uv_timer_start(&c->commit_timer, on_commit_timer, MR_COMMIT_MS, 0);
}

/* ---- records ---- */

static void on_retry_timer(uv_timer_t *timer);

static void try_later(mr_commit *c, mr_job *j, const char *why) {
    uint64_t pause_ms = BACKOFF_FIRST_MS;

    j->tries++;
    c->stats.retries++;
    for (uint32_t i = 1; i < j->tries && pause_ms < MR_COMMIT_BACKOFF_MS; i++) pause_ms *= 2;
    if (pause_ms > MR_COMMIT_BACKOFF_MS) pause_ms = MR_COMMIT_BACKOFF_MS;
    mr_log(MR_LOG_WARN, "commit", "result not produced, will try again",
           "job=%s part=%d off=%" PRId64 " tries=%u err=" MR_Q, j->spec.job_id, (int)j->partition,
           j->offset, (unsigned)j->tries, why);
    j->retry_at_ms = mr_clock_mono_ms() + pause_ms;
    j->next_retry = c->retry;
    c->retry = j;
    if (!uv_is_active((uv_handle_t *)&c->retry_timer))
        uv_timer_start(&c->retry_timer, on_retry_timer, RETRY_TICK_MS, RETRY_TICK_MS);
    if (j->tries == MR_COMMIT_MAX_TRIES) c->conf.on_fatal(c->conf.owner, MR_EUNAVAIL, why);
}

/* The local queue is full: not the record's fault, so it costs no try. */
static void wait_for_room(mr_commit *c, mr_job *j) {
    j->retry_at_ms = mr_clock_mono_ms() + RETRY_TICK_MS;
    j->next_retry = c->retry;
    c->retry = j;
    if (!uv_is_active((uv_handle_t *)&c->retry_timer))
        uv_timer_start(&c->retry_timer, on_retry_timer, RETRY_TICK_MS, RETRY_TICK_MS);
}

static mr_status produce_result(mr_commit *c, mr_job *j, mr_err *err) {
    mr_result_headers h;
    mr_result r;

    mr_result_of(&r, j, c->conf.model, c->conf.worker);
    mr_result_headers_init(&h, &r, j->spec.reply_format, c->conf.worker, j->traceparent);
    return mr_kafka_send(c->producer, c->conf.results_topic, MR_KAFKA_ANY_PARTITION, j->spec.job_id,
                         strlen(j->spec.job_id), j->record, j->record_len, h.list, h.n, j, err);
}

static mr_status produce_other(mr_commit *c, mr_job *j, mr_err *err) {
    const mr_kafka_header type = {"content-type", "application/json", 16};

    return mr_kafka_send(c->producer, j->record_topic, MR_KAFKA_ANY_PARTITION, NULL, 0, j->record,
                         j->record_len, &type, 1, j, err);
}

static mr_status produce(mr_commit *c, mr_job *j, mr_err *err) {
    return j->record_topic ? produce_other(c, j, err) : produce_result(c, j, err);
}

static void replace_too_large(mr_commit *c, mr_job *j) {
    mr_err err = {0};

    mr_log(MR_LOG_WARN, "commit", "result too large for a record", "job=%s bytes=%zu",
           j->spec.job_id, j->record_len);
    if (mr_result_build_too_large(j, c->conf.model, c->conf.worker, mr_clock_wall_ms(), &err) !=
            MR_OK ||
        produce(c, j, &err) != MR_OK) {
        try_later(c, j, err.text);
        return;
    }
    j->record_sent = true;
}

void mr_commit_send(mr_commit *c, mr_job *j) {
    mr_err err = {0};
    const mr_status st = produce(c, j, &err);

    if (st == MR_OK) {
        j->record_sent = true;
    } else if (st == MR_EINVAL && !j->record_topic && j->tries == 0) {
        replace_too_large(c, j);
    } else if (st == MR_ELIMIT) {
        wait_for_room(c, j);
    } else {
        try_later(c, j, err.text);
    }
}

static void on_retry_timer(uv_timer_t *timer) {
    mr_commit *c = timer->data;
    const uint64_t now_ms = mr_clock_mono_ms();
    mr_job *all = c->retry;

    c->retry = NULL;
    while (all) {
        mr_job *j = all;
        all = j->next_retry;
        j->next_retry = NULL;
        if (j->retry_at_ms <= now_ms) {
            mr_commit_send(c, j);
        } else {
            j->next_retry = c->retry;
            c->retry = j;
        }
    }
    if (!c->retry) uv_timer_stop(&c->retry_timer);
}

static void on_delivery(void *owner, void *cookie, mr_status status, const char *err_text,
                        int32_t partition, int64_t offset) {
    mr_commit *c = owner;
    mr_job *j = cookie;

    (void)partition;
    (void)offset;
    if (!j) { /* a heartbeat: the next one says it again */
        if (status != MR_OK && !c->closing)
            mr_log(MR_LOG_DEBUG, "commit", "heartbeat not delivered", "err=" MR_Q,
                   err_text ? err_text : mr_status_name(status));
        return;
    }
    j->record_sent = false;
    if (status == MR_OK) {
        c->stats.records++;
        mr_commit_finish(c, j->partition, j->epoch, j->offset);
        if (!c->closing) c->conf.on_done(c->conf.owner, j);
    } else if (!c->closing) {
        try_later(c, j, err_text ? err_text : mr_status_name(status));
    }
}

/* ---- open and close ---- */

static void on_timer_closed(uv_handle_t *handle) {
    mr_commit *c = handle->data;

    if (--c->n_timers > 0) return;
    for (size_t i = 0; i < c->n_parts; i++) mr_offsets_close(c->parts[i].offsets);
    free(c->parts);
    free(c->moved);
    free(c);
}

mr_status mr_commit_open(mr_commit **out, uv_loop_t *loop, const mr_commit_conf *conf,
                            mr_err *err) {
    mr_commit *c = calloc(1, sizeof *c);
    mr_status st;

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "commit: out of memory");
    c->conf = *conf;
    st = mr_kafka_producer_open(&c->producer, loop, &conf->kafka, on_delivery, c, err);
    if (st == MR_OK) mr_kafka_warm(c->producer, conf->results_topic, WARM_MS);
    if (st != MR_OK) {
        free(c);
        return st;
    }
    uv_timer_init(loop, &c->commit_timer); /* both always 0 */
    uv_timer_init(loop, &c->retry_timer);
    c->n_timers = 2;
    c->commit_timer.data = c->retry_timer.data = c;
    *out = c;
    return MR_OK;
}

void mr_commit_use(mr_commit *c, mr_kafka_consumer *consumer) {
    c->consumer = consumer;
}

mr_kafka_producer *mr_commit_producer(const mr_commit *c) {
    return c->producer;
}

mr_commit_stats mr_commit_get_stats(const mr_commit *c) {
    mr_commit_stats stats = c->stats;

    for (size_t i = 0; i < c->n_parts; i++) {
        if (c->parts[i].offsets) stats.unfinished += mr_offsets_pending(c->parts[i].offsets);
    }
    return stats;
}

void mr_commit_close(mr_commit *c, int timeout_ms) {
    if (!c) return;
    c->closing = true;
    if (mr_kafka_flush(c->producer, timeout_ms) != MR_OK)
        mr_log(MR_LOG_WARN, "commit", "records not delivered before the end", "records=%zu",
               mr_kafka_in_flight(c->producer));
    mr_kafka_producer_close(c->producer);
    uv_close((uv_handle_t *)&c->commit_timer, on_timer_closed);
    uv_close((uv_handle_t *)&c->retry_timer, on_timer_closed);
}
