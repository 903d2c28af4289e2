/* kafka_commit.c - the committer's doors: items come in, the thread is given what is due.
 *
 * Nothing is given inside send or mark: they set the timer, so callbacks run from the loop only,
 * or inside flush. kafka_batch.c has the rules. Limits: those of commit.h, in which the records
 * that are under way count. */
#include "base/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/kafka_batch.h"
#include "base/log.h"

#define FLUSH_NAP_MS     5
#define WATCH_MS         1000
#define HANG_MS          30000  /* beyond every time-out of a call */
#define PLAIN_RECORD_MS  300000 /* librdkafka keeps a record for so long without transactions */
#define MAX_ITEM_RECORDS 16
#define RECORD_OVERHEAD                                                                            \
    256 /* of a record in a set of its own: within the brokers' default limit                      \
         */
#define MAX_RECORD_BYTES (1048576u - RECORD_OVERHEAD)

/* ---- what is next ---- */

static void tell_fatal(mr_commit *c, const mr_err *err) {
    mr_batch_enter(c);
    if (c->conf.on_fatal) c->conf.on_fatal(c->conf.owner, err->status, err->text);
    mr_batch_leave(c);
}

static void give_up(mr_commit *c, const mr_err *err) {
    c->failed = true;
    tell_fatal(c, err);
}

static void take_answer(mr_commit *c, int timeout_ms) {
    mr_txn_work *w = mr_kafka_txn_take(c->txn, timeout_ms);
    mr_err err;

    if (w) mr_batch_answered(c, w);
    if (c->failed || c->closing || !mr_kafka_txn_failed(c->txn, &err)) return;
    give_up(c, &err);
}

/* Each call has a time-out, and so have the records that it waits for. One that is not back long
 * after both never will be (a fault of librdkafka, a thread that died): nothing of this process is
 * committed any more, while it keeps its partitions. Looks are counted instead of time, because a
 * process that was stopped has lost some of that. */
static void on_watch(uv_timer_t *timer) {
    mr_commit *c = timer->data;
    const unsigned progress = mr_kafka_txn_progress(c->txn);
    const uint32_t record_ms = c->exactly_once ? c->conf.transaction_timeout_ms : PLAIN_RECORD_MS;
    mr_err err;

    c->still_ms = c->under_way && progress == c->progress ? c->still_ms + WATCH_MS : 0;
    c->progress = progress;
    if (c->still_ms < record_ms + HANG_MS || c->failed || c->closing) return;
    mr_fail(&err, MR_ETIMEOUT, "a call of the producer has not returned for %u s",
            (unsigned)(c->still_ms / 1000));
    give_up(c, &err);
}

static uint64_t batch_due_ms(const mr_commit *c) {
    if (!c->first_ms || !c->consumer) return UINT64_MAX;
    const uint64_t at = c->first_ms + (c->flushing ? 0 : c->conf.linger_ms);
    return at > c->not_before_ms ? at : c->not_before_ms;
}

static uint64_t question_due_ms(const mr_commit *c) {
    return mr_batch_topics_wanted(c) ? c->look_up_at_ms : UINT64_MAX;
}

/* Gives the thread what is due. */
static void advance(mr_commit *c) {
    const uint64_t now = mr_clock_mono_ms();

    if (c->under_way || c->failed || c->closing) return;
    if (question_due_ms(c) <= now)
        mr_batch_ask_about_topics(c);
    else if (batch_due_ms(c) <= now)
        mr_batch_give(c);
}

static void on_timer(uv_timer_t *timer);

/* The timer, for what is next; the thread's answer comes by itself. */
void mr_commit_schedule(mr_commit *c) {
    const uint64_t now = mr_clock_mono_ms(), batch = batch_due_ms(c), question = question_due_ms(c);
    const uint64_t at = batch < question ? batch : question;

    if (c->under_way || c->failed || c->closing || at == UINT64_MAX) return;
    uv_timer_start(&c->timer, on_timer, at > now ? at - now : 0, 0);
}

static void serve(mr_commit *c) {
    mr_batch_enter(c);
    take_answer(c, 0);
    advance(c);
    mr_batch_leave(c);
}

static void on_wake(uv_async_t *wake) {
    serve(wake->data);
}

static void on_timer(uv_timer_t *timer) {
    serve(timer->data);
}

static void changed(mr_commit *c) {
    if (!c->first_ms) c->first_ms = mr_clock_mono_ms();
    if (c->depth == 0) mr_commit_schedule(c);
}

/* ---- partitions ---- */

mr_parts *mr_commit_parts(mr_commit *c) {
    return c->parts;
}

