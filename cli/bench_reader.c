/* bench_reader.c - see bench_reader.h.
 *
 * When a job came is in the record itself (received_ms), so its value must be decoded; one of
 * SAMPLE_EVERY is, which leaves the machine to what is measured. The bare loop says it in a
 * header. */
#include "cli/bench_reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bench/bare.h"
#include "cli/bench_feed.h"
#include "schemas/codec.h"

enum { MAX_PARTITIONS = 4096, ENDS_MS = 10000, RECORD_LIMIT = 16 << 20, SAMPLE_EVERY = 8 };

struct mr_bench_reader {
    mr_kafka_consumer *consumer;
    mr_bench_record kind;
    uint64_t first, n;
    unsigned char *had; /* [(n + 7) / 8] a bit per job */
    mr_arena arena;
    mr_bench_seen seen;
};

static bool bare_came_ms(const mr_kafka_msg *m, uint64_t *ms) {
    size_t len = 0;
    const void *came = mr_kafka_msg_header(m, MR_BARE_CAME, &len);

    if (!came || len != sizeof *ms) return false;
    memcpy(ms, came, sizeof *ms);
    return true;
}

static bool received_ms(mr_bench_reader *r, const mr_kafka_msg *m, uint64_t *ms) {
    mr_job_spec j;
    mr_result result;
    mr_status st;

    mr_arena_reset(&r->arena);
    if (r->kind == MR_BENCH_BARE) return bare_came_ms(m, ms);
    if (r->kind == MR_BENCH_WORK) {
        st = mr_codec_job_decode(&j, MR_FORMAT_MSGPACK, m->value, m->len, true, &r->arena, NULL);
        if (st == MR_OK) *ms = j.received_ms;
    } else {
        st = mr_codec_result_decode(&result, MR_FORMAT_JSON, m->value, m->len, &r->arena, NULL);
        if (st == MR_OK) *ms = result.received_ms;
    }
    return st == MR_OK;
}

static void add_latency(mr_latency *l, int64_t from_ms, int64_t to_ms) {
    mr_latency_add(l, to_ms > from_ms ? (uint64_t)(to_ms - from_ms) : 0);
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_bench_reader *r = owner;
    uint64_t k, came_ms;

    if (!m->key || !mr_bench_number(m->key, m->key_len, &k) || k < r->first ||
        k - r->first >= r->n) {
        r->seen.strange++;
        return;
    }
    k -= r->first;
    const unsigned char bit = (unsigned char)(1u << k % 8);
    if (r->had[k / 8] & bit) {
        r->seen.twice++;
        return;
    }
    r->had[k / 8] |= bit;
    r->seen.n++;
    if (!r->seen.first_ms || m->timestamp_ms < r->seen.first_ms) r->seen.first_ms = m->timestamp_ms;
    if (m->timestamp_ms > r->seen.last_ms) r->seen.last_ms = m->timestamp_ms;
    if (k % SAMPLE_EVERY != 0 || !received_ms(r, m, &came_ms)) return;
    add_latency(&r->seen.append, (int64_t)came_ms, m->timestamp_ms);
    add_latency(&r->seen.seen, (int64_t)came_ms, (int64_t)mr_clock_wall_ms());
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "bench", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
}

static mr_status start(mr_bench_reader *r, uv_loop_t *loop, const mr_kafka_conf *kafka,
                       const char *topic, mr_err *err) {
    const mr_kafka_consumer_conf conf = {.conn = *kafka,
                                         .read_committed = true,
                                         .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                         .owner = r,
                                         .on_msg = on_msg,
                                         .on_error = on_error};
    mr_kafka_tp *ends = calloc(MAX_PARTITIONS, sizeof *ends);
    size_t n = 0;

    if (!ends || !r->had) {
        free(ends);
        return mr_fail(err, MR_ENOMEM, "bench: out of memory");
    }
    mr_status st = mr_kafka_ends(kafka, topic, ENDS_MS, ends, MAX_PARTITIONS, &n, err);
    if (st == MR_OK) st = mr_kafka_consumer_open(&r->consumer, loop, &conf, err);
    if (st == MR_OK) st = mr_kafka_assign(r->consumer, ends, n, err);
    free(ends);
    return st;
}

mr_status mr_bench_reader_open(mr_bench_reader **out, uv_loop_t *loop, const mr_kafka_conf *kafka,
                               const char *topic, mr_bench_record kind, uint64_t first, uint64_t n,
                               mr_err *err) {
    mr_bench_reader *r = calloc(1, sizeof *r);

    *out = NULL;
    if (!r) return mr_fail(err, MR_ENOMEM, "bench: out of memory");
    r->kind = kind;
    r->first = first;
    r->n = n;
    r->had = calloc((size_t)(n + 7) / 8, 1);
    mr_arena_init(&r->arena, RECORD_LIMIT);
    const mr_status st = start(r, loop, kafka, topic, err);
    if (st != MR_OK) {
        mr_bench_reader_close(r);
        return st;
    }
    *out = r;
    return MR_OK;
}

const mr_bench_seen *mr_bench_reader_seen(const mr_bench_reader *r) {
    return &r->seen;
}

void mr_bench_reader_close(mr_bench_reader *r) {
    if (!r) return;
    mr_kafka_consumer_close(r->consumer);
    mr_arena_drop(&r->arena);
    free(r->had);
    free(r);
}
