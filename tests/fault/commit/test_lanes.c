/* Goal: with two batches under way each input has one visible output and no offset is committed
 * without it, whatever goes wrong in either lane, and while partitions change hands. Method: the
 * real committer with its threads; the linker puts brokers of this file behind the producers'
 * calls. They fail calls by a seed, keep what is committed, and at each commit compare the finished
 * offsets that its metadata names with the outputs that are there. */
#include <inttypes.h>
#include <stdatomic.h>

#include "../../unit/net/commit_fixture.h"
#include "base/kafka_batch.h"

enum {
    PARTS = 3,
    PER_PART = 400, /* inputs */
    SEEDS = 3,
    AHEAD = 40 /* inputs that run at once, within the fixture's window */
};

typedef struct model_txn { /* of one lane */
    bool open, sent;       /* sent: offsets are with it */
    const mr_txn_work *stale;
    int keys[MR_COMMIT_MAX_RECORDS][2];
    size_t n_keys;
    mr_kafka_tp after[PARTS];
    char text[PARTS][MR_BATCH_ROW_TEXT];
    size_t n_after;
    bool applied; /* the last commit of the lane */
    bool failed;  /* a call of it did not succeed */
} model_txn;

static struct model {
    uv_mutex_t lock;
    uint64_t random;
    model_txn txns[MR_TXN_LANES];
    int outputs[PARTS][PER_PART];
    int64_t committed[PARTS];
    char text[PARTS][MR_BATCH_ROW_TEXT];
    unsigned n_commits, n_overlaps, n_unknown, n_lost_turns, n_stale, n_refused;
    char wrong[sizeof(mr_err)];
} m;

static void wrong(const char *what, int part, int64_t offset) {
    if (!m.wrong[0]) snprintf(m.wrong, sizeof m.wrong, "%.400s: %d:%" PRId64, what, part, offset);
}

