/* kafka_batch.c - what goes into which batch, and what becomes of it.
 *
 * An item is what one send or mark asked for. It waits until the linger time is over, travels with
 * the batch that the thread (kafka_txn.c) has in hand, and is decided by that batch's verdict. One
 * batch is under way at a time; what comes meanwhile makes the next one.
 *
 * The rule that keeps exactly-once: an offset's bit is set when its item joins a batch, and from
 * then on no offset of that partition is committed without the item. So the items of an aborted
 * batch are owed: they go first, all of them, in the next batch, or their partition is left out of
 * it. An item that the brokers refused is owed by the owner: its partition is held until another
 * record for the same offset has come.
 *
 * A record's topic is looked up before its first batch: for an unknown one librdkafka would wait
 * until the transaction times out.
 *
 * Limits: BATCH_RECORDS and BATCH_BYTES per batch, owed ones not counted. */
#include "base/kafka_batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define BATCH_RECORDS    4096
#define BATCH_BYTES      (16u << 20) /* reaches slow brokers within the transaction's time-out */
#define STALE_FIRST_MS   50          /* the group is changing: pauses until it has settled */
#define STALE_MOST_MS    1000
#define LOOK_UP_RETRY_MS 500
#define SETTLE_MS        8 /* see on_committed() */
#define ROW_NAME         256

/* ---- lists of items ---- */

void mr_batch_push(mr_batch_items *l, mr_batch_item *it) {
    it->next = NULL;
    if (l->last)
        l->last->next = it;
    else
        l->first = it;
    l->last = it;
}

static mr_batch_item *pop(mr_batch_items *l) {
    mr_batch_item *it = l->first;
    if (!it) return NULL;
    l->first = it->next;
    if (!l->first) l->last = NULL;
    return it;
}

/* b behind a; b is empty then. */
void mr_batch_append(mr_batch_items *a, mr_batch_items *b) {
    if (!b->first) return;
    if (a->last)
        a->last->next = b->first;
    else
        a->first = b->first;
    a->last = b->last;
    *b = (mr_batch_items){0};
}

/* Moves those that test() picks from l to the end of to. */
static void move_if(mr_commit *c, mr_batch_items *l, mr_batch_items *to,
                    bool (*test)(mr_commit *, mr_batch_item *, void *), void *arg) {
    mr_batch_items rest = {0};
    for (mr_batch_item *it; (it = pop(l));) mr_batch_push(test(c, it, arg) ? to : &rest, it);
    *l = rest;
}

size_t mr_batch_weight(const mr_batch_item *it) {
    return it->n_records ? it->n_records : 1;
}

/* ---- telling the owner ---- */

void mr_batch_enter(mr_commit *c) {
    c->depth++;
}

void mr_batch_leave(mr_commit *c) {
    if (--c->depth > 0) return;
    if (c->closing)
        mr_commit_close_now(c);
    else
        mr_commit_schedule(c);
}

/* Frees it. */
static void tell(mr_commit *c, mr_batch_item *it, mr_status status, const char *why) {
    const int64_t offset = status == MR_OK && it->n_records > 0 ? it->records[0].offset : -1;

    c->stats.waiting -= mr_batch_weight(it);
    c->stats.waiting_bytes -= it->bytes;
    if (status == MR_OK) c->stats.records += it->n_records;
    if (it->done) it->done(it->owner, it->arg, status, why, offset);
    free(it);
}

void mr_batch_tell_all(mr_commit *c, mr_batch_items *l, mr_status status, const char *why) {
    mr_batch_enter(c);
    for (mr_batch_item *it; (it = pop(l));) tell(c, it, status, why);
    mr_batch_leave(c);
}

/* ---- refused offsets ---- */

static bool same_origin(mr_origin a, mr_origin b) {
    return a.part == b.part && a.epoch == b.epoch && a.offset == b.offset;
}

static void hold(mr_commit *c, mr_origin at) {
    MR_CHECK(c->n_held < MR_COMMIT_MAX_RECORDS); /* each was an item of its own */
    c->held[c->n_held++] = at;
    c->rows[at.part].n_held++;
}

bool mr_batch_unhold(mr_commit *c, mr_origin at) {
    for (size_t i = 0; i < c->n_held; i++) {
        if (!same_origin(c->held[i], at)) continue;
        c->held[i] = c->held[--c->n_held];
        c->rows[at.part].n_held--;
        return true;
    }
    return false;
}

static const char *refusal(const mr_batch_item *it) {
    for (size_t i = 0; i < it->n_records; i++)
        if (it->records[i].status == MR_EINVAL) return it->records[i].why;
    return NULL;
}

/* Frees it. */
static void refuse(mr_commit *c, mr_batch_item *it, mr_status status, const char *why) {
    if (it->owed && mr_parts_holds(c->parts, it->at)) hold(c, it->at);
    tell(c, it, status, why);
}

