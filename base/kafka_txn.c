/* kafka_txn.c - the thread that makes a committer's blocking calls, one after the other.
 *
 * base/txn_plan.h says which call is next, kafka_txn_client.c makes it; here is only the hand-over
 * between loop and thread, and the counting. Both sides meet under one lock, held for moments.
 * Limit: one piece of work. */
#include "base/kafka_txn.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define IDLE_MS 1000

struct mr_kafka_txn {
    uv_thread_t thread;

    uv_mutex_t lock; /* of what follows */
    uv_cond_t given, answered;
    mr_txn_work *in, *out;
    bool ended, failed;
    uv_async_t *wake; /* NULL: the loop has gone */
    mr_err fatal;
    mr_commit_stats stats;

    /* The thread's own: */
    mr_txn_client client;
    mr_txn_plan plan;
    mr_txn_work *work;
};

static bool stopping(mr_kafka_txn *t) {
    return atomic_load(&t->client.stop);
}

/* ---- steps ---- */

/* Under the lock. */
static void wake_loop(mr_kafka_txn *t) {
    uv_cond_signal(&t->answered);
    if (t->wake) uv_async_send(t->wake);
}

static void fail(mr_kafka_txn *t, mr_status status) {
    uv_mutex_lock(&t->lock);
    t->failed = true;
    mr_fail(&t->fatal, status, "%s", t->client.cause.text);
    wake_loop(t);
    uv_mutex_unlock(&t->lock);
}

static void report(mr_kafka_txn *t, mr_txn_call call, mr_txn_outcome o) {
    if (o == MR_TXN_OK || o == MR_TXN_PRESENT || o == MR_TXN_ABSENT) return;
    if (o == MR_TXN_RETRIABLE && t->plan.retries > 1) return; /* one line per trouble */
    mr_log(MR_LOG_WARN, "commit", "a step failed, it heals itself", "call=%s outcome=%s err=" MR_Q,
           mr_txn_call_name(call), mr_txn_outcome_name(o), t->client.cause.text);
}

static void count(mr_kafka_txn *t, mr_txn_call call, mr_txn_outcome o, mr_txn_verdict v) {
    uv_mutex_lock(&t->lock);
    t->stats.retries += o == MR_TXN_RETRIABLE;
    t->stats.unknown += call == MR_TXN_COMMIT && t->plan.in_doubt;
    t->stats.found_committed += o == MR_TXN_PRESENT;
    t->stats.rebuilds += call != MR_TXN_REBUILD && t->plan.call == MR_TXN_REBUILD;
    t->stats.aborts += v == MR_TXN_ABORTED;
    t->stats.batches += v == MR_TXN_COMMITTED;
    uv_mutex_unlock(&t->lock);
}

static void answer(mr_kafka_txn *t, mr_txn_verdict verdict) {
    t->work->verdict = verdict;
    uv_mutex_lock(&t->lock);
    t->out = t->work;
    t->work = NULL;
    wake_loop(t);
    uv_mutex_unlock(&t->lock);
}

static void step(mr_kafka_txn *t) {
    const mr_txn_call call = t->plan.call;

    const mr_txn_outcome o = mr_txn_client_call(&t->client, call, t->work);
    if (stopping(t) && o != MR_TXN_OK) return; /* it failed because of that, or nobody cares */
    const mr_txn_verdict v = mr_txn_plan_next(&t->plan, o);
    count(t, call, o, v);
    if (t->plan.call == MR_TXN_FATAL) {
        fail(t, o == MR_TXN_FENCED ? MR_EFENCED : MR_EINVAL);
        return;
    }
    report(t, call, o);
    if (t->work) t->work->stale = o == MR_TXN_STALE;
    if (t->work && v != MR_TXN_OPEN) answer(t, v);
}

/* ---- the thread ---- */

/* False: it is time to stop. */
static bool wait_ms(mr_kafka_txn *t, uint32_t ms) {
    const uint64_t until = mr_clock_mono_ms() + ms;
    uv_mutex_lock(&t->lock);
    for (uint64_t now; !stopping(t) && (now = mr_clock_mono_ms()) < until;)
        uv_cond_timedwait(&t->given, &t->lock, (until - now) * 1000000);
    uv_mutex_unlock(&t->lock);
    return !stopping(t);
}