static mr_status grow_rows(mr_commit *c, size_t n, mr_err *err) {
    if (n <= c->n_rows) return MR_OK;
    mr_batch_row *rows = realloc(c->rows, n * sizeof *rows);
    if (!rows) return mr_fail(err, MR_ENOMEM, "commit: no memory for %zu partitions", n);
    c->rows = rows;
    while (c->n_rows < n) c->rows[c->n_rows++] = (mr_batch_row){.committed = -1};
    return MR_OK;
}

mr_status mr_commit_assign(mr_commit *c, const mr_kafka_tp *tp, mr_err *err) {
    const size_t len = tp->metadata ? tp->metadata_len : 0;
    mr_err refused = {0};
    const int part = mr_parts_assign(c->parts, tp->topic, tp->partition, tp->offset, tp->metadata,
                                     len, &refused, err);

    if (part < 0) return MR_ENOMEM;
    if (refused.status != MR_OK)
        mr_log(MR_LOG_WARN, "commit", "committed progress not understood: jobs may run again",
               "topic=%s part=%d off=%lld err=" MR_Q, tp->topic, (int)tp->partition,
               (long long)tp->offset, refused.text);
    char *text = malloc(MR_BATCH_ROW_TEXT > len ? MR_BATCH_ROW_TEXT : len);
    if (!text || grow_rows(c, (size_t)part + 1, err) != MR_OK) {
        free(text);
        mr_parts_revoke(c->parts, part);
        return mr_fail(err, MR_ENOMEM, "commit: no memory for %s/%d", tp->topic,
                       (int)tp->partition);
    }
    mr_batch_row *r = &c->rows[part];
    free(r->text);
    *r = (mr_batch_row){.committed = tp->offset < 0 ? -1 : tp->offset, .text = text};
    /* What is longer is not ours, and counts as any other text that no batch of ours makes. */
    r->text_len = len < MR_BATCH_ROW_TEXT ? len : MR_BATCH_ROW_TEXT;
    if (r->text_len > 0) memcpy(r->text, tp->metadata, r->text_len);
    return MR_OK;
}

void mr_commit_revoke(mr_commit *c, const char *topic, int32_t partition) {
    const int part = mr_parts_find(c->parts, topic, partition);

    if (part < 0) return;
    mr_parts_revoke(c->parts, part);
    mr_batch_cancel_row(c, part);
}

/* ---- items ---- */

static mr_status check_record(const mr_commit_record *r, size_t *bytes, mr_err *err) {
    size_t n = r->key_len + r->len;

    if (!mr_kafka_topic_ok(r->topic))
        return mr_fail(err, MR_EINVAL, "kafka topic \"%s\": not a topic name",
                       r->topic ? r->topic : "");
    if (r->n_headers > MR_COMMIT_MAX_HEADERS)
        return mr_fail(err, MR_EINVAL, "kafka topic %s: %zu headers, limit %d", r->topic,
                       r->n_headers, MR_COMMIT_MAX_HEADERS);
    for (size_t i = 0; i < r->n_headers; i++) n += strlen(r->headers[i].name) + r->headers[i].len;
    if (n > MAX_RECORD_BYTES)
        return mr_fail(err, MR_EINVAL, "kafka topic %s: a record of %zu bytes, limit %u", r->topic,
                       n, MAX_RECORD_BYTES);
    *bytes += n;
    return MR_OK;
}

static mr_status check_room(const mr_commit *c, size_t n, size_t bytes, mr_err *err) {
    if (c->closing || c->failed) return mr_fail(err, MR_ELIMIT, "commit: the committer has ended");
    if (c->stats.waiting + n <= MR_COMMIT_MAX_RECORDS &&
        c->stats.waiting_bytes + bytes <= MR_COMMIT_MAX_BYTES + MR_COMMIT_RESERVE_BYTES)
        return MR_OK;
    return mr_fail(err, MR_ELIMIT, "commit: %zu records of %zu bytes wait already",
                   c->stats.waiting, c->stats.waiting_bytes);
}

static const void *copy(char **to, const void *from, size_t n) {
    char *at = *to;
    if (!from) return NULL;
    if (n > 0) memcpy(at, from, n);
    *to += n;
    return at;
}

static size_t text_bytes(const mr_commit_record *records, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const mr_commit_record *r = &records[i];
        bytes += strlen(r->topic) + 1;
        for (size_t k = 0; k < r->n_headers; k++) bytes += strlen(r->headers[k].name) + 1;
    }
    return bytes;
}

static void copy_record(mr_txn_record *out, const mr_commit_record *r, mr_kafka_header **headers,
                        char **to) {
    mr_kafka_header *h = *headers;

    *out = (mr_txn_record){.out = *r, .offset = -1, .why = ""};
    out->out.topic = copy(to, r->topic, strlen(r->topic) + 1);
    out->out.key = copy(to, r->key, r->key_len);
    out->out.value = copy(to, r->value, r->len);
    out->out.headers = h;
    for (size_t i = 0; i < r->n_headers; i++) {
        const mr_kafka_header *from = &r->headers[i];
        *h++ = (mr_kafka_header){copy(to, from->name, strlen(from->name) + 1),
                                 copy(to, from->value, from->len), from->len};
    }
    *headers = h;
}

