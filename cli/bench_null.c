/* bench_null.c - see bench_null.h.
 *
 * A job holds a slot from its delivery until its result is committed. What is not answered yet
 * waits in a ring of MR_BENCH_MAX_SLOTS and the dispatchers' lookahead; a record beyond it would
 * mean that they do not count, and is told as a failure. */
#include "cli/bench_null.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/commit.h"
#include "schemas/codec.h"
#include "schemas/headers.h"

enum {
    TICK_MS = 2,
    BEAT_MS = 500,     /* of the worker's settings */
    BEAT_SOON_MS = 20, /* after a change */
    RING = MR_BENCH_MAX_SLOTS + 1024,
    ENDLESS = 1 << 30, /* free slots of one that takes nothing */
    MAX_PARTITIONS = 1024,
    TRANSACTION_MS = 10000,
    RECORD_LIMIT = 16 << 20,
    FLUSH_MS = 5000
};

typedef struct taken {
    mr_origin at;
    char job_id[MR_JOB_ID_LEN + 1];
    uint64_t received_ms;
    uint32_t attempt, charged;
    mr_priority lane;
} taken;

struct mr_bench_null {
    mr_bench_null_conf conf;
    mr_kafka_producer *producer; /* heartbeats */
    mr_kafka_consumer *consumer;
    mr_commit *commit;
    uv_timer_t tick;
    mr_arena arena;
    taken ring[RING];
    size_t first, n; /* of the ring, to be answered */
    size_t held;     /* taken, result not committed */
    struct mr_heartbeat_part parts[MAX_PARTITIONS];
    size_t n_parts;
    uint64_t beat_ms, began_us, n_answered;
    bool changed, leaving;
    mr_err failure; /* MR_OK: all is well */
};

static void fail(mr_bench_null *w, const char *text) {
    if (w->failure.status == MR_OK) mr_fail(&w->failure, MR_EUNAVAIL, "%s", text);
}

/* ---- heartbeats ---- */

static void send_beat(mr_bench_null *w) {
    const bool takes = w->conf.group != NULL;
    const uint32_t slots = takes ? w->conf.slots : ENDLESS;
    const uint32_t held = (uint32_t)(w->held < slots ? w->held : slots);
    const mr_heartbeat h = {.worker = w->conf.worker,
                            .model = w->conf.model,
                            .sent_ms = mr_clock_wall_ms(),
                            .leaving = w->leaving,
                            .parts = w->parts,
                            .n_parts = w->n_parts,
                            .free_slots = slots - held,
                            .max_slots = slots,
                            .running = held,
                            .kv_tokens_free = ENDLESS,
                            .kv_tokens_total = ENDLESS,
                            .n_ctx = 1 << 20};
    const void *bytes;
    size_t n;

    mr_arena_reset(&w->arena);
    if (mr_codec_heartbeat_encode(&h, &w->arena, &bytes, &n) == MR_OK)
        (void)mr_kafka_send(w->producer, w->conf.workers_topic, MR_KAFKA_ANY_PARTITION,
                            w->conf.worker, strlen(w->conf.worker), bytes, n, NULL, 0, NULL, NULL);
    w->beat_ms = mr_clock_mono_ms();
    w->changed = false;
}

/* ---- answers ---- */

static void on_answered(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    mr_bench_null *w = owner;
    (void)arg;
    (void)offset;
    w->held--;
    w->changed = true;
    if (status != MR_OK && status != MR_ECANCELED) fail(w, why);
}

