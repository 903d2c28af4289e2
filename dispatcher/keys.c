/* keys.c - see keys.h.
 *
 * Two consumers without a group. The reader reads the index from its beginning, committed records
 * only, and so comes no further than the first open transaction. The other one, the plumb line,
 * sees uncommitted records; it starts at the end and reads nothing: where it stands when it says
 * "end of partition" is the high watermark. A partition is loaded when the reader has come as far.
 * From then on nobody but we may write to it, and what we write we know: nothing more is read. With
 * no partition left to load both stand idle. */
#include "dispatcher/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/keys_table.h"
#include "schemas/codec.h"

enum {
    QUEUED_KBYTES = 32768, /* small ones make a large index slow to load, see kafka.h */
    QUEUED_MESSAGES = 100000,
    RECORD_LIMIT = 64 << 10, /* of memory to decode an index record */
    FULL_LOG_MS = 60000,     /* between two lines that keys are forgotten */
    NAME_MAX_LEN = MR_JOB_MAX_NAME + 1 + MR_JOB_MAX_KEY
};

typedef enum row_state { NOT_OURS = 0, LOADING, LOADED } row_state;

typedef struct row { /* a partition of the index */
    row_state state;
    int64_t next; /* the reader's next offset, or MR_KAFKA_OFFSET_BEGIN */
    int64_t end;  /* high watermark; -1: not known yet */
    int64_t eof;  /* furthest end of committed records that the reader met; -1: none yet */
    uint64_t since_ms;
} row;

struct mr_keys {
    mr_keys_conf conf;
    mr_kafka_consumer *reader, *plumb;
    mr_keys_table *table;
    mr_arena arena; /* of the record that is being decoded */
    size_t n_loading;
    uint64_t full_log_ms;
    row rows[]; /* [conf.n_partitions] */
};

typedef struct name { /* of a key: the key of its index record */
    char bytes[NAME_MAX_LEN];
    size_t len;
} name;

static name name_of(const mr_job_spec *j) {
    const size_t n_tenant = strlen(j->tenant), n_key = strlen(j->idempotency_key);
    name out = {.len = n_tenant + 1 + n_key};
    MR_CHECK(out.len <= sizeof out.bytes);
    memcpy(out.bytes, j->tenant, n_tenant + 1);
    memcpy(out.bytes + n_tenant + 1, j->idempotency_key, n_key);
    return out;
}

/* ---- loading ---- */

/* Both consumers on the partitions that are not loaded; called again, the reader goes on where it
 * was. */
static mr_status read_index(mr_keys *k, mr_err *err) {
    mr_kafka_tp *tp = calloc(k->n_loading + 1, sizeof *tp);
    size_t n = 0;
    if (!tp) return mr_fail(err, MR_ENOMEM, "idempotency keys: out of memory");
    for (int32_t p = 0; p < k->conf.n_partitions; p++)
        if (k->rows[p].state == LOADING)
            tp[n++] =
                (mr_kafka_tp){.topic = k->conf.topic, .partition = p, .offset = k->rows[p].next};
    mr_status st = mr_kafka_assign(k->reader, tp, n, err);
    for (size_t i = 0; i < n; i++) tp[i].offset = MR_KAFKA_OFFSET_END;
    if (st == MR_OK) st = mr_kafka_assign(k->plumb, tp, n, err);
    free(tp);
    return st;
}

static void finish_if_loaded(mr_keys *k, int32_t partition) {
    row *r = &k->rows[partition];
    mr_err err;

    if (r->end < 0 || r->eof < r->end) return;
    r->state = LOADED;
    k->n_loading--;
    mr_log(MR_LOG_INFO, "keys", "index loaded", "part=%d end=%lld ms=%llu keys=%zu", partition,
           (long long)r->end, (unsigned long long)(mr_clock_mono_ms() - r->since_ms),
           mr_keys_table_len(k->table));
    if (k->n_loading == 0 && read_index(k, &err) != MR_OK)
        mr_log(MR_LOG_WARN, "keys", "the index is read on for nothing", "err=" MR_Q, err.text);
    k->conf.on_loaded(k->conf.owner, partition);
}