/* One block: item, records, headers, texts. bytes: of keys, values and headers. */
static mr_batch_item *new_item(const mr_commit_record *records, size_t n, size_t bytes) {
    size_t n_headers = 0;
    for (size_t i = 0; i < n; i++) n_headers += records[i].n_headers;
    const size_t fixed =
        sizeof(mr_batch_item) + n * sizeof(mr_txn_record) + n_headers * sizeof(mr_kafka_header);
    mr_batch_item *it = malloc(fixed + bytes + text_bytes(records, n));
    if (!it) return NULL;
    *it = (mr_batch_item){.n_records = n, .bytes = bytes};
    mr_kafka_header *headers = (mr_kafka_header *)(void *)(it->records + n);
    char *to = (char *)it + fixed;
    for (size_t i = 0; i < n; i++) copy_record(&it->records[i], &records[i], &headers, &to);
    return it;
}

static void enqueue(mr_commit *c, mr_batch_item *it, mr_origin at, mr_commit_done *done,
                    void *owner, void *arg) {
    it->at = at;
    it->done = done;
    it->owner = owner;
    it->arg = arg;
    c->stats.waiting += mr_batch_weight(it);
    c->stats.waiting_bytes += it->bytes;
    mr_batch_push(&c->waiting, it);
    changed(c);
}

mr_status mr_commit_send(mr_commit *c, mr_origin at, const mr_commit_record *records,
                         size_t n_records, mr_commit_done *done, void *owner, void *arg,
                         mr_err *err) {
    size_t bytes = 0;
    mr_status st = MR_OK;

    if (!mr_parts_holds(c->parts, at))
        return mr_fail(err, MR_ECANCELED, "commit: the partition was revoked");
    if (n_records > MAX_ITEM_RECORDS)
        return mr_fail(err, MR_EINVAL, "commit: %zu records at once, limit %d", n_records,
                       MAX_ITEM_RECORDS);
    for (size_t i = 0; i < n_records; i++)
        if ((st = check_record(&records[i], &bytes, err)) != MR_OK) return st;
    if ((st = check_room(c, n_records ? n_records : 1, bytes, err)) != MR_OK) return st;
    for (size_t i = 0; i < n_records; i++)
        if (!mr_batch_want_topic(c, records[i].topic, records[i].partition))
            return mr_fail(err, MR_ELIMIT, "commit: no room for topic %s, limit %d",
                           records[i].topic, MR_TXN_MAX_TOPICS);
    mr_batch_item *it = new_item(records, n_records, bytes);
    if (!it) return mr_fail(err, MR_ENOMEM, "commit: no memory for %zu bytes", bytes);
    it->owed = mr_batch_unhold(c, at);
    enqueue(c, it, at, done, owner, arg);
    return MR_OK;
}

mr_status mr_commit_mark(mr_commit *c, mr_origin at, mr_commit_done *done, void *owner, void *arg) {
    mr_status st = check_room(c, 1, 0, NULL);
    if (st != MR_OK || (st = mr_parts_mark(c->parts, at)) != MR_OK) return st;
    mr_batch_item *it = new_item(NULL, 0, 0);
    if (!it) {
        mr_parts_unmark(c->parts, at, true); /* perhaps under an earlier owner */
        return MR_ENOMEM;
    }
    it->is_mark = true;
    enqueue(c, it, at, done, owner, arg);
    return MR_OK;
}

void mr_commit_unmark(mr_commit *c, mr_origin at, bool began) {
    mr_parts_unmark(c->parts, at, began);
    changed(c);
}

void mr_commit_lost(mr_commit *c, const char *what) {
    mr_err err;
    mr_fail(&err, MR_ENOMEM, "out of memory for %s: the next start does it", what);
    tell_fatal(c, &err);
}

bool mr_commit_full(const mr_commit *c) {
    return c->failed || c->stats.waiting >= MR_COMMIT_MAX_RECORDS - MR_COMMIT_RESERVE ||
           c->stats.waiting_bytes >= MR_COMMIT_MAX_BYTES;
}

bool mr_commit_busy(const mr_commit *c) {
    return c->failed || c->stats.waiting >= (MR_COMMIT_MAX_RECORDS - MR_COMMIT_RESERVE) / 2 ||
           c->stats.waiting_bytes >= MR_COMMIT_MAX_BYTES / 2;
}

