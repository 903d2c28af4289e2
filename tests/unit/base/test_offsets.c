/* Goal: the offset to commit is always the first one that is not finished, whatever order jobs end
 * in; and the next owner of a partition does what is not finished, that alone, and knows what died.
 * Method: single cases, the worst metadata that there can be, and a million random histories
 * against a model that keeps a flag per offset. */
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
    CHECK_I64(mr_offsets_span(o), 0);
    CHECK_I64(mr_offsets_finish(o, 7), -1); /* a job from before the reset ends late */
    CHECK_I64(mr_offsets_begin(o, 7), MR_OK);
    CHECK_I64(mr_offsets_commit(o), 7);
    mr_offsets_close(o);
}

TEST(a_wrong_window_is_named) {
    mr_offsets *o = NULL;
    CHECK_I64(mr_offsets_open(&o, 63, &err), MR_EINVAL);
    CHECK_ERR(err, "63");
    CHECK_I64(mr_offsets_open(&o, 16385, &err), MR_EINVAL);
    CHECK_ERR(err, "16384");
    CHECK(o == NULL);
    mr_offsets_close(NULL);
}

/* ---- metadata ---- */

static char text[MR_OFFSETS_MAX_METADATA + 1];

/* What `from` says, read by another one of this window. */
static mr_offsets *hand_over(const mr_offsets *from, size_t window) {
    mr_offsets *o = open_window(window);
    const size_t len = mr_offsets_encode(from, text, sizeof text);
    CHECK_I64(len, strlen(text));
    for (size_t i = 0; i < len; i++) CHECK(text[i] > ' ' && text[i] <= '~');
    CHECK_OK(mr_offsets_restore(o, mr_offsets_commit(from), text, len, &err), err);
    CHECK_I64(mr_offsets_commit(o), mr_offsets_commit(from));
    return o;
}

static void begin_all(mr_offsets *o, int64_t from, int64_t to) {
    for (; from < to; from++) CHECK_I64(mr_offsets_begin(o, from), MR_OK);
}

TEST(the_next_owner_does_what_is_not_finished) {
    mr_offsets *o = open_window(64);
    begin_all(o, 100, 106);
    mr_offsets_finish(o, 102);
    mr_offsets_finish(o, 103);
    mr_offsets *heir = hand_over(o, 64);
    CHECK_I64(mr_offsets_pending(heir), 0);
    CHECK_I64(mr_offsets_finish(heir, 100), 100); /* not begun here */
    begin_all(heir, 100, 102);
    CHECK_I64(mr_offsets_begin(heir, 102), MR_EINVAL);
    CHECK_I64(mr_offsets_finish(heir, 101), 100);
    CHECK_I64(mr_offsets_finish(heir, 100),
              104); /* over the restored bits; 103 was not delivered */
    CHECK_I64(mr_offsets_begin(heir, 103), MR_EINVAL);
    begin_all(heir, 104, 106);
    CHECK_I64(mr_offsets_pending(heir), 2);
    mr_offsets_close(o);
    mr_offsets_close(heir);
}

TEST(what_was_not_delivered_yet_is_not_passed) {
    mr_offsets *o = open_window(64);
    begin_all(o, 0, 4);
    mr_offsets_finish(o, 3);
    mr_offsets *heir = hand_over(o, 64);
    begin_all(heir, 0, 1);
    CHECK_I64(mr_offsets_finish(heir, 0), 1);    /* 1 and 2 are still to come */
    CHECK_I64(mr_offsets_begin(heir, 2), MR_OK); /* so 1 was a hole */
    CHECK_I64(mr_offsets_commit(heir), 2);
    CHECK_I64(mr_offsets_finish(heir, 2), 4);
    mr_offsets_close(heir);

    heir = hand_over(o, 64);
    CHECK_I64(mr_offsets_begin(heir, 3), MR_EINVAL); /* 0..2 are holes, 3 is finished */
    CHECK_I64(mr_offsets_commit(heir), 4);
    mr_offsets_close(heir);

    heir = hand_over(o, 64);
    CHECK_I64(mr_offsets_begin(heir, 900), MR_OK); /* all of them are */
    CHECK_I64(mr_offsets_commit(heir), 900);
    CHECK_I64(mr_offsets_encode(heir, text, sizeof text), 0);
    mr_offsets_close(o);
    mr_offsets_close(heir);
}