static mr_status send_result(mr_bench_null *w, const taken *t) {
    mr_result r = {.model = w->conf.model,
                   .tenant = "default",
                   .status = MR_STATUS_SUCCEEDED,
                   .finish_reason = "stop",
                   .text = "An answer of some words.",
                   .text_len = 24,
                   .prompt_tokens = 200,
                   .completion_tokens = 6,
                   .attempt = t->attempt,
                   .worker = w->conf.worker,
                   .received_ms = t->received_ms,
                   .finished_ms = mr_clock_wall_ms()};
    mr_commit_record record = {.topic = w->conf.results_topic,
                               .partition = MR_KAFKA_ANY_PARTITION,
                               .key = t->job_id,
                               .key_len = MR_JOB_ID_LEN};
    mr_result_headers headers;
    mr_err err = {0};

    memcpy(r.job_id, t->job_id, sizeof r.job_id);
    mr_arena_reset(&w->arena);
    mr_status st =
        mr_codec_result_encode(&r, MR_FORMAT_JSON, &w->arena, &record.value, &record.len);
    mr_result_headers_init(&headers, &r, MR_FORMAT_JSON, w->conf.worker, NULL);
    mr_result_headers_charge(&headers, t->lane, t->charged);
    record.headers = headers.list;
    record.n_headers = headers.n;
    if (st == MR_OK) st = mr_commit_send(w->commit, t->at, &record, 1, on_answered, w, NULL, &err);
    if (st == MR_ECANCELED) w->held--;
    if (st != MR_OK && st != MR_ECANCELED && st != MR_ELIMIT) fail(w, err.text);
    return st;
}

static void answer_due(mr_bench_null *w) {
    const double most = (double)(mr_clock_mono_us() - w->began_us) * w->conf.answers_per_s / 1e6;

    while (w->n > 0 && (w->conf.answers_per_s <= 0 || (double)w->n_answered < most)) {
        if (send_result(w, &w->ring[w->first % RING]) == MR_ELIMIT) return;
        w->first++;
        w->n--;
        w->n_answered++;
    }
    /* What it could not do while nothing waited is not made up for later. */
    if (w->n == 0) {
        w->began_us = mr_clock_mono_us();
        w->n_answered = 0;
    }
}

/* ---- records ---- */

static void note_position(mr_bench_null *w, int32_t partition, int64_t next) {
    for (size_t i = 0; i < w->n_parts; i++)
        if (w->parts[i].partition == partition) w->parts[i].position = next;
    w->changed = true;
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_bench_null *w = owner;
    const int part = mr_parts_find(mr_commit_parts(w->commit), m->topic, m->partition);
    taken *t = &w->ring[(w->first + w->n) % RING];
    mr_job_spec j;

    if (part < 0 || mr_parts_begin(mr_commit_parts(w->commit), part, m->offset, &t->at) != MR_OK)
        return;
    note_position(w, m->partition, m->offset + 1);
    mr_arena_reset(&w->arena);
    if (w->n == RING) {
        fail(w, "more jobs came than there was room for");
    } else if (mr_codec_job_decode(&j, MR_FORMAT_MSGPACK, m->value, m->len, true, &w->arena,
                                   NULL) != MR_OK) {
        fail(w, "a work record cannot be decoded");
    } else {
        memcpy(t->job_id, j.job_id, sizeof t->job_id);
        t->received_ms = j.received_ms;
        t->attempt = j.attempt;
        t->charged = j.charged;
        t->lane = j.priority;
        w->n++;
        w->held++;
        if (w->conf.answers_per_s <= 0) answer_due(w);
    }
}

static void on_assign(void *owner, const mr_kafka_tp *tp, size_t n) {
    mr_bench_null *w = owner;
    mr_err err;

    for (size_t i = 0; i < n; i++) {
        if (w->n_parts == MAX_PARTITIONS || mr_commit_assign(w->commit, &tp[i], &err) != MR_OK) {
            fail(w, "a partition of the work topic cannot be taken");
            return;
        }
        w->parts[w->n_parts++] =
            (struct mr_heartbeat_part){tp[i].partition, tp[i].offset > 0 ? tp[i].offset : 0};
    }
    w->changed = true;
}

static void on_revoke(void *owner, const mr_kafka_tp *tp, size_t n, bool lost) {
    mr_bench_null *w = owner;
    (void)lost;
    if (w->leaving) return; /* the committer has gone */
    for (size_t i = 0; i < n; i++) mr_commit_revoke(w->commit, tp[i].topic, tp[i].partition);
    w->n_parts = 0; /* the strategy is range: all go at once */
    w->changed = true;
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)status;
    if (fatal) fail(owner, text);
}

static void on_fatal(void *owner, mr_status status, const char *text) {
    on_error(owner, status, text, true);
}