static uint32_t rnd(uint32_t n) { /* splitmix64; under the lock */
    uint64_t z = (m.random += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

/* ---- the brokers ---- */

/* What the metadata names as finished, and only that, has its output. */
static void check_offsets(int part) {
    mr_offsets *o = NULL;
    mr_err why;
    CHECK_I64(mr_offsets_open(&o, 64, NULL), MR_OK);
    if (mr_offsets_restore(o, m.committed[part], m.text[part], strlen(m.text[part]), &why) != MR_OK)
        wrong(why.text, part, m.committed[part]);
    for (int64_t i = 0; i < PER_PART; i++) {
        const bool finished = i < m.committed[part] || mr_offsets_begin(o, i) == MR_EINVAL;
        if (finished && m.outputs[part][i] != 1) wrong("finished without its output", part, i);
        if (!finished && m.outputs[part][i] != 0) wrong("an output of what goes again", part, i);
        if (!finished && i > m.committed[part] + AHEAD) break;
    }
    mr_offsets_close(o);
}

static void apply(model_txn *t) {
    for (size_t i = 0; i < t->n_keys; i++)
        if (++m.outputs[t->keys[i][0]][t->keys[i][1]] > 1)
            wrong("a second output", t->keys[i][0], t->keys[i][1]);
    for (size_t i = 0; t->sent && i < t->n_after; i++) {
        const int part = t->after[i].partition;
        if (t->after[i].offset < m.committed[part])
            wrong("an offset that goes back", part, t->after[i].offset);
        m.committed[part] = t->after[i].offset;
        strcpy(m.text[part], t->text[i]);
    }
    for (int p = 0; p < PARTS; p++) check_offsets(p);
    t->applied = true;
    m.n_commits++;
}

static void end_txn(model_txn *t, bool commits) {
    if (t->open && commits) apply(t);
    t->open = t->sent = false;
    t->n_keys = 0;
}

static mr_txn_outcome take_records(model_txn *t, const mr_txn_work *w) {
    bool refused = false;
    for (size_t i = 0; i < w->n_records; i++) {
        mr_txn_record *r = w->records[i];
        r->status = r->out.len == 1 ? MR_OK : MR_EINVAL;
        r->why = "not wanted";
        r->offset = 7;
        refused |= r->status != MR_OK;
        CHECK(sscanf(r->out.key, "%d:%d", &t->keys[i][0], &t->keys[i][1]) == 2);
    }
    t->n_keys = w->n_records;
    m.n_refused += refused;
    t->failed |= refused;
    return refused ? MR_TXN_REFUSED : MR_TXN_OK;
}

static mr_txn_outcome send_offsets(model_txn *t, const mr_txn_work *w) {
    const model_txn *other = &m.txns[t == m.txns];
    if (other->open && other->sent) wrong("offsets of two transactions at once", 0, 0);
    if (t->stale == w) {
        m.n_stale++;
        t->failed = true;
        return MR_TXN_STALE;
    }
    t->sent = true;
    t->n_after = w->n_tp;
    for (size_t i = 0; i < w->n_tp; i++) {
        t->after[i] = w->after[i];
        snprintf(t->text[i], sizeof t->text[i], "%.*s", (int)w->after[i].metadata_len,
                 (const char *)w->after[i].metadata);
    }
    return MR_TXN_OK;
}

static bool is_as(const mr_kafka_tp *tp) {
    const char *text = m.text[tp->partition];
    if (tp->offset < 0) return m.committed[tp->partition] == 0 && !text[0];
    return tp->offset == m.committed[tp->partition] && tp->metadata_len == strlen(text) &&
           memcmp(tp->metadata, text, tp->metadata_len) == 0;
}

/* As the offsets say; before must be what was there when the transaction's turn came. */
static mr_txn_outcome read_back(const model_txn *t, const mr_txn_work *w) {
    bool same = true, as_before = true;
    for (size_t i = 0; i < w->n_tp; i++) {
        same &= is_as(&w->after[i]);
        as_before &= is_as(&w->before[i]);
    }
    if (t->applied && !same) wrong("what was committed is not there", 0, 0);
    if (!t->applied && !as_before) wrong("what was there is not what the batch names", 0, 0);
    return t->applied ? MR_TXN_PRESENT : MR_TXN_ABSENT;
}

static mr_txn_outcome failure(mr_txn_call call) {
    static const mr_txn_outcome ways[][4] = {
        [MR_TXN_BEGIN] = {MR_TXN_RETRIABLE, MR_TXN_DEAD, MR_TXN_ABORTABLE, MR_TXN_OK},
        [MR_TXN_PRODUCE] = {MR_TXN_RETRIABLE, MR_TXN_DEAD, MR_TXN_ABORTABLE, MR_TXN_STALE},
        [MR_TXN_OFFSETS] = {MR_TXN_RETRIABLE, MR_TXN_DEAD, MR_TXN_ABORTABLE, MR_TXN_STALE},
        [MR_TXN_COMMIT] = {MR_TXN_RETRIABLE, MR_TXN_DEAD, MR_TXN_UNKNOWN, MR_TXN_UNKNOWN},
        [MR_TXN_ABORT] = {MR_TXN_RETRIABLE, MR_TXN_DEAD, MR_TXN_UNKNOWN, MR_TXN_OK},
        [MR_TXN_READ] = {MR_TXN_RETRIABLE, MR_TXN_RETRIABLE, MR_TXN_RETRIABLE, MR_TXN_RETRIABLE},
    };
    return ways[call][rnd(4)];
}

static mr_txn_outcome carry_out(model_txn *t, mr_txn_call call, mr_txn_work *w) {
    switch (call) {
    case MR_TXN_REBUILD:
    case MR_TXN_INIT:
        end_txn(t, false);
        return MR_TXN_OK;
    case MR_TXN_BEGIN:
        if (t->open) wrong("begun twice", 0, 0);
        m.n_overlaps += m.txns[t == m.txns].open;
        t->open = true;
        t->applied = t->failed = false;
        return MR_TXN_OK;
    case MR_TXN_PRODUCE:
        return take_records(t, w);
    case MR_TXN_OFFSETS:
        return send_offsets(t, w);
    case MR_TXN_READ:
        return read_back(t, w);
    default:
        end_txn(t, call == MR_TXN_COMMIT);
        return MR_TXN_OK;
    }
}

/* A call that fails may have worked all the same, where nobody can tell. */
static mr_txn_outcome serve(model_txn *t, mr_txn_call call, mr_txn_work *w) {
    const bool fails = call >= MR_TXN_READ && rnd(25) == 0;
    const mr_txn_outcome o = fails ? failure(call) : MR_TXN_OK;
    m.n_unknown += o == MR_TXN_UNKNOWN;
    m.n_lost_turns += call == MR_TXN_ABORT && !t->failed;
    if (o == MR_TXN_OK) return carry_out(t, call, w);
    t->failed = true;
    if (call == MR_TXN_COMMIT && o != MR_TXN_RETRIABLE) end_txn(t, rnd(2));
    return o;
}

mr_txn_outcome __real_mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w);
mr_txn_outcome __wrap_mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w);
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat) {
    return __real_uv_timer_start(timer, cb, timeout, repeat);
}