static void wait_for_work(mr_kafka_txn *t) {
    uv_mutex_lock(&t->lock);
    if (!t->in && !stopping(t)) uv_cond_timedwait(&t->given, &t->lock, IDLE_MS * 1000000ull);
    t->work = t->in;
    t->in = NULL;
    uv_mutex_unlock(&t->lock);
    mr_txn_client_poll(&t->client);
    if (!t->work) return;
    if (t->work->n_topics > 0) {
        if (mr_txn_client_look_up(&t->client, t->work) == MR_TXN_OK)
            answer(t, MR_TXN_COMMITTED);
        else
            fail(t, MR_EINVAL);
    } else {
        mr_txn_plan_batch(&t->plan);
    }
}

static void run(void *arg) {
    mr_kafka_txn *t = arg;

    while (!stopping(t) && !t->failed) {
        if (t->plan.call == MR_TXN_IDLE)
            wait_for_work(t);
        else if (wait_ms(t, t->plan.pause_ms))
            step(t);
    }
    mr_txn_client_stop(&t->client);
    uv_mutex_lock(&t->lock);
    t->ended = true;
    uv_cond_signal(&t->answered);
    uv_mutex_unlock(&t->lock);
}

/* ---- open, close and the loop's side ---- */

static void free_txn(mr_kafka_txn *t) {
    uv_mutex_destroy(&t->lock);
    uv_cond_destroy(&t->given);
    uv_cond_destroy(&t->answered);
    mr_txn_client_close(&t->client);
    free(t);
}

mr_status mr_kafka_txn_open(mr_kafka_txn **out, const mr_commit_conf *conf, uv_async_t *wake,
                            mr_err *err) {
    mr_kafka_txn *t = calloc(1, sizeof *t);

    *out = NULL;
    if (!t) return mr_fail(err, MR_ENOMEM, "commit: no memory");
    t->wake = wake;
    mr_txn_plan_init(&t->plan);
    const mr_status st = mr_txn_client_open(&t->client, conf, err);
    if (st != MR_OK) {
        free(t);
        return st;
    }
    uv_mutex_init(&t->lock); /* these three always 0 on Linux */
    uv_cond_init(&t->given);
    uv_cond_init(&t->answered);
    if (uv_thread_create(&t->thread, run, t) != 0) {
        free_txn(t);
        return mr_fail(err, MR_EUNAVAIL, "commit: no thread");
    }
    *out = t;
    return MR_OK;
}

void mr_kafka_txn_use(mr_kafka_txn *t, mr_kafka_consumer *consumer) {
    mr_txn_client_use(&t->client, consumer);
}

void mr_kafka_txn_give(mr_kafka_txn *t, mr_txn_work *w) {
    uv_mutex_lock(&t->lock);
    MR_CHECK(!t->in && !t->out);
    t->in = w;
    uv_cond_signal(&t->given);
    uv_mutex_unlock(&t->lock);
}

mr_txn_work *mr_kafka_txn_take(mr_kafka_txn *t, int timeout_ms) {
    const uint64_t until = mr_clock_mono_ms() + (uint64_t)timeout_ms;
    uv_mutex_lock(&t->lock);
    for (uint64_t now; !t->out && !t->failed && (now = mr_clock_mono_ms()) < until;)
        uv_cond_timedwait(&t->answered, &t->lock, (until - now) * 1000000);
    mr_txn_work *w = t->out;
    t->out = NULL;
    uv_mutex_unlock(&t->lock);
    return w;
}

unsigned mr_kafka_txn_progress(mr_kafka_txn *t) {
    return atomic_load(&t->client.returned);
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

bool mr_kafka_txn_close(mr_kafka_txn *t, mr_txn_work **w) {
    const uint64_t until = mr_clock_mono_ms() + MR_KAFKA_CLOSE_MS;

    *w = NULL;
    atomic_store(&t->client.stop, true);
    uv_mutex_lock(&t->lock);
    t->wake = NULL;
    uv_cond_signal(&t->given);
    for (uint64_t now; !t->ended && (now = mr_clock_mono_ms()) < until;)
        uv_cond_timedwait(&t->answered, &t->lock, (until - now) * 1000000);
    const bool ended = t->ended;
    uv_mutex_unlock(&t->lock);
    if (!ended) {
        mr_log(MR_LOG_ERROR, "commit", "a call of the producer does not return, it is left alone",
               "limit_ms=%d", MR_KAFKA_CLOSE_MS);
        return false;
    }
    uv_thread_join(&t->thread);
    *w = t->work ? t->work : t->in ? t->in : t->out;
    free_txn(t);
    return true;
}