static row *loading_row(mr_keys *k, int32_t partition) {
    if (partition < 0 || partition >= k->conf.n_partitions) return NULL;
    return k->rows[partition].state == LOADING ? &k->rows[partition] : NULL;
}

static void on_reader_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_keys *k = owner;
    row *r = loading_row(k, partition);
    (void)topic;
    if (!r) return;
    r->eof = offset;
    finish_if_loaded(k, partition);
}

/* The first one counts; later ones, when it was assigned once more, may lie further on. */
static void on_plumb_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_keys *k = owner;
    row *r = loading_row(k, partition);
    (void)topic;
    if (!r || r->end >= 0) return;
    r->end = offset;
    finish_if_loaded(k, partition);
}

static void on_plumb_msg(void *owner, const mr_kafka_msg *m) {
    (void)owner; /* written since by somebody who will find that it is not his any more */
    (void)m;
}

static mr_status table_put(mr_keys *k, int32_t partition, const void *key, size_t len,
                           const mr_key_holder *holder, uint64_t now_ms) {
    const uint64_t before = mr_keys_table_forgotten(k->table);
    const mr_status st = mr_keys_table_put(k->table, partition, key, len, holder, now_ms);
    const uint64_t forgotten = mr_keys_table_forgotten(k->table), mono_ms = mr_clock_mono_ms();

    if (forgotten == before || (k->full_log_ms && mono_ms - k->full_log_ms < FULL_LOG_MS))
        return st;
    k->full_log_ms = mono_ms;
    mr_log(MR_LOG_WARN, "keys", "no room for more keys: the oldest are forgotten before their time",
           "keys=%zu limit=%d forgotten=%llu", mr_keys_table_len(k->table), MR_KEYS_MAX,
           (unsigned long long)forgotten);
    return st;
}

static void on_index_record(void *owner, const mr_kafka_msg *m) {
    mr_keys *k = owner;
    row *r = loading_row(k, m->partition);
    const uint64_t now_ms = mr_clock_wall_ms();
    mr_key_holder holder = {.loaded = true};
    mr_err err = {0};

    if (!r) return;
    r->next = m->offset + 1;
    if (m->key && !m->value) { /* a person has freed it */
        mr_keys_table_drop(k->table, m->key, m->key_len, NULL);
        return;
    }
    mr_arena_reset(&k->arena);
    mr_status st = m->key ? mr_codec_key_decode(holder.job_id, &holder.time_ms, m->value, m->len,
                                                &k->arena, &err)
                          : mr_fail(&err, MR_EINVAL, "the record has no key");
    if (st == MR_OK) {
        if (holder.time_ms > now_ms) holder.time_ms = now_ms; /* somebody's clock is fast */
        st = table_put(k, m->partition, m->key, m->key_len, &holder, now_ms);
        if (st != MR_OK) mr_fail(&err, st, "out of memory");
    }
    if (st != MR_OK)
        mr_log(MR_LOG_WARN, "keys", "index record skipped", "part=%d off=%lld err=" MR_Q,
               m->partition, (long long)m->offset, err.text);
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_keys *k = owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "keys", "kafka", "status=%s err=" MR_Q,
           mr_status_name(status), text);
    if (fatal) k->conf.on_fatal(k->conf.owner, text);
}

/* ---- partitions ---- */

