/* kafka_txn.c - the threads that make a committer's blocking calls, one after the other in a lane.
 *
 * base/txn_plan.h says which call is next, kafka_txn_client.c makes it; here is only the hand-over
 * between loop and lanes, the wait for a batch's turn, and the counting. All sides meet under one
 * lock, held for moments. Limit: one piece of work per lane. */
#include "base/kafka_txn.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define IDLE_MS 1000

typedef struct txn_lane {
    mr_kafka_txn *owner;
    uv_thread_t thread;
    bool runs; /* the thread was started */

    /* Under the owner's lock: */
    uv_cond_t told; /* by the loop: work, a turn, the end */
    mr_txn_work *in, *out;
    mr_txn_turn turn;
    bool idle, produced, ended;

    /* The thread's own: */
    mr_txn_client client;
    mr_txn_plan plan;
    mr_txn_work *work;
    bool failed;
} txn_lane;

struct mr_kafka_txn {
    uv_mutex_t lock; /* of what follows */
    uv_cond_t answered;
    bool failed;
    uv_async_t *wake; /* NULL: the loop has gone */
    mr_err fatal;
    mr_commit_stats stats;
    int n_lanes;
    txn_lane lanes[MR_TXN_LANES];
};

static bool stopping(txn_lane *l) {
    return atomic_load(&l->client.stop);
}

/* ---- steps ---- */

/* Under the lock. */
static void wake_loop(mr_kafka_txn *t) {
    uv_cond_signal(&t->answered);
    if (t->wake) uv_async_send(t->wake);
}

static void fail(txn_lane *l, mr_status status) {
    mr_kafka_txn *t = l->owner;
    l->failed = true;
    uv_mutex_lock(&t->lock);
    if (!t->failed) mr_fail(&t->fatal, status, "%s", l->client.cause.text);
    t->failed = true;
    wake_loop(t);
    uv_mutex_unlock(&t->lock);
}

static void report(const txn_lane *l, mr_txn_call call, mr_txn_outcome o) {
    if (o == MR_TXN_OK || o == MR_TXN_PRESENT || o == MR_TXN_ABSENT || o == MR_TXN_LOST_TURN)
        return;
    if (o == MR_TXN_RETRIABLE && l->plan.retries > 1) return; /* one line per trouble */
    mr_log(MR_LOG_WARN, "commit", "a step failed, it heals itself", "call=%s outcome=%s err=" MR_Q,
           mr_txn_call_name(call), mr_txn_outcome_name(o), l->client.cause.text);
}

static void count(txn_lane *l, mr_txn_call call, mr_txn_outcome o, mr_txn_verdict v) {
    mr_commit_stats *s = &l->owner->stats;
    uv_mutex_lock(&l->owner->lock);
    s->retries += o == MR_TXN_RETRIABLE;
    s->unknown += call == MR_TXN_COMMIT && l->plan.in_doubt;
    s->found_committed += o == MR_TXN_PRESENT;
    s->rebuilds += call != MR_TXN_REBUILD && l->plan.call == MR_TXN_REBUILD;
    s->aborts += v == MR_TXN_ABORTED;
    s->batches += v == MR_TXN_COMMITTED;
    uv_mutex_unlock(&l->owner->lock);
}

static void answer(txn_lane *l, mr_txn_verdict verdict) {
    l->work->verdict = verdict;
    uv_mutex_lock(&l->owner->lock);
    l->out = l->work;
    l->work = NULL;
    l->produced = true;
    l->idle = l->plan.call == MR_TXN_IDLE;
    wake_loop(l->owner);
    uv_mutex_unlock(&l->owner->lock);
}

/* Until the loop says that the batch before is decided. */
static mr_txn_outcome wait_for_turn(txn_lane *l) {
    uv_mutex_lock(&l->owner->lock);
    l->produced = true;
    wake_loop(l->owner);
    while (l->turn == MR_TXN_WAIT && !stopping(l)) uv_cond_wait(&l->told, &l->owner->lock);
    const bool goes = l->turn == MR_TXN_GO;
    uv_mutex_unlock(&l->owner->lock);
    return goes ? MR_TXN_OK : MR_TXN_LOST_TURN;
}