TEST(nothing_above_the_watermark_needs_no_metadata) {
    mr_offsets *o = open_window(64);
    CHECK_I64(mr_offsets_encode(o, text, sizeof text), 0);
    begin_all(o, 10, 20);
    for (int64_t off = 10; off < 15; off++) mr_offsets_finish(o, off);
    CHECK_I64(mr_offsets_encode(o, text, sizeof text), 0);
    CHECK_STR(text, "");
    mr_offsets *heir = hand_over(o, 64);
    CHECK_I64(mr_offsets_begin(heir, 14), MR_EINVAL);
    begin_all(heir, 15, 20);
    mr_offsets_close(o);
    mr_offsets_close(heir);
}

TEST(a_smaller_window_drops_nothing) {
    mr_offsets *o = open_window(MR_OFFSETS_MAX_WINDOW);
    begin_all(o, 0, 16384);
    for (int64_t off = 1; off < 16384; off += 2) mr_offsets_finish(o, off);
    mr_offsets *heir = hand_over(o, 64);
    for (int64_t off = 0; off < 16384; off++) {
        CHECK_I64(mr_offsets_begin(heir, off), off & 1 ? MR_EINVAL : MR_OK);
        if (off >= 60) mr_offsets_finish(heir, (off - 60) & ~(int64_t)1);
    }
    CHECK_I64(mr_offsets_pending(heir), 30);
    mr_offsets_close(o);
    mr_offsets_close(heir);
}

/* Marked by a process that ended in good order before it began. */
TEST(what_never_began_leaves_no_trace) {
    mr_offsets *o = open_window(64);
    begin_all(o, 0, 3);
    for (int64_t off = 0; off < 3; off++) CHECK_I64(mr_offsets_mark(o, off), MR_OK);
    mr_offsets_unmark(o, 0, true);
    mr_offsets_unmark(o, 1, false);
    mr_offsets *heir = hand_over(o, 64); /* 2 died */
    CHECK(mr_offsets_was_started(heir, 0) && !mr_offsets_was_started(heir, 1));
    begin_all(heir, 0, 3);
    CHECK_I64(mr_offsets_mark(heir, 2), MR_OK);
    mr_offsets_unmark(heir, 2, false);
    CHECK(mr_offsets_was_started(heir, 2)); /* that somebody died is not forgotten */
    CHECK_I64(mr_offsets_deaths(heir, 2), 1);
    mr_offsets_close(heir);
    mr_offsets_close(o);
}

TEST(a_process_that_dies_is_counted) {
    mr_offsets *o = open_window(64);
    begin_all(o, 0, 3);
    CHECK_I64(mr_offsets_mark(o, 0), MR_OK);
    CHECK_I64(mr_offsets_mark(o, 1), MR_OK);
    CHECK_I64(mr_offsets_mark(o, 1), MR_OK);
    CHECK_I64(mr_offsets_mark(o, 3), MR_EINVAL);
    CHECK(mr_offsets_was_started(o, 1) && !mr_offsets_was_started(o, 2));
    CHECK_I64(mr_offsets_deaths(o, 1), 0);
    mr_offsets_unmark(o, 1, true); /* in good order */
    mr_offsets_unmark(o, 2, true);
    for (unsigned deaths = 1; deaths <= 20; deaths++) {
        mr_offsets *heir = hand_over(o, 64);
        CHECK_I64(mr_offsets_deaths(heir, 0), deaths < 15 ? deaths : 15);
        CHECK(mr_offsets_was_started(heir, 0) && mr_offsets_was_started(heir, 1));
        CHECK(!mr_offsets_was_started(heir, 2));
        CHECK_I64(mr_offsets_deaths(heir, 1), 0);
        mr_offsets_close(o);
        o = hand_over(heir, 64); /* before it runs again nobody has died once more */
        CHECK_I64(mr_offsets_deaths(o, 0), deaths < 15 ? deaths : 15);
        mr_offsets_close(heir);
        begin_all(o, 0, 3);
        CHECK_I64(mr_offsets_mark(o, 0), MR_OK);
    }
    mr_offsets_finish(o, 0);
    CHECK(!mr_offsets_was_started(o, 0));
    CHECK_I64(mr_offsets_deaths(o, 0), 0);
    mr_offsets_close(o);
}

TEST(a_skipped_offset_loses_its_mark) {
    mr_offsets *o = open_window(64);
    begin_all(o, 0, 3);
    for (int64_t off = 0; off < 3; off++) CHECK_I64(mr_offsets_mark(o, off), MR_OK);
    mr_offsets *heir = hand_over(o, 64);
    CHECK_I64(mr_offsets_begin(heir, 2), MR_OK); /* the log was cut */
    CHECK(!mr_offsets_was_started(heir, 0) && !mr_offsets_was_started(heir, 1));
    CHECK_I64(mr_offsets_deaths(heir, 2), 1);
    mr_offsets_close(o);
    mr_offsets_close(heir);
}