mr_status mr_keys_partitions(const mr_kafka_conf *kafka, const char *keyed, const char *keys,
                             int timeout_ms, int32_t *n, mr_err *err) {
    int32_t n_keys = 0;
    mr_status st = mr_kafka_partitions(kafka, keyed, timeout_ms, n, err);
    if (st == MR_OK) st = mr_kafka_partitions(kafka, keys, timeout_ms, &n_keys, err);
    if (st != MR_OK) return st;
    if (*n != n_keys)
        return mr_fail(
            err, MR_EINVAL,
            "topic %s has %d partitions and %s has %d: a key is decided in the partition "
            "of the same number, so make one of them anew, as the other is",
            keyed, *n, keys, n_keys);
    if (n_keys > MR_KEYS_MAX_PARTITIONS)
        return mr_fail(err, MR_EINVAL, "topic %s has %d partitions, must have at most %d", keys,
                       n_keys, MR_KEYS_MAX_PARTITIONS);
    return MR_OK;
}

mr_status mr_keys_assign(mr_keys *k, const int32_t *partitions, size_t n, mr_err *err) {
    const uint64_t now_ms = mr_clock_mono_ms();
    for (size_t i = 0; i < n; i++)
        if (partitions[i] < 0 || partitions[i] >= k->conf.n_partitions)
            return mr_fail(err, MR_EINVAL, "partition %d of %s: there were %d at the start",
                           partitions[i], k->conf.topic, k->conf.n_partitions);
    for (size_t i = 0; i < n; i++) {
        row *r = &k->rows[partitions[i]];
        if (r->state != NOT_OURS) continue;
        *r = (row){LOADING, MR_KAFKA_OFFSET_BEGIN, -1, -1, now_ms};
        k->n_loading++;
    }
    return k->n_loading > 0 ? read_index(k, err) : MR_OK;
}

void mr_keys_revoke(mr_keys *k, const int32_t *partitions, size_t n) {
    mr_err err;
    bool fewer = false;
    for (size_t i = 0; i < n; i++) {
        if (partitions[i] < 0 || partitions[i] >= k->conf.n_partitions) continue;
        row *r = &k->rows[partitions[i]];
        if (r->state == NOT_OURS) continue;
        fewer = fewer || r->state == LOADING;
        k->n_loading -= r->state == LOADING;
        r->state = NOT_OURS;
        mr_keys_table_drop_partition(k->table, partitions[i]);
    }
    if (fewer && read_index(k, &err) != MR_OK)
        mr_log(MR_LOG_WARN, "keys", "the index is read on for nothing", "err=" MR_Q, err.text);
}

/* ---- questions ---- */

mr_keys_answer mr_keys_ask(mr_keys *k, int32_t partition, const mr_job_spec *j, uint64_t now_ms,
                           char other[MR_JOB_ID_LEN + 1]) {
    if (partition < 0 || partition >= k->conf.n_partitions || k->rows[partition].state != LOADED)
        return MR_KEYS_LOADING;
    const name key = name_of(j);
    const mr_key_holder *holder = mr_keys_table_find(k->table, key.bytes, key.len, now_ms);
    if (!holder) return MR_KEYS_NEW;
    if (strcmp(holder->job_id, j->job_id) == 0)
        return k->conf.plain && holder->loaded ? MR_KEYS_NEW : MR_KEYS_SAME;
    if (holder->pending) return MR_KEYS_PENDING;
    memcpy(other, holder->job_id, sizeof holder->job_id);
    return MR_KEYS_TAKEN;
}

mr_status mr_keys_put(mr_keys *k, int32_t partition, const mr_job_spec *j, uint64_t now_ms) {
    const name key = name_of(j);
    mr_key_holder holder = {.pending = true, .time_ms = now_ms};
    memcpy(holder.job_id, j->job_id, sizeof holder.job_id);
    return table_put(k, partition, key.bytes, key.len, &holder, now_ms);
}

void mr_keys_keep(mr_keys *k, int32_t partition, const mr_job_spec *j) {
    const name key = name_of(j);
    if (k->rows[partition].state == LOADED)
        mr_keys_table_keep(k->table, key.bytes, key.len, j->job_id);
}

void mr_keys_take_back(mr_keys *k, int32_t partition, const mr_job_spec *j) {
    const name key = name_of(j);
    if (k->rows[partition].state == LOADED)
        mr_keys_table_drop(k->table, key.bytes, key.len, j->job_id);
}