/* ---- topics ---- */

static mr_txn_topic *find_topic(mr_commit *c, const char *name) {
    for (size_t i = 0; i < c->n_topics; i++)
        if (strcmp(c->topics[i].name, name) == 0) return &c->topics[i];
    return NULL;
}

static bool add_topic(mr_commit *c, const char *name) {
    char *copy = c->n_topics < MR_TXN_MAX_TOPICS ? strdup(name) : NULL;
    if (!copy) return false;
    c->topics[c->n_topics++] = (mr_txn_topic){copy, 0};
    return true;
}

static void drop_topic(mr_commit *c, mr_txn_topic *t) {
    free((void *)(uintptr_t)t->name);
    *t = c->topics[--c->n_topics];
}

bool mr_batch_want_topic(mr_commit *c, const char *name, int32_t partition) {
    mr_txn_topic *t = find_topic(c, name);

    if (!t) return add_topic(c, name);
    if (partition >= t->n_partitions) t->n_partitions = 0; /* it may have grown: ask again */
    return true;
}

void mr_batch_drop_topics(mr_commit *c) {
    while (c->n_topics > 0) drop_topic(c, &c->topics[0]);
}

static bool topics_known(mr_commit *c, const mr_batch_item *it) {
    for (size_t i = 0; i < it->n_records; i++) {
        const mr_commit_record *r = &it->records[i].out;
        const mr_txn_topic *t = find_topic(c, r->topic);
        if (!t || t->n_partitions == 0 || r->partition >= t->n_partitions) return false;
    }
    return true;
}

void mr_batch_ask_about_topics(mr_commit *c) {
    mr_batch *b = calloc(1, sizeof *b);
    mr_txn_topic *topics = calloc(c->n_topics + 1, sizeof *topics);

    c->look_up_at_ms = mr_clock_mono_ms() + LOOK_UP_RETRY_MS;
    if (!b || !topics) {
        free(b);
        free(topics);
        return;
    }
    b->work.topics = topics;
    for (size_t i = 0; i < c->n_topics; i++)
        if (c->topics[i].n_partitions == 0) topics[b->work.n_topics++] = c->topics[i];
    c->under_way = b;
    mr_kafka_txn_give(c->txn, &b->work);
}

bool mr_batch_topics_wanted(const mr_commit *c) {
    for (size_t i = 0; i < c->n_topics; i++)
        if (c->topics[i].n_partitions == 0) return true;
    return false;
}

static bool needs_topic(mr_commit *c, mr_batch_item *it, void *arg) {
    const mr_txn_topic *t = arg;
    (void)c;
    for (size_t i = 0; i < it->n_records; i++)
        if (strcmp(it->records[i].out.topic, t->name) == 0 &&
            (t->n_partitions == 0 || it->records[i].out.partition >= t->n_partitions))
            return true;
    return false;
}

static void on_topics(mr_commit *c, mr_batch *b) {
    mr_batch_items refused = {0};

    for (size_t i = 0; i < b->work.n_topics; i++) {
        mr_txn_topic *answer = &b->work.topics[i];
        if (answer->n_partitions < 0) continue; /* asked again */
        move_if(c, &c->waiting, &refused, needs_topic, answer);
        mr_txn_topic *t = find_topic(c, answer->name);
        t->n_partitions = answer->n_partitions;
        if (t->n_partitions == 0) drop_topic(c, t);
    }
    if (c->waiting.first && !c->first_ms)
        c->first_ms = mr_clock_mono_ms(); /* what waited for the answer */
    for (mr_batch_item *it; (it = pop(&refused));)
        refuse(c, it, MR_ENOTFOUND, "no such topic or partition");
    free(b->work.topics);
    free(b);
}

/* ---- forming a batch ---- */

void mr_batch_free(mr_batch *b) {
    if (!b) return;
    if (b->work.group) rd_kafka_consumer_group_metadata_destroy(b->work.group);
    free(b->work.records);
    free(b->work.after);
    free(b->work.before);
    free(b->rows);
    free(b->text);
    free(b);
}

typedef struct budget {
    size_t records, bytes;
    bool more; /* something was left for the next batch */
} budget;

static bool joins(mr_commit *c, mr_batch_item *it, void *arg) {
    budget *left = arg;

    if (c->rows[it->at.part].blocked || !topics_known(c, it)) return false;
    if (it->owed) return true;
    if (mr_batch_weight(it) > left->records || it->bytes > left->bytes) {
        left->records = 0; /* in order: nothing overtakes it */
        left->more = true;
        return false;
    }
    left->records -= mr_batch_weight(it);
    left->bytes -= it->bytes;
    return true;
}

static bool has_gone(mr_commit *c, mr_batch_item *it, void *arg) {
    (void)arg;
    return !mr_parts_holds(c->parts, it->at);
}