TEST(marks_are_bounded) {
    mr_offsets *o = open_window(1024);
    begin_all(o, 0, 300);
    for (int64_t off = 299; off >= 44; off--) CHECK_I64(mr_offsets_mark(o, off), MR_OK);
    CHECK_I64(mr_offsets_mark(o, 43), MR_ELIMIT);
    CHECK_I64(mr_offsets_mark(o, 44), MR_OK); /* noted already */
    mr_offsets_finish(o, 200);
    CHECK_I64(mr_offsets_mark(o, 43), MR_OK);
    mr_offsets *heir = hand_over(o, 1024);
    for (int64_t off = 0; off < 300; off++)
        CHECK_I64(mr_offsets_deaths(heir, off), off >= 43 && off != 200);
    mr_offsets_close(o);
    mr_offsets_close(heir);
}

/* ---- the largest metadata ---- */

/* Bits in a pattern, marks on what is not finished, far offsets, and the longest numbers. */
static size_t largest(int64_t start, bool (*finished)(int64_t i)) {
    const int64_t end = start + (int64_t)MR_OFFSETS_MAX_WINDOW;
    mr_offsets *o = open_window(MR_OFFSETS_MAX_WINDOW);
    begin_all(o, start, end);
    for (unsigned i = 0; i < MR_OFFSETS_MAX_FAR; i++)
        mr_offsets_begin_far(o, INT64_MAX - MR_OFFSETS_MAX_FAR + i - 1);
    for (int64_t off = start + 1; off < end; off++)
        if (finished(off - start)) mr_offsets_finish(o, off);
    int64_t marked = 0;
    for (int64_t off = end - 1; off >= start && marked < (int64_t)MR_OFFSETS_MAX_MARKS; off--)
        marked += mr_offsets_mark(o, off) == MR_OK;
    mr_offsets_finish(o, INT64_MAX - 2);
    mr_offsets_finish(o, INT64_MAX - 4);
    CHECK_I64(mr_offsets_commit(o), start);

    mr_offsets *heir = hand_over(o, MR_OFFSETS_MAX_WINDOW);
    for (int64_t off = start; off < end; off++) {
        const bool ended = off > start && finished(off - start);
        CHECK_I64(mr_offsets_deaths(heir, off), mr_offsets_was_started(o, off));
        CHECK_I64(mr_offsets_begin(heir, off), ended ? MR_EINVAL : MR_OK);
    }
    mr_offsets_close(o);
    mr_offsets_close(heir);
    return strlen(text);
}

static bool odd(int64_t i) {
    return i & 1;
}
static bool hash_bit(int64_t i) {
    return (uint64_t)i * 0x9E3779B97F4A7C15u >> 63;
}
static bool all_of_them(int64_t i) {
    return i > 0;
}
static bool long_runs(int64_t i) {
    return i >> 7 & 1;
}

TEST(any_window_fits_the_metadata) {
    const int64_t start = INT64_MAX / 2; /* a watermark of nine bytes */
    CHECK(largest(start, odd) <= MR_OFFSETS_MAX_METADATA);
    CHECK(strlen(text) > 3700); /* nothing is left out */
    CHECK(largest(start, hash_bit) <= MR_OFFSETS_MAX_METADATA);
    CHECK(largest(start, long_runs) <= 1500); /* runs: short */
    CHECK(largest(start, all_of_them) <= 100);
    CHECK(largest(0, odd) <= MR_OFFSETS_MAX_METADATA);
}

static void refused(const char *bad, size_t len, const char *why) {
    mr_offsets *o = open_window(64);
    CHECK_I64(mr_offsets_restore(o, 100, bad, len, &err), MR_EINVAL);
    CHECK_ERR(err, why);
    CHECK_I64(mr_offsets_commit(o), 100); /* and nothing is skipped, nothing suspected */
    for (int64_t off = 100; off < 164; off++) {
        CHECK_I64(mr_offsets_deaths(o, off), 0);
        CHECK_I64(mr_offsets_begin(o, off), MR_OK);
    }
    mr_offsets_close(o);
}