static void on_tick(uv_timer_t *timer) {
    mr_bench_null *w = timer->data;
    const uint64_t since_ms = mr_clock_mono_ms() - w->beat_ms;

    answer_due(w);
    if (since_ms >= (w->changed ? BEAT_SOON_MS : BEAT_MS)) send_beat(w);
}

/* ---- open and close ---- */

static void ignore_delivery(void *owner, void *cookie, mr_status status, const char *text,
                            int32_t partition, int64_t offset) {
    (void)owner;
    (void)cookie;
    (void)status;
    (void)text;
    (void)partition;
    (void)offset;
}

static mr_status open_takers(mr_bench_null *w, uv_loop_t *loop, mr_err *err) {
    const char *topics[] = {w->conf.work_topic, NULL};
    const mr_commit_conf commit = {.kafka = w->conf.kafka,
                                   .transactional_id = w->conf.group,
                                   .linger_ms = w->conf.commit_ms,
                                   .transaction_timeout_ms = TRANSACTION_MS,
                                   .window = MR_OFFSETS_MAX_WINDOW,
                                   .owner = w,
                                   .on_fatal = on_fatal};
    const mr_kafka_consumer_conf consumer = {.conn = w->conf.kafka,
                                             .group = w->conf.group,
                                             .strategy = "range",
                                             .topics = topics,
                                             .read_committed = true,
                                             .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                             .owner = w,
                                             .on_msg = on_msg,
                                             .on_assign = on_assign,
                                             .on_revoke = on_revoke,
                                             .on_error = on_error};
    mr_status st = mr_commit_open(&w->commit, loop, &commit, err);
    if (st != MR_OK) return st;
    mr_commit_warm(w->commit, w->conf.results_topic);
    st = mr_kafka_consumer_open(&w->consumer, loop, &consumer, err);
    if (st == MR_OK) mr_commit_use(w->commit, w->consumer);
    return st;
}

/* All partitions are its own, and it stands at the beginning of each. */
static void own_all(mr_bench_null *w) {
    for (int32_t i = 0; i < w->conf.n_partitions && i < MAX_PARTITIONS; i++)
        w->parts[w->n_parts++] = (struct mr_heartbeat_part){i, 0};
}

mr_status mr_bench_null_open(mr_bench_null **out, uv_loop_t *loop, const mr_bench_null_conf *conf,
                             mr_err *err) {
    mr_bench_null *w = calloc(1, sizeof *w);

    *out = NULL;
    if (!w) return mr_fail(err, MR_ENOMEM, "bench: out of memory");
    w->conf = *conf;
    mr_arena_init(&w->arena, RECORD_LIMIT);
    uv_timer_init(loop, &w->tick);
    w->tick.data = w;
    mr_status st =
        mr_kafka_producer_open(&w->producer, loop, &conf->kafka, ignore_delivery, w, err);
    if (st == MR_OK && conf->group)
        st = open_takers(w, loop, err);
    else
        own_all(w);
    if (st != MR_OK) {
        mr_bench_null_close(w);
        return st;
    }
    w->began_us = mr_clock_mono_us();
    w->changed = true;
    uv_timer_start(&w->tick, on_tick, 0, TICK_MS);
    *out = w;
    return MR_OK;
}

void mr_bench_null_leave(mr_bench_null *w) {
    w->leaving = true;
    w->n_parts = 0;
    send_beat(w);
    (void)mr_kafka_flush(w->producer, FLUSH_MS);
}

const char *mr_bench_null_failed(const mr_bench_null *w) {
    return w->failure.status == MR_OK ? NULL : w->failure.text;
}

static void on_closed(uv_handle_t *h) {
    mr_bench_null *w = h->data;
    mr_arena_drop(&w->arena);
    free(w);
}

void mr_bench_null_close(mr_bench_null *w) {
    if (!w) return;
    w->leaving = true;
    if (w->commit) {
        (void)mr_commit_flush(w->commit, FLUSH_MS);
        mr_commit_use(w->commit, NULL);
        mr_commit_close(w->commit);
    }
    mr_kafka_consumer_close(w->consumer);
    mr_kafka_producer_close(w->producer);
    uv_close((uv_handle_t *)&w->tick, on_closed);
}