static void step(txn_lane *l) {
    const mr_txn_call call = l->plan.call;

    const mr_txn_outcome o =
        call == MR_TXN_TURN ? wait_for_turn(l) : mr_txn_client_call(&l->client, call, l->work);
    if (stopping(l) && o != MR_TXN_OK) return; /* it failed because of that, or nobody cares */
    const mr_txn_verdict v = mr_txn_plan_next(&l->plan, o);
    count(l, call, o, v);
    if (l->plan.call == MR_TXN_FATAL) {
        fail(l, o == MR_TXN_FENCED ? MR_EFENCED : MR_EINVAL);
        return;
    }
    report(l, call, o);
    if (l->work) l->work->stale = o == MR_TXN_STALE;
    if (l->work && v != MR_TXN_OPEN) answer(l, v);
}

/* ---- the thread ---- */

/* False: it is time to stop. */
static bool wait_ms(txn_lane *l, uint32_t ms) {
    if (ms == 0) return !stopping(l);
    const uint64_t until = mr_clock_mono_ms() + ms;
    uv_mutex_lock(&l->owner->lock);
    for (uint64_t now; !stopping(l) && (now = mr_clock_mono_ms()) < until;)
        uv_cond_timedwait(&l->told, &l->owner->lock, (until - now) * 1000000);
    uv_mutex_unlock(&l->owner->lock);
    return !stopping(l);
}

static void wait_for_work(txn_lane *l) {
    uv_mutex_lock(&l->owner->lock);
    if (!l->idle && !l->in) {
        l->idle = true;
        wake_loop(l->owner);
    }
    if (!l->in && !stopping(l)) uv_cond_timedwait(&l->told, &l->owner->lock, IDLE_MS * 1000000ull);
    l->work = l->in;
    l->in = NULL;
    uv_mutex_unlock(&l->owner->lock);
    mr_txn_client_poll(&l->client);
    if (!l->work) return;
    if (l->work->n_topics > 0) {
        if (mr_txn_client_look_up(&l->client, l->work) == MR_TXN_OK)
            answer(l, MR_TXN_COMMITTED);
        else
            fail(l, MR_EINVAL);
    } else {
        mr_txn_plan_batch(&l->plan);
    }
}

static void run(void *arg) {
    txn_lane *l = arg;

    while (!stopping(l) && !l->failed) {
        if (l->plan.call == MR_TXN_IDLE)
            wait_for_work(l);
        else if (wait_ms(l, l->plan.pause_ms))
            step(l);
    }
    mr_txn_client_stop(&l->client);
    uv_mutex_lock(&l->owner->lock);
    l->ended = true;
    uv_cond_signal(&l->owner->answered);
    uv_mutex_unlock(&l->owner->lock);
}

/* ---- open and close ---- */

static mr_status open_lane(mr_kafka_txn *t, const mr_commit_conf *conf, mr_err *err) {
    txn_lane *l = &t->lanes[t->n_lanes];

    const mr_status st =
        mr_txn_client_open(&l->client, conf, t->n_lanes > 0 ? MR_TXN_SECOND : "", err);
    if (st != MR_OK) return st;
    l->owner = t;
    mr_txn_plan_init(&l->plan);
    uv_cond_init(&l->told); /* always 0 on Linux */
    t->n_lanes++;
    return MR_OK;
}

static void free_txn(mr_kafka_txn *t) {
    for (int i = 0; i < t->n_lanes; i++) {
        uv_cond_destroy(&t->lanes[i].told);
        mr_txn_client_close(&t->lanes[i].client);
    }
    uv_mutex_destroy(&t->lock);
    uv_cond_destroy(&t->answered);
    free(t);
}

mr_status mr_kafka_txn_open(mr_kafka_txn **out, const mr_commit_conf *conf, int n_lanes,
                            uv_async_t *wake, mr_err *err) {
    mr_status st = MR_OK;
    mr_kafka_txn *t = calloc(1, sizeof *t);

    *out = NULL;
    if (!t) return mr_fail(err, MR_ENOMEM, "commit: no memory");
    t->wake = wake;
    uv_mutex_init(&t->lock); /* these two always 0 on Linux */
    uv_cond_init(&t->answered);
    while (st == MR_OK && t->n_lanes < n_lanes) st = open_lane(t, conf, err);
    if (st != MR_OK) {
        free_txn(t);
        return st;
    }
    for (int i = 0; i < n_lanes; i++) {
        if (uv_thread_create(&t->lanes[i].thread, run, &t->lanes[i]) != 0) {
            mr_kafka_txn_close(t);
            return mr_fail(err, MR_EUNAVAIL, "commit: no thread");
        }
        t->lanes[i].runs = true;
    }
    *out = t;
    return MR_OK;
}

/* Under the lock. */
static bool all_ended(const mr_kafka_txn *t) {
    for (int i = 0; i < t->n_lanes; i++)
        if (t->lanes[i].runs && !t->lanes[i].ended) return false;
    return true;
}