int32_t mr_keys_partition(const mr_job_spec *j, int32_t n) {
    static const uint8_t nothing_secret[MR_SIPHASH_SECRET]; /* all dispatchers must agree */
    const name key = name_of(j);
    return (int32_t)(mr_siphash(nothing_secret, key.bytes, key.len).lo % (uint64_t)n);
}

mr_status mr_keys_record(const mr_job_spec *j, uint64_t now_ms, mr_arena *arena, const void **key,
                         size_t *key_len, const void **value, size_t *len) {
    const name n = name_of(j);
    *key_len = n.len;
    *key = mr_arena_copy(arena, n.bytes, n.len);
    return *key ? mr_codec_key_encode(j->job_id, now_ms, arena, value, len) : MR_ENOMEM;
}

size_t mr_keys_len(const mr_keys *k) {
    return mr_keys_table_len(k->table);
}

size_t mr_keys_loading(const mr_keys *k) {
    return k->n_loading;
}

uint64_t mr_keys_forgotten(const mr_keys *k) {
    return mr_keys_table_forgotten(k->table);
}

/* ---- opening ---- */

static mr_status open_table(mr_keys *k, mr_err *err) {
    mr_keys_table_conf tc = {
        .n_partitions = k->conf.n_partitions, .max = MR_KEYS_MAX, .ttl_ms = k->conf.ttl_ms};
    if (getrandom(tc.secret, sizeof tc.secret, 0) != sizeof tc.secret)
        return mr_fail(err, MR_EINTERNAL, "idempotency keys: no random numbers: %s",
                       strerror(errno));
    return mr_keys_table_open(&k->table, &tc, err);
}

static mr_status open_consumers(mr_keys *k, uv_loop_t *loop, mr_err *err) {
    mr_kafka_consumer_conf cc = {.conn = *k->conf.kafka,
                                 .read_committed = true,
                                 .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                 .queued_max_kbytes = QUEUED_KBYTES,
                                 .queued_min_messages = QUEUED_MESSAGES,
                                 .owner = k,
                                 .on_msg = on_index_record,
                                 .on_error = on_error,
                                 .on_eof = on_reader_eof};
    mr_status st = mr_kafka_consumer_open(&k->reader, loop, &cc, err);
    if (st != MR_OK) return st;
    cc.read_committed = false;
    cc.reset_offset = MR_KAFKA_OFFSET_END;
    cc.on_msg = on_plumb_msg;
    cc.on_eof = on_plumb_eof;
    return mr_kafka_consumer_open(&k->plumb, loop, &cc, err);
}

mr_status mr_keys_open(mr_keys **out, uv_loop_t *loop, const mr_keys_conf *conf, mr_err *err) {
    *out = NULL;
    if (conf->n_partitions < 1 || conf->n_partitions > MR_KEYS_MAX_PARTITIONS)
        return mr_fail(err, MR_EINVAL, "idempotency keys: %d partitions", conf->n_partitions);
    mr_keys *k = calloc(1, sizeof *k + (size_t)conf->n_partitions * sizeof k->rows[0]);
    if (!k) return mr_fail(err, MR_ENOMEM, "idempotency keys: out of memory");
    k->conf = *conf;
    mr_arena_init(&k->arena, RECORD_LIMIT);
    mr_status st = open_table(k, err);
    if (st == MR_OK) st = open_consumers(k, loop, err);
    if (st == MR_OK)
        *out = k;
    else
        mr_keys_close(k);
    return st;
}

void mr_keys_close(mr_keys *k) {
    if (!k) return;
    memset(k->rows, 0, (size_t)k->conf.n_partitions * sizeof k->rows[0]); /* no more callbacks */
    mr_kafka_consumer_close(k->reader);
    mr_kafka_consumer_close(k->plumb);
    mr_keys_table_close(k->table);
    mr_arena_drop(&k->arena);
    free(k);
}