TEST(metadata_in_doubt_is_refused) {
    mr_offsets *o = open_window(64);
    char good[sizeof text];
    begin_all(o, 100, 130);
    for (int64_t off = 101; off < 130; off += 3) mr_offsets_finish(o, off);
    CHECK_I64(mr_offsets_mark(o, 102), MR_OK);
    const size_t len = mr_offsets_encode(o, good, sizeof good);
    for (size_t cut = 1; cut < len; cut++) refused(good, cut, "metadata of");
    for (size_t i = 0; i < len; i++) { /* each character made another one of base64 */
        memcpy(text, good, len);
        text[i] = good[i] == 'A' ? 'B' : 'A';
        refused(text, len, i < 4 ? "not ours" : "metadata of");
    }
    refused("a note of somebody else", 23, "not ours");
    refused("mr2:AAAA", 8, "not ours");
    mr_offsets_finish(o, 100); /* the watermark moves */
    mr_offsets_encode(o, text, sizeof text);
    refused(text, strlen(text), "offset 102");
    mr_offsets_close(o);
}

/* ---- against the model ----
 *
 * The log of one partition is a row of places. Some are holes; between some there is a jump, a hole
 * of any width, so offsets are not places. The model keeps a flag per place. */

#define SPAN 128

typedef struct model {
    int64_t offset[SPAN]; /* of a place, ascending */
    bool hole[SPAN], finished[SPAN], begun[SPAN], started[SPAN], running[SPAN];
    bool noted[SPAN]; /* finished, and not only for having been skipped in this life */
    unsigned deaths[SPAN];
    int next; /* place that is delivered next */
    int base; /* the first that is not finished */
    size_t pending;
    size_t window;
} model;

static uint64_t rng_state;

static uint32_t rnd(uint32_t n) { /* splitmix64: small, and the same everywhere */
    uint64_t z = (rng_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z >> 32 ^ z) % n);
}

/* Jumps as wide as: a few offsets, some windows, the whole ring, further. A jump is a hole, so the
 * place before it is one. */
static int64_t random_jump(void) {
    static const uint32_t widths[] = {10, 200, 16384, 100000, UINT32_MAX};
    return 1 + rnd(widths[rnd(MR_COUNT(widths))]);
}

static void make_log(model *m) {
    const uint32_t holes = 2 + rnd(20), jumps = 8 + rnd(60);
    int64_t off = rnd(3) ? rnd(1000) : 0;
    memset(m, 0, sizeof *m);
    for (int i = 0; i < SPAN; i++) {
        const bool jump = rnd(jumps) == 0;
        m->hole[i] = jump || rnd(holes) == 0;
        m->offset[i] = off;
        off += jump ? random_jump() : 1;
    }
}

static void settle(model *m) {
    while (m->base < SPAN - 1 && m->finished[m->base]) m->base++;
    if (m->next < m->base) m->next = m->base;
}

static void finish_place(model *m, int i) {
    m->finished[i] = true;
    m->started[i] = m->running[i] = false;
    m->deaths[i] = 0;
}

static int64_t distance(const model *m, int i) {
    return m->offset[i] - m->offset[m->base];
}

static mr_status model_begin(model *m, int i) {
    if (i < m->next) return MR_EINVAL;
    if (!m->finished[i] && m->pending > 0 && distance(m, i) >= (int64_t)m->window) return MR_ELIMIT;
    const bool done = m->finished[i];
    for (int k = m->next; k < i; k++) finish_place(m, k);
    m->next = i + 1;
    m->begun[i] = !done;
    m->pending += !done;
    settle(m);
    return done ? MR_EINVAL : MR_OK;
}

static unsigned n_far(const model *m, bool marks) {
    unsigned n = 0;
    for (int i = m->base; i < SPAN; i++)
        n += (marks ? m->started[i] : m->begun[i] || m->finished[i]) && !m->hole[i] &&
             distance(m, i) >= (int64_t)MR_OFFSETS_MAX_WINDOW;
    return n;
}

/* The record at m->next, or a later one: then those between turn out to be holes. */
static void do_begin(mr_offsets *o, model *m) {
    int i = m->next - (rnd(20) == 0);
    while (i >= 0 && i < SPAN - 1 && (m->hole[i] || rnd(100) == 0)) i++;
    if (i < 0 || i >= SPAN - 1 || m->hole[i]) return;
    const mr_status st = model_begin(m, i);
    CHECK_I64(mr_offsets_begin(o, m->offset[i]), st);
    if (st != MR_ELIMIT || rnd(2) || n_far(m, false) >= MR_OFFSETS_MAX_FAR) return;
    const size_t window = m->window;
    m->window = SIZE_MAX / 2;
    model_begin(m, i);
    m->window = window;
    mr_offsets_begin_far(o, m->offset[i]);
}

