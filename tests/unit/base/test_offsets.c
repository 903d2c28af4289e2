/* Goal: the offset to commit is always the first one that is not finished, whatever order jobs end
 * in. Method: single cases, and many random histories against a model that keeps a flag per offset.
 */
#include "base/offsets.h"

#include "../../test.h"

static mr_err err;

static mr_offsets *open_window(size_t window) {
    mr_offsets *o = NULL;
    CHECK_OK(mr_offsets_open(&o, window, &err), err);
    return o;
}

TEST(a_slow_job_holds_back_the_commit) {
    mr_offsets *o = open_window(64);
    CHECK_I64(mr_offsets_commit(o), -1);
    for (int64_t off = 100; off < 103; off++) CHECK_I64(mr_offsets_begin(o, off), MR_OK);
    CHECK_I64(mr_offsets_commit(o), 100);
    CHECK_I64(mr_offsets_finish(o, 102), 100);
    CHECK_I64(mr_offsets_finish(o, 101), 100);
    CHECK_I64(mr_offsets_pending(o), 1);
    CHECK_I64(mr_offsets_finish(o, 100), 103);
    CHECK_I64(mr_offsets_pending(o), 0);
    mr_offsets_close(o);
}

TEST(a_full_window_refuses_and_changes_nothing) {
    mr_offsets *o = open_window(64);
    for (int64_t off = 0; off < 64; off++) CHECK_I64(mr_offsets_begin(o, off), MR_OK);
    CHECK_I64(mr_offsets_begin(o, 64), MR_ELIMIT);
    CHECK_I64(mr_offsets_begin(o, 1000000), MR_ELIMIT);
    for (int64_t off = 63; off > 0; off--) CHECK_I64(mr_offsets_finish(o, off), 0);
    CHECK_I64(mr_offsets_begin(o, 64), MR_ELIMIT); /* 63 are finished, but the oldest runs */
    CHECK_I64(mr_offsets_finish(o, 0), 64);
    CHECK_I64(mr_offsets_begin(o, 64), MR_OK);
    mr_offsets_close(o);
}

TEST(duplicates_are_told) {
    mr_offsets *o = open_window(100);
    CHECK_I64(mr_offsets_begin(o, 10), MR_OK);
    CHECK_I64(mr_offsets_begin(o, 12), MR_OK); /* 11 is a hole */
    CHECK_I64(mr_offsets_begin(o, 10), MR_EINVAL);
    CHECK_I64(mr_offsets_begin(o, 11), MR_EINVAL);
    CHECK_I64(mr_offsets_begin(o, 9), MR_EINVAL);
    CHECK_I64(mr_offsets_begin(o, -5), MR_EINVAL);
    CHECK_I64(mr_offsets_finish(o, 11), 10); /* not pending: nothing changes */
    CHECK_I64(mr_offsets_finish(o, 500), 10);
    CHECK_I64(mr_offsets_finish(o, 10), 12);
    CHECK_I64(mr_offsets_finish(o, 10), 12);
    CHECK_I64(mr_offsets_pending(o), 1);
    mr_offsets_close(o);
}

TEST(an_empty_window_jumps_over_any_hole) {
    mr_offsets *o = open_window(64);
    mr_offsets_reset(o, 5);
    CHECK_I64(mr_offsets_commit(o), -1);
    CHECK_I64(mr_offsets_begin(o, 4), MR_EINVAL);
    CHECK_I64(mr_offsets_begin(o, 5000000000), MR_OK);
    CHECK_I64(mr_offsets_commit(o), 5000000000);
    CHECK_I64(mr_offsets_finish(o, 5000000000), 5000000001);
    CHECK_I64(mr_offsets_begin(o, INT64_MAX - 1), MR_OK);
    CHECK_I64(mr_offsets_finish(o, INT64_MAX - 1), INT64_MAX);
    mr_offsets_reset(o, 7);
    CHECK_I64(mr_offsets_finish(o, 7), -1); /* a job from before the reset ends late */
    CHECK_I64(mr_offsets_begin(o, 7), MR_OK);
    CHECK_I64(mr_offsets_commit(o), 7);
    mr_offsets_close(o);
}

TEST(a_wrong_window_is_named) {
    mr_offsets *o = NULL;
    CHECK_I64(mr_offsets_open(&o, 63, &err), MR_EINVAL);
    CHECK_ERR(err, "63");
    CHECK_I64(mr_offsets_open(&o, 65537, &err), MR_EINVAL);
    CHECK_ERR(err, "65536");
    CHECK(o == NULL);
    mr_offsets_close(NULL);
}

/* ---- against the model ---- */

#define SPAN 2000
enum { NEW, RUNNING, ENDED };

typedef struct model {
    unsigned char state[SPAN]; /* holes are ENDED as soon as a later offset begins */
    int64_t next;
    bool begun;
} model;

static uint64_t rng_state;

static uint32_t rnd(uint32_t n) { /* splitmix64: small, and the same everywhere */
    uint64_t z = (rng_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

static int64_t model_commit(const model *m) {
    int64_t i = 0;
    if (!m->begun) return -1;
    while (i < m->next && m->state[i] != RUNNING) i++;
    return i;
}

static size_t model_pending(const model *m) {
    size_t n = 0;
    for (int64_t i = 0; i < m->next; i++) n += m->state[i] == RUNNING;
    return n;
}

static mr_status model_begin(model *m, int64_t off, size_t window) {
    if (off < m->next) return MR_EINVAL;
    if (model_pending(m) > 0 && (size_t)(off - model_commit(m)) >= window) return MR_ELIMIT;
    memset(m->state + m->next, ENDED, (size_t)(off - m->next));
    m->state[off] = RUNNING;
    m->next = off + 1;
    m->begun = true;
    return MR_OK;
}

static void one_history(size_t window) {
    static model m;
    mr_offsets *o = open_window(window);
    memset(&m, 0, sizeof m);
    mr_offsets_reset(o, 0);
    for (int step = 0; step < 1500; step++) {
        if (rnd(2)) {
            const int64_t off = m.next + (rnd(4) ? 0 : (int64_t)rnd(rnd(10) ? 5 : 90)) - !rnd(15);
            if (off < 0 || off >= SPAN) break;
            CHECK_I64(mr_offsets_begin(o, off), model_begin(&m, off, window));
        } else if (m.next > 0) {
            const int64_t back = rnd(10) ? rnd(8) : rnd(200); /* mostly new ones; some stay long */
            const int64_t off = m.next - 1 - back;
            if (off < 0) continue;
            if (m.state[off] == RUNNING) m.state[off] = ENDED;
            CHECK_I64(mr_offsets_finish(o, off), model_commit(&m));
        }
        CHECK_I64(mr_offsets_commit(o), model_commit(&m));
        CHECK_I64(mr_offsets_pending(o), model_pending(&m));
    }
    mr_offsets_close(o);
}

TEST(random_histories_agree_with_the_model) {
    for (uint64_t seed = 1; seed <= 150; seed++) {
        rng_state = seed;
        one_history(64 + rnd(200));
    }
}

MR_TEST_MAIN