/* A partition with an owed item that cannot go now stays out as a whole. */
static void block_rows(mr_commit *c) {
    for (size_t i = 0; i < c->n_rows; i++) c->rows[i].blocked = c->rows[i].n_held > 0;
    for (const mr_batch_item *it = c->waiting.first; it; it = it->next)
        if (it->owed && !topics_known(c, it)) c->rows[it->at.part].blocked = true;
}

/* Room for all that the batch may hold. */
static mr_batch *new_batch(mr_commit *c) {
    size_t n_records = 0, n_rows = 0;
    mr_batch *b = calloc(1, sizeof *b);

    for (const mr_batch_item *it = c->waiting.first; it; it = it->next) n_records += it->n_records;
    for (int r = 0; r < mr_parts_count(c->parts); r++) n_rows += mr_parts_assigned(c->parts, r);
    if (!b) return NULL;
    b->work.records = malloc((n_records + 1) * sizeof *b->work.records);
    b->work.after = calloc(n_rows + 1, sizeof *b->work.after);
    b->work.before = calloc(n_rows + 1, sizeof *b->work.before);
    b->rows = malloc((n_rows + 1) * sizeof *b->rows);
    if (b->work.records && b->work.after && b->work.before && b->rows) return b;
    mr_batch_free(b);
    return NULL;
}

static void set_bits(mr_commit *c, mr_batch *b) {
    for (mr_batch_item *it = b->items.first; it; it = it->next) {
        if (!it->is_mark) {
            mr_parts_finish(c->parts, it->at);
            it->owed = true;
        }
        for (size_t i = 0; i < it->n_records; i++)
            b->work.records[b->work.n_records++] = &it->records[i];
    }
}

/* Everything that the thread reads is copied: the row may go meanwhile. to has room for one row. */
static bool collect_row(mr_commit *c, mr_batch *b, int part, char *to) {
    const mr_batch_row *r = &c->rows[part];
    const int64_t offset = mr_parts_commit(c->parts, part, to, MR_BATCH_ROW_TEXT);
    const mr_kafka_tp at = {to + 2 * MR_BATCH_ROW_TEXT, mr_parts_partition(c->parts, part), offset,
                            to, offset < 0 ? 0 : strlen(to)};

    if (offset < 0) return false;
    memcpy(to + MR_BATCH_ROW_TEXT, r->text ? r->text : "", r->text_len);
    strcpy(to + 2 * MR_BATCH_ROW_TEXT,
           mr_parts_topic(c->parts, part)); /* a topic's name: at most 249 */
    b->work.after[b->work.n_tp] = at;
    b->work.before[b->work.n_tp] = at;
    b->work.before[b->work.n_tp].offset = r->committed;
    b->work.before[b->work.n_tp].metadata = to + MR_BATCH_ROW_TEXT;
    b->work.before[b->work.n_tp].metadata_len = r->text_len;
    b->rows[b->work.n_tp++] = mr_parts_origin(c->parts, part, offset);
    mr_parts_collected(c->parts, part);
    return true;
}

static bool is_due(const mr_commit *c, int part) {
    return mr_parts_assigned(c->parts, part) && mr_parts_dirty(c->parts, part) &&
           !c->rows[part].blocked;
}

static bool collect_rows(mr_commit *c, mr_batch *b) {
    const int n = mr_parts_count(c->parts);
    const size_t bytes = 2 * MR_BATCH_ROW_TEXT + ROW_NAME;
    size_t n_due = 0, used = 0;

    for (int r = 0; r < n; r++) n_due += is_due(c, r);
    if (!(b->text = malloc(n_due * bytes + 1))) return false;
    for (int r = 0; r < n && n_due > 0; r++)
        if (is_due(c, r) && collect_row(c, b, r, b->text + used)) used += bytes;
    return true;
}

static void put_back(mr_commit *c, mr_batch_items *l) {
    mr_batch_append(l, &c->waiting);
    c->waiting = *l;
    *l = (mr_batch_items){0};
}

/* The group as it is now; false: not now. */
static bool bind_group(mr_commit *c, mr_batch *b) {
    if (!c->exactly_once) return mr_kafka_may_commit(c->consumer);
    b->work.group = mr_kafka_generation(c->consumer);
    return b->work.group != NULL;
}