static int random_pending(const model *m) {
    const int back = (int)(rnd(4) ? rnd(4) : rnd(40)); /* mostly new ones; some stay long */
    return m->next - 1 > back ? m->next - 1 - back : 0;
}

static bool is_pending(const model *m, int i) {
    return m->begun[i] && !m->finished[i];
}

static void do_finish(mr_offsets *o, model *m) {
    const int i = random_pending(m);
    if (is_pending(m, i)) {
        finish_place(m, i);
        m->noted[i] = true;
        m->pending--;
        settle(m);
    }
    CHECK_I64(mr_offsets_finish(o, m->offset[i]), mr_offsets_commit(o));
}

static void do_mark(mr_offsets *o, model *m) {
    const int i = random_pending(m);
    mr_status st = MR_OK;
    if (!is_pending(m, i))
        st = MR_EINVAL;
    else if (!m->started[i] && distance(m, i) >= (int64_t)MR_OFFSETS_MAX_WINDOW &&
             n_far(m, true) == MR_OFFSETS_MAX_FAR)
        st = MR_ELIMIT;
    else
        m->started[i] = m->running[i] = true;
    CHECK_I64(mr_offsets_mark(o, m->offset[i]), st);
}

static void do_unmark(mr_offsets *o, model *m) {
    const int i = random_pending(m);
    const bool began = rnd(2);
    m->running[i] = false;
    m->started[i] = m->started[i] && (began || m->deaths[i] > 0);
    mr_offsets_unmark(o, m->offset[i], began);
}

/* What was skipped is in the bitmap when something behind it is in the ring. Behind the ring only
 * what was finished is kept: the next owner will find out itself that the rest are holes. */
static void forget_skipped(model *m) {
    bool behind = false;
    for (int i = SPAN - 1; i >= m->base; i--) {
        const bool in_ring = distance(m, i) < (int64_t)MR_OFFSETS_MAX_WINDOW;
        if (m->finished[i] && !m->noted[i]) m->noted[i] = m->finished[i] = behind;
        behind = behind || (in_ring && (m->begun[i] || m->noted[i]));
    }
}

/* The process dies with its commit as the last one; another takes over. */
static void do_restart(mr_offsets *o, model *m) {
    const int64_t committed = mr_offsets_commit(o);
    if (committed < 0) return;
    const size_t len = mr_offsets_encode(o, text, sizeof text);
    CHECK_OK(mr_offsets_restore(o, committed, text, len, &err), err);
    forget_skipped(m);
    m->next = m->base;
    m->pending = 0;
    for (int i = 0; i < SPAN; i++) {
        m->begun[i] = false;
        if (m->running[i] && m->deaths[i] < MR_OFFSETS_MAX_DEATHS) m->deaths[i]++;
        m->running[i] = false;
        CHECK_I64(mr_offsets_deaths(o, m->offset[i]), m->deaths[i]);
        CHECK_I64(mr_offsets_was_started(o, m->offset[i]), m->started[i]);
    }
}

static void one_history(mr_offsets *o, size_t window, model *m) {
    const uint32_t steps = rnd(50) ? 10 + rnd(40) : 300;
    make_log(m);
    m->window = window;
    CHECK_I64(mr_offsets_restore(o, m->offset[0], "", 0, &err), MR_OK);
    for (uint32_t step = 0; step < steps; step++) {
        const uint32_t what = rnd(32);
        if (what < 15)
            do_begin(o, m);
        else if (what < 24)
            do_finish(o, m);
        else if (what < 29)
            do_mark(o, m);
        else if (what < 31)
            do_unmark(o, m);
        else
            do_restart(o, m);
        const int i = (int)rnd(SPAN);
        CHECK_I64(mr_offsets_commit(o), m->offset[m->base]);
        CHECK_I64(mr_offsets_pending(o), m->pending);
        CHECK_I64(mr_offsets_deaths(o, m->offset[i]), m->deaths[i]);
        CHECK_I64(mr_offsets_was_started(o, m->offset[i]), m->started[i]);
    }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HISTORIES 100000u /* sanitizers make it slow; a plain build runs them all */
#else
#define HISTORIES 1000000u
#endif

TEST(random_histories_agree_with_the_model) {
    static model m;
    const size_t windows[3] = {64, 104, MR_OFFSETS_MAX_WINDOW};
    mr_offsets *o[3];
    for (size_t i = 0; i < 3; i++) o[i] = open_window(windows[i]);
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        rng_state = seed;
        one_history(o[seed % 3], windows[seed % 3], &m);
    }
    for (size_t i = 0; i < 3; i++) mr_offsets_close(o[i]);
}

MR_TEST_MAIN