bool mr_kafka_txn_close(mr_kafka_txn *t) {
    const uint64_t until = mr_clock_mono_ms() + MR_KAFKA_CLOSE_MS;

    uv_mutex_lock(&t->lock);
    t->wake = NULL;
    for (int i = 0; i < t->n_lanes; i++) {
        atomic_store(&t->lanes[i].client.stop, true);
        uv_cond_signal(&t->lanes[i].told);
    }
    for (uint64_t now; !all_ended(t) && (now = mr_clock_mono_ms()) < until;)
        uv_cond_timedwait(&t->answered, &t->lock, (until - now) * 1000000);
    const bool ended = all_ended(t);
    uv_mutex_unlock(&t->lock);
    if (!ended) {
        mr_log(MR_LOG_ERROR, "commit", "a call of the producer does not return, it is left alone",
               "limit_ms=%d", MR_KAFKA_CLOSE_MS);
        return false;
    }
    for (int i = 0; i < t->n_lanes; i++)
        if (t->lanes[i].runs) uv_thread_join(&t->lanes[i].thread);
    free_txn(t);
    return true;
}

/* ---- the loop's side ---- */

void mr_kafka_txn_use(mr_kafka_txn *t, mr_kafka_consumer *consumer) {
    for (int i = 0; i < t->n_lanes; i++) mr_txn_client_use(&t->lanes[i].client, consumer);
}

bool mr_kafka_txn_idle(mr_kafka_txn *t, int lane) {
    uv_mutex_lock(&t->lock);
    const bool idle = t->lanes[lane].idle;
    uv_mutex_unlock(&t->lock);
    return idle;
}

void mr_kafka_txn_give(mr_kafka_txn *t, int lane, mr_txn_work *w, mr_txn_turn turn) {
    uv_mutex_lock(&t->lock);
    MR_CHECK(!t->lanes[lane].in && !t->lanes[lane].out);
    t->lanes[lane].in = w;
    t->lanes[lane].turn = turn;
    t->lanes[lane].idle = t->lanes[lane].produced = false;
    uv_cond_signal(&t->lanes[lane].told);
    uv_mutex_unlock(&t->lock);
}

bool mr_kafka_txn_produced(mr_kafka_txn *t, int lane) {
    uv_mutex_lock(&t->lock);
    const bool produced = t->lanes[lane].produced;
    uv_mutex_unlock(&t->lock);
    return produced;
}

void mr_kafka_txn_turn(mr_kafka_txn *t, int lane, mr_txn_turn turn) {
    uv_mutex_lock(&t->lock);
    t->lanes[lane].turn = turn;
    uv_cond_signal(&t->lanes[lane].told);
    uv_mutex_unlock(&t->lock);
}

/* Under the lock. */
static mr_txn_work *take_out(mr_kafka_txn *t) {
    for (int i = 0; i < t->n_lanes; i++) {
        mr_txn_work *w = t->lanes[i].out;
        t->lanes[i].out = NULL;
        if (w) return w;
    }
    return NULL;
}

mr_txn_work *mr_kafka_txn_take(mr_kafka_txn *t, int timeout_ms) {
    const uint64_t until = mr_clock_mono_ms() + (uint64_t)timeout_ms;
    mr_txn_work *w;

    uv_mutex_lock(&t->lock);
    for (uint64_t now; !(w = take_out(t)) && !t->failed && (now = mr_clock_mono_ms()) < until;)
        uv_cond_timedwait(&t->answered, &t->lock, (until - now) * 1000000);
    uv_mutex_unlock(&t->lock);
    return w;
}

unsigned mr_kafka_txn_progress(mr_kafka_txn *t, int lane) {
    return atomic_load(&t->lanes[lane].client.returned);
}

bool mr_kafka_txn_failed(mr_kafka_txn *t, mr_err *err) {
    uv_mutex_lock(&t->lock);
    const bool failed = t->failed;
    if (failed) *err = t->fatal;
    uv_mutex_unlock(&t->lock);
    return failed;
}

void mr_kafka_txn_count(mr_kafka_txn *t, mr_commit_stats *s) {
    uv_mutex_lock(&t->lock);
    s->batches = t->stats.batches;
    s->aborts = t->stats.aborts;
    s->rebuilds = t->stats.rebuilds;
    s->unknown = t->stats.unknown;
    s->found_committed = t->stats.found_committed;
    s->retries = t->stats.retries;
    uv_mutex_unlock(&t->lock);
}