void mr_batch_give(mr_commit *c) {
    const uint64_t now = mr_clock_mono_ms();
    budget left = {BATCH_RECORDS, BATCH_BYTES, false};
    mr_batch_items gone = {0};

    move_if(c, &c->waiting, &gone, has_gone, NULL);
    mr_batch_tell_all(c, &gone, MR_ECANCELED, "the partition was revoked");
    mr_batch *b = c->closing ? NULL : new_batch(c);
    c->not_before_ms = now + STALE_FIRST_MS; /* should it not come about */
    if (!b || !bind_group(c, b)) goto later;
    block_rows(c);
    move_if(c, &c->waiting, &b->items, joins, &left);
    set_bits(c, b);
    if (!collect_rows(c, b)) goto later;
    c->first_ms = left.more ? now : 0;
    if (!b->items.first && b->work.n_tp == 0) goto none; /* all of it waits for something else */
    b->given_us = mr_clock_mono_us();
    c->under_way = b;
    mr_kafka_txn_give(c->txn, &b->work);
    return;
later:
    if (b) put_back(c, &b->items);
none:
    mr_batch_free(b);
}

/* ---- verdicts ---- */

static void remember(mr_commit *c, const mr_batch *b) {
    for (size_t i = 0; i < b->work.n_tp; i++) {
        const mr_kafka_tp *tp = &b->work.after[i];
        if (!mr_parts_holds(c->parts, b->rows[i])) continue;
        mr_batch_row *r = &c->rows[b->rows[i].part];
        if (tp->metadata_len > 0) memcpy(r->text, tp->metadata, tp->metadata_len);
        r->text_len = tp->metadata_len;
        r->committed = tp->offset;
    }
    c->stats.last_batch_us = mr_clock_mono_us() - b->given_us;
    mr_histogram_add(&c->stats.took, c->stats.last_batch_us);
    c->stale_ms = 0;
    c->not_before_ms = 0;
}

/* The broker answers before it has written the transaction's end into each of its partitions. The
 * next transaction is turned away until then, and librdkafka asks again 20 ms later: better to let
 * it settle. */
static void on_committed(mr_commit *c, mr_batch *b) {
    remember(c, b);
    if (c->exactly_once) c->not_before_ms = mr_clock_mono_ms() + SETTLE_MS;
    mr_batch_tell_all(c, &b->items, MR_OK, "");
}

static bool is_refused(mr_commit *c, mr_batch_item *it, void *arg) {
    (void)c;
    (void)arg;
    return refusal(it) != NULL;
}

/* What is still ours goes again; refused items go back to their owners. */
static void on_aborted(mr_commit *c, mr_batch *b) {
    mr_batch_items gone = {0}, refused = {0};

    for (size_t i = 0; i < b->work.n_tp; i++)
        if (mr_parts_holds(c->parts, b->rows[i])) mr_parts_soil(c->parts, b->rows[i].part);
    move_if(c, &b->items, &gone, has_gone, NULL);
    move_if(c, &b->items, &refused, is_refused, NULL);
    put_back(c, &b->items);
    c->not_before_ms = 0; /* the thread makes the pauses for the brokers */
    if (b->work.stale) {
        c->stale_ms = c->stale_ms ? 2 * c->stale_ms : STALE_FIRST_MS;
        if (c->stale_ms > STALE_MOST_MS) c->stale_ms = STALE_MOST_MS;
        c->not_before_ms = mr_clock_mono_ms() + c->stale_ms;
    }
    c->first_ms = mr_clock_mono_ms() - c->conf.linger_ms; /* it has waited */
    mr_batch_tell_all(c, &gone, MR_ECANCELED, "the partition was revoked");
    for (mr_batch_item *it; (it = pop(&refused));) refuse(c, it, MR_EINVAL, refusal(it));
}

void mr_batch_answered(mr_commit *c, mr_txn_work *w) {
    mr_batch *b = c->under_way;

    MR_CHECK(&b->work == w);
    c->under_way = NULL;
    mr_batch_enter(c);
    if (w->n_topics > 0) {
        on_topics(c, b);
    } else {
        if (w->verdict == MR_TXN_COMMITTED)
            on_committed(c, b);
        else
            on_aborted(c, b);
        mr_batch_free(b);
    }
    mr_batch_leave(c);
}

/* ---- revoked partitions ---- */

static bool is_of_part(mr_commit *c, mr_batch_item *it, void *arg) {
    (void)c;
    return it->at.part == *(const int *)arg;
}

void mr_batch_cancel_row(mr_commit *c, int part) {
    static const char why[] = "the partition was revoked";
    mr_batch_items gone = {0};

    c->rows[part].n_held = 0;
    for (size_t i = c->n_held; i > 0; i--)
        if (c->held[i - 1].part == part) c->held[i - 1] = c->held[--c->n_held];
    mr_batch_enter(c);
    move_if(c, &c->waiting, &gone, is_of_part, &part);
    mr_batch_tell_all(c, &gone, MR_ECANCELED, why);
    for (mr_batch_item *it = c->under_way ? c->under_way->items.first : NULL; it; it = it->next) {
        mr_commit_done *done = it->at.part == part ? it->done : NULL;
        if (!done) continue;
        it->done = NULL; /* the thread reads the item still */
        done(it->owner, it->arg, MR_ECANCELED, why, -1);
    }
    mr_batch_leave(c);
}
