/* ends.c - see ends.h. The thread writes only what belongs to the question; the answer is taken
 * over on the loop. */
#include "dispatcher/ends.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { TIMEOUT_MS = 2000 };

typedef struct row { /* of a topic */
    const char *topic;
    int64_t *ends; /* [n] */
    size_t n;
} row;

struct mr_ends {
    uv_loop_t *loop;
    const mr_kafka_conf *kafka;
    row rows[MR_ENDS_MAX_TOPICS];
    uv_work_t work;
    row asked[MR_ENDS_MAX_TOPICS]; /* the question, and the thread's answer */
    size_t n_asked;
    uint64_t asked_ms;
    bool in_flight, closing;
};

mr_status mr_ends_open(mr_ends **out, uv_loop_t *loop, const mr_kafka_conf *kafka, mr_err *err) {
    mr_ends *e = *out = calloc(1, sizeof *e);
    if (!e) return mr_fail(err, MR_ENOMEM, "ends: out of memory");
    e->loop = loop;
    e->kafka = kafka;
    e->work.data = e;
    return MR_OK;
}

static void free_all(mr_ends *e) {
    for (size_t i = 0; i < MR_ENDS_MAX_TOPICS; i++) {
        free(e->rows[i].ends);
        free(e->asked[i].ends);
    }
    free(e);
}

void mr_ends_close(mr_ends *e) {
    if (!e) return;
    e->closing = true;
    if (!e->in_flight) free_all(e);
}

/* A thread of uv's pool. What has no answer keeps n at 0. */
static void ask_for(const mr_kafka_conf *kafka, row *r) {
    mr_kafka_tp *tp = calloc(MR_ENDS_MAX_PARTS, sizeof *tp);
    mr_err err;

    if (tp &&
        mr_kafka_ends(kafka, r->topic, TIMEOUT_MS, tp, MR_ENDS_MAX_PARTS, &r->n, &err) != MR_OK)
        r->n = 0;
    if (r->n) r->ends = calloc(r->n, sizeof *r->ends);
    if (!r->ends) r->n = 0;
    for (size_t i = 0; i < r->n; i++) r->ends[i] = tp[i].offset;
    free(tp);
}

static void on_work(uv_work_t *work) {
    mr_ends *e = work->data;
    for (size_t i = 0; i < e->n_asked; i++) ask_for(e->kafka, &e->asked[i]);
}

/* The row of a topic, or a free one; NULL: all are taken. */
static row *row_of(mr_ends *e, const char *topic) {
    for (size_t i = 0; i < MR_ENDS_MAX_TOPICS; i++)
        if (!e->rows[i].topic || strcmp(e->rows[i].topic, topic) == 0) return &e->rows[i];
    return NULL;
}

static void on_answer(uv_work_t *work, int cancelled) {
    mr_ends *e = work->data;

    (void)cancelled; /* nobody does */
    e->in_flight = false;
    for (size_t i = 0; i < e->n_asked; i++) {
        row *r = row_of(e, e->asked[i].topic);
        if (!r || !e->asked[i].n) continue; /* the last answer stays */
        free(r->ends);
        *r = e->asked[i];
        e->asked[i].ends = NULL;
    }
    if (e->closing) free_all(e);
}

void mr_ends_ask(mr_ends *e, const char *const *topics, size_t n, uint64_t now_ms) {
    if (n == 0 || e->in_flight || (e->asked_ms && now_ms - e->asked_ms < MR_ENDS_PERIOD_MS)) return;
    MR_CHECK(n <= MR_ENDS_MAX_TOPICS);
    for (size_t i = 0; i < n; i++) e->asked[i] = (row){.topic = topics[i]};
    e->n_asked = n;
    e->asked_ms = now_ms;
    e->in_flight = uv_queue_work(e->loop, &e->work, on_work, on_answer) == 0;
}

int64_t mr_ends_of(const mr_ends *e, const char *topic, int32_t partition) {
    for (size_t i = 0; i < MR_ENDS_MAX_TOPICS && e->rows[i].topic; i++)
        if (strcmp(e->rows[i].topic, topic) == 0)
            return (size_t)partition < e->rows[i].n ? e->rows[i].ends[partition] : -1;
    return -1;
}