mr_txn_verdict __real_mr_txn_plan_next(mr_txn_plan *p, mr_txn_outcome outcome);
mr_txn_verdict __wrap_mr_txn_plan_next(mr_txn_plan *p, mr_txn_outcome outcome);

mr_txn_verdict __wrap_mr_txn_plan_next(mr_txn_plan *p, mr_txn_outcome outcome) {
    const mr_txn_verdict v = __real_mr_txn_plan_next(p, outcome);
    p->pause_ms = 0; /* brokers of this file need no rest */
    return v;
}

/* The producers are real, so that topics can be looked up, but are in no transaction: the first one
 * will do for good. */
mr_txn_outcome __wrap_mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w) {
    const bool second = strstr(t->id, MR_TXN_SECOND) != NULL;
    if (call == MR_TXN_REBUILD && !t->rk) {
        const mr_txn_outcome o = __real_mr_txn_client_call(t, call, w);
        if (o != MR_TXN_OK) return o;
    }
    uv_mutex_lock(&m.lock);
    const uint32_t ms = rnd(call == MR_TXN_COMMIT ? 20 : 3);
    uv_mutex_unlock(&m.lock);
    uv_sleep(ms);
    uv_mutex_lock(&m.lock);
    const mr_txn_outcome o = serve(&m.txns[second], call, w);
    uv_mutex_unlock(&m.lock);
    atomic_fetch_add(&t->returned, 1);
    return o;
}

/* ---- the owner of the inputs ---- */

typedef struct input {
    mr_origin at;
    int part, offset;
    bool odd; /* its next output will be refused */
    enum { FRESH, MARKING, RUNS, SENT, DONE } state;
} input;

static input inputs[PARTS][PER_PART];
static int next_input[PARTS], n_done;
static bool away[PARTS];
static uv_timer_t owner_timer;
static reader group_reader;

static void lock(void) {
    uv_mutex_lock(&m.lock);
}

static uint32_t chance(uint32_t n) {
    lock();
    const uint32_t r = rnd(n);
    uv_mutex_unlock(&m.lock);
    return r;
}

static void done_with(input *in) {
    in->state = DONE;
    n_done++;
    lock();
    if (m.outputs[in->part][in->offset] != 1) wrong("told too early", in->part, in->offset);
    uv_mutex_unlock(&m.lock);
}

static void on_sent(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    input *in = arg;
    (void)owner;
    (void)why;
    CHECK(in->state == SENT);
    in->state = RUNS;
    if (status == MR_EINVAL) in->odd = false;
    if (status != MR_OK) return;
    CHECK_I64(offset, 7);
    done_with(in);
}

static void on_marked(void *owner, void *arg, mr_status status, const char *why, int64_t offset) {
    input *in = arg;
    (void)owner;
    (void)status;
    (void)why;
    (void)offset;
    CHECK(in->state == MARKING);
    in->state = RUNS;
}

static void send_output(input *in) {
    char key[32];
    snprintf(key, sizeof key, "%d:%d", in->part, in->offset);
    const mr_commit_record r = {.topic = OUT,
                                .partition = MR_KAFKA_ANY_PARTITION,
                                .key = key,
                                .key_len = strlen(key) + 1,
                                .value = "xx",
                                .len = in->odd ? 2 : 1};
    in->state = SENT;
    CHECK_OK(mr_commit_send(commit, in->at, &r, 1, on_sent, &commit, in, &err), err);
}