void mr_commit_warm(mr_commit *c, const char *topic) {
    if (!mr_kafka_topic_ok(topic)) return;
    if (mr_batch_want_topic(c, topic, MR_KAFKA_ANY_PARTITION) && c->depth == 0)
        mr_commit_schedule(c);
}

mr_commit_stats mr_commit_get_stats(const mr_commit *c) {
    mr_commit_stats s = c->stats;
    mr_kafka_txn_count(c->txn, &s);
    s.unfinished = mr_parts_pending(c->parts);
    return s;
}

/* ---- flush ---- */

static bool anything_left(const mr_commit *c) {
    if (c->under_way || c->waiting.first) return true;
    for (int r = 0; r < mr_parts_count(c->parts); r++)
        if (mr_parts_assigned(c->parts, r) && mr_parts_dirty(c->parts, r)) return true;
    return false;
}

mr_status mr_commit_flush(mr_commit *c, int timeout_ms) {
    const uint64_t until = mr_clock_mono_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);

    mr_batch_enter(c);
    c->flushing = true;
    for (;;) {
        take_answer(c, 0);
        advance(c);
        const uint64_t now = mr_clock_mono_ms();
        if (!anything_left(c) || c->closing || c->failed || !c->consumer || now >= until) break;
        if (c->under_way)
            take_answer(c, (int)(until - now));
        else
            uv_sleep(FLUSH_NAP_MS);
    }
    c->flushing = false;
    const bool left = anything_left(c);
    mr_batch_leave(c);
    return left ? MR_ETIMEOUT : MR_OK;
}

/* ---- open and close ---- */

static void on_closed(uv_handle_t *h) {
    mr_commit *c = h->data;

    if (--c->n_handles > 0) return;
    for (size_t i = 0; i < c->n_rows; i++) free(c->rows[i].text);
    mr_batch_drop_topics(c);
    free(c->rows);
    mr_parts_close(c->parts);
    free(c);
}

static void close_handles(mr_commit *c) {
    uv_close((uv_handle_t *)&c->wake, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
    uv_close((uv_handle_t *)&c->watch, on_closed);
}

mr_status mr_commit_open(mr_commit **out, uv_loop_t *loop, const mr_commit_conf *conf,
                         mr_err *err) {
    mr_status st;
    mr_commit *c = calloc(1, sizeof *c);

    *out = NULL;
    if (!c) return mr_fail(err, MR_ENOMEM, "commit: no memory");
    c->conf = *conf;
    c->exactly_once = conf->transactional_id != NULL;
    mr_histogram_init(&c->stats.took, &mr_buckets_call);
    if ((st = mr_parts_open(&c->parts, conf->window, err)) != MR_OK) goto fail;
    const int rc = uv_async_init(loop, &c->wake, on_wake);
    if (rc) {
        st = mr_fail(err, MR_EUNAVAIL, "commit: no wake-up handle: %s", uv_strerror(rc));
        goto fail;
    }
    uv_timer_init(loop, &c->timer); /* always 0 */
    uv_timer_init(loop, &c->watch);
    c->n_handles = 3;
    c->wake.data = c->timer.data = c->watch.data = c;
    if ((st = mr_kafka_txn_open(&c->txn, conf, &c->wake, err)) != MR_OK) {
        c->closing = true;
        close_handles(c);
        return st;
    }
    uv_timer_start(&c->watch, on_watch, WATCH_MS, WATCH_MS);
    *out = c;
    return MR_OK;
fail:
    mr_parts_close(c->parts);
    free(c);
    return st;
}

void mr_commit_use(mr_commit *c, mr_kafka_consumer *consumer) {
    c->consumer = consumer;
    mr_kafka_txn_use(c->txn, consumer);
    if (c->depth == 0) mr_commit_schedule(c);
}

/* A thread that does not end keeps its batch: it may still read it. */
void mr_commit_close_now(mr_commit *c) {
    mr_txn_work *w = NULL;
    mr_batch_items gone = {0};

    c->depth++; /* stays: nothing else happens now */
    uv_timer_stop(&c->timer);
    const bool ended = mr_kafka_txn_close(c->txn, &w);
    mr_batch *b = c->under_way;
    c->under_way = NULL;
    if (b && ended) mr_batch_append(&gone, &b->items);
    mr_batch_append(&gone, &c->waiting);
    mr_batch_tell_all(c, &gone, MR_ECANCELED, "the committer was closed");
    for (mr_batch_item *it = b && !ended ? b->items.first : NULL; it; it = it->next)
        if (it->done) it->done(it->owner, it->arg, MR_ECANCELED, "the committer was closed", -1);
    if (b && ended) {
        free(b->work.topics);
        mr_batch_free(b);
    }
    close_handles(c);
}

void mr_commit_close(mr_commit *c) {
    if (!c || c->closing) return;
    c->closing = true;
    if (c->depth == 0) mr_commit_close_now(c);
}
