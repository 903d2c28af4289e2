/* kafka_batch.h - the committer's books: what waits, what is under way, what partitions have.
 *
 * Private to kafka_commit.c, which takes items in and says when, and kafka_batch.c, which makes
 * batches of them and handles their verdicts. Thread: loop. */
#ifndef MR_BASE_KAFKA_BATCH_H
#define MR_BASE_KAFKA_BATCH_H

#include "base/kafka_txn.h"

#define MR_BATCH_ROW_TEXT (MR_OFFSETS_MAX_METADATA + 1) /* metadata of one partition */

typedef struct mr_batch_item { /* what one send or mark asked for */
    struct mr_batch_item *next;
    mr_origin at;
    mr_commit_done *done; /* NULL: the owner was told already */
    void *owner, *arg;
    bool is_mark;
    bool owed; /* its bit is set */
    size_t bytes, n_records;
    mr_txn_record records[]; /* then their texts */
} mr_batch_item;

typedef struct mr_batch_items { /* in order of arrival */
    mr_batch_item *first, *last;
} mr_batch_items;

typedef struct mr_batch_row { /* beside the row of mr_parts with the same index */
    size_t n_held;     /* refused offsets whose bit is set */
    bool blocked;      /* nothing of it joins the batch that is being formed */
    int64_t committed; /* last known commit; negative: none */
    char *text;        /* [text_len] its metadata; room for MR_BATCH_ROW_TEXT */
    size_t text_len;
} mr_batch_row;

typedef struct mr_batch { /* or a question about topics: then only work is used */
    mr_txn_work work;
    mr_batch_items items;
    mr_origin *rows; /* [work.n_tp] which assignment each offset belongs to */
    char *text;
    uint64_t given_us;
} mr_batch;

struct mr_commit {
    uv_async_t wake;
    uv_timer_t timer, watch;
    int n_handles;
    unsigned progress; /* of the thread, at the last look */
    uint32_t still_ms; /* it has not changed for so long */
    mr_commit_conf conf; /* its texts are not kept */
    bool exactly_once;
    mr_kafka_txn *txn;
    mr_parts *parts;
    mr_kafka_consumer *consumer;
    mr_batch_row *rows;
    size_t n_rows;
    mr_batch_items waiting;
    mr_batch *under_way;                    /* NULL: the thread has nothing */
    mr_txn_topic topics[MR_TXN_MAX_TOPICS]; /* n_partitions 0: not known yet */
    size_t n_topics;
    mr_origin held[MR_COMMIT_MAX_RECORDS];
    size_t n_held;
    uint64_t first_ms;      /* since when something waits; 0: nothing does */
    uint64_t not_before_ms; /* the next batch */
    uint64_t look_up_at_ms; /* the next question about topics */
    uint32_t stale_ms;      /* last pause because of a changing group */
    int depth;              /* > 0: inside a callback, or flush */
    bool flushing, closing, failed;
    mr_commit_stats stats;
};

/* Around whatever calls back: what a callback has caused, a close too, is done at the last leave. */
void mr_batch_enter(mr_commit *c);
void mr_batch_leave(mr_commit *c);
void mr_commit_schedule(mr_commit *c); /* these two: kafka_commit.c */
void mr_commit_close_now(mr_commit *c);

void mr_batch_push(mr_batch_items *l, mr_batch_item *it);
void mr_batch_append(mr_batch_items *a, mr_batch_items *b); /* b behind a; b is empty then */
size_t mr_batch_weight(const mr_batch_item *it); /* records that it counts as */
/* Tells the owners and frees all items of l. */
void mr_batch_tell_all(mr_commit *c, mr_batch_items *l, mr_status status, const char *why);
/* Items that wait for a row leave; those under way are told now and freed with their batch. */
void mr_batch_cancel_row(mr_commit *c, int part);
/* The offset was refused, and its next record is here. */
bool mr_batch_unhold(mr_commit *c, mr_origin at);

/* The topic of a record to come. False: no room for another. */
bool mr_batch_want_topic(mr_commit *c, const char *name, int32_t partition);
bool mr_batch_topics_wanted(const mr_commit *c);
void mr_batch_drop_topics(mr_commit *c);

/* Gives the thread a question about topics, or a batch, if there is one to give now. */
void mr_batch_ask_about_topics(mr_commit *c);
void mr_batch_give(mr_commit *c);
void mr_batch_answered(mr_commit *c, mr_txn_work *w);
void mr_batch_free(mr_batch *b); /* not its items; NULL is allowed */

#endif