static void take_inputs(int part) {
    mr_parts *p = mr_commit_parts(commit);
    const int row = mr_parts_find(p, TOPIC, part);
    while (next_input[part] < PER_PART && !mr_parts_full(p, row, false) && chance(2)) {
        input *in = &inputs[part][next_input[part]++];
        const mr_status st = mr_parts_begin(p, row, in->offset, &in->at);
        if (st == MR_EINVAL && in->state != DONE) done_with(in); /* under the former assignment */
        if (st == MR_EINVAL) continue;
        CHECK(in->state != DONE);
        in->state = RUNS;
        if (chance(3) == 0 && mr_commit_mark(commit, in->at, on_marked, &commit, in) == MR_OK)
            in->state = MARKING;
    }
}

static void lose(int part) {
    mr_commit_revoke(commit, TOPIC, part);
    lock();
    for (int i = 0; i < MR_TXN_LANES; i++)
        m.txns[i].stale = commit->under_way[i] ? &commit->under_way[i]->work : NULL;
    uv_mutex_unlock(&m.lock);
    away[part] = true;
}

/* The next owner of a partition waits until no transaction has offsets of it. */
static void come_back(int part) {
    lock();
    const bool stable = !m.txns[0].sent && !m.txns[1].sent;
    const int64_t at = m.committed[part];
    const char *text = m.text[part];
    uv_mutex_unlock(&m.lock);
    if (!stable) return;
    away[part] = false;
    assign(part, at, text, strlen(text));
    for (int i = 0; i < at; i++)
        if (inputs[part][i].state != DONE) done_with(&inputs[part][i]);
    next_input[part] = (int)at;
}

static void on_owner(uv_timer_t *timer) {
    (void)timer;
    for (int p = 0; p < PARTS; p++) {
        if (away[p]) {
            come_back(p);
            continue;
        }
        take_inputs(p);
        for (int i = 0; i < next_input[p]; i++)
            if (inputs[p][i].state == RUNS && chance(8) == 0) send_output(&inputs[p][i]);
        if (chance(1000) == 0) lose(p);
    }
}

static bool all_done(void *arg) {
    (void)arg;
    return n_done == PARTS * PER_PART || fatal.status != MR_OK || m.wrong[0];
}

static bool is_member(void *arg) {
    (void)arg;
    return group_reader.n_assign > 0;
}

static void open_world(uint64_t seed) {
    memset(&m, 0, sizeof m);
    uv_mutex_init(&m.lock);
    m.random = seed;
    n_done = 0;
    start();
    CHECK_OK(mr_kafka_mock_topic(mock, OUT, 2, &err), err);
    open_commit("tx");
    group_reader = (reader){0};
    mr_kafka_consumer_conf conf = reader_conf(&group_reader, "g-lanes");
    conf.read_committed = true;
    CHECK_OK(mr_kafka_consumer_open(&source, &loop, &conf, &err), err);
    group_reader.c = source;
    CHECK(run_until(&loop, is_member, NULL, WAIT_MS));
    mr_commit_use(commit, source);
    for (int p = 0; p < PARTS; p++) {
        assign(p, 0, NULL, 0);
        next_input[p] = 0;
        away[p] = false;
        for (int i = 0; i < PER_PART; i++)
            inputs[p][i] = (input){.part = p, .offset = i, .odd = rnd(80) == 0};
    }
    uv_timer_init(&loop, &owner_timer);
    uv_timer_start(&owner_timer, on_owner, 1, 1);
}

TEST(whatever_goes_wrong_in_either_lane) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_world(seed);
        const bool ended = run_until(&loop, all_done, NULL, WAIT_MS);
        uv_close((uv_handle_t *)&owner_timer, NULL);
        const mr_commit_stats s = mr_commit_get_stats(commit);
        close_all();
        printf("seed %" PRIu64 ": %u commits, %u overlapped, %u of unknown end, %" PRIu64
               " aborts, of "
               "them %u by the batch before; %u of an old generation, %u with a refused output\n",
               seed, m.n_commits, m.n_overlaps, m.n_unknown, s.aborts, m.n_lost_turns, m.n_stale,
               m.n_refused);
        if (m.wrong[0]) fail_msg("seed %" PRIu64 ": %s", seed, m.wrong);
        CHECK(ended);
        CHECK_I64(fatal.status, MR_OK);
        for (int p = 0; p < PARTS; p++)
            for (int i = 0; i < PER_PART; i++) CHECK_I64(m.outputs[p][i], 1);
        CHECK(m.n_overlaps > 0);
        uv_mutex_destroy(&m.lock);
    }
}

MR_TEST_MAIN
