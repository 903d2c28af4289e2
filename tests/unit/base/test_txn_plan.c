/* Goal: whatever a transactional producer answers, a batch is neither lost nor doubled. Method:
 * each pair of call and outcome against an answer that is written down here once more; the
 * impossible ones must abort; then random outcomes, with the rules that may never break checked at
 * each step. */
#include "base/txn_plan.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../test.h"
#include "millrace/error.h"

#define N_CALLS    (MR_TXN_FATAL + 1)
#define N_OUTCOMES (MR_TXN_MISCONFIGURED + 1)

/* What follows, as one letter: the call by its first letter (R rebuild, I init, r read, i idle, B
 * begin, P produce, O offsets, C commit, A abort, F fatal), "." for a bug. */
static const char *const follows[N_CALLS] = {
    /*                   ok present absent retriable abortable stale refused unknown dead fenced
                         misconfigured */
    [MR_TXN_REBUILD] = "I..R....RFF", [MR_TXN_INIT] = "i..IR...RFF",
    [MR_TXN_READ] = ".iir......F",    [MR_TXN_IDLE] = "...........",
    [MR_TXN_BEGIN] = "P..BR...RFF",   [MR_TXN_PRODUCE] = "O..AAAA.RFF",
    [MR_TXN_OFFSETS] = "C..OAA..RFF", [MR_TXN_COMMIT] = "i..CRRRRRFF",
    [MR_TXN_ABORT] = "i..AR..RRFF",   [MR_TXN_FATAL] = "...........",
};
static const char letters[] = "RIriBPOCAF";

/* A plan as it stands when this call is due; a batch is in hand where there can be one. */
static mr_txn_plan due(mr_txn_call call) {
    mr_txn_plan p;
    mr_txn_plan_init(&p);
    p.call = call;
    p.has_batch = call == MR_TXN_READ || (call >= MR_TXN_BEGIN && call <= MR_TXN_COMMIT);
    p.in_doubt = call == MR_TXN_READ;
    return p;
}

static bool aborts(mr_txn_call call, mr_txn_outcome outcome) {
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0) {
        mr_txn_plan p = due(call);
        signal(SIGABRT, SIG_DFL);
        (void)!freopen("/dev/null", "w", stderr);
        mr_txn_plan_next(&p, outcome);
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

TEST(every_pair_has_its_answer) {
    for (int c = 0; c < N_CALLS; c++) {
        for (int o = 0; o < N_OUTCOMES; o++) {
            mr_txn_plan p = due((mr_txn_call)c);
            if (follows[c][o] == '.') {
                if (!aborts((mr_txn_call)c, (mr_txn_outcome)o)) fail_msg("call %d, %d", c, o);
                continue;
            }
            mr_txn_plan_next(&p, (mr_txn_outcome)o);
            if (letters[p.call] != follows[c][o])
                fail_msg("%s: %s is followed by %s, not %c", mr_txn_call_name((mr_txn_call)c),
                         mr_txn_outcome_name((mr_txn_outcome)o), mr_txn_call_name(p.call),
                         follows[c][o]);
        }
    }
}

TEST(an_undisturbed_batch) {
    mr_txn_plan p;
    mr_txn_plan_init(&p);
    CHECK_I64(p.call, MR_TXN_REBUILD);
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_OK), MR_TXN_OPEN);
    CHECK_I64(p.call, MR_TXN_INIT);
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_OK), MR_TXN_OPEN);
    CHECK_I64(p.call, MR_TXN_IDLE);
    mr_txn_plan_batch(&p);
    for (mr_txn_call c = MR_TXN_BEGIN; c < MR_TXN_COMMIT; c++) {
        CHECK_I64(p.call, c);
        CHECK_I64(p.pause_ms, 0);
        CHECK_I64(mr_txn_plan_next(&p, MR_TXN_OK), MR_TXN_OPEN);
    }
    CHECK(p.has_batch);
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_OK), MR_TXN_COMMITTED);
    CHECK_I64(p.call, MR_TXN_IDLE);
    CHECK(!p.has_batch && !p.in_doubt);
}

static mr_txn_plan at_commit(void) {
    mr_txn_plan p;
    mr_txn_plan_init(&p);
    mr_txn_plan_next(&p, MR_TXN_OK);
    mr_txn_plan_next(&p, MR_TXN_OK);
    mr_txn_plan_batch(&p);
    while (p.call != MR_TXN_COMMIT) mr_txn_plan_next(&p, MR_TXN_OK);
    return p;
}

/* An unknown end is looked up behind a new producer, however often that one fails to come up. */
static void look_up(mr_txn_outcome found, mr_txn_verdict verdict) {
    mr_txn_plan p = at_commit();
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_UNKNOWN), MR_TXN_OPEN);
    for (int i = 0; i < 3; i++) {
        CHECK_I64(p.call, MR_TXN_REBUILD);
        CHECK_I64(mr_txn_plan_next(&p, MR_TXN_OK), MR_TXN_OPEN);
        CHECK_I64(mr_txn_plan_next(&p, MR_TXN_DEAD), MR_TXN_OPEN);
        CHECK(p.has_batch && p.in_doubt);
    }
    mr_txn_plan_next(&p, MR_TXN_OK);
    mr_txn_plan_next(&p, MR_TXN_OK);
    CHECK_I64(p.call, MR_TXN_READ);
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_RETRIABLE), MR_TXN_OPEN);
    CHECK_I64(p.call, MR_TXN_READ);
    CHECK_I64(mr_txn_plan_next(&p, found), verdict);
    CHECK_I64(p.call, MR_TXN_IDLE);
    CHECK(!p.has_batch && !p.in_doubt);
}

TEST(an_unknown_end_is_looked_up) {
    look_up(MR_TXN_PRESENT, MR_TXN_COMMITTED);
    look_up(MR_TXN_ABSENT, MR_TXN_ABORTED);
}

TEST(a_failure_before_commit_decides_at_once) {
    mr_txn_plan p = at_commit();
    p = due(MR_TXN_OFFSETS);
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_DEAD), MR_TXN_ABORTED);
    CHECK_I64(p.call, MR_TXN_REBUILD);
    mr_txn_plan_next(&p, MR_TXN_OK);
    mr_txn_plan_next(&p, MR_TXN_OK);
    CHECK_I64(p.call, MR_TXN_IDLE); /* nothing to look up */

    p = due(MR_TXN_PRODUCE);
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_REFUSED), MR_TXN_ABORTED);
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_DEAD), MR_TXN_OPEN); /* once is enough */
    CHECK_I64(p.call, MR_TXN_REBUILD);
}

TEST(retries_are_bounded_where_time_ends_the_transaction) {
    mr_txn_plan p = at_commit();
    for (unsigned i = 0; i < MR_TXN_MAX_RETRIES; i++) {
        CHECK_I64(mr_txn_plan_next(&p, MR_TXN_RETRIABLE), MR_TXN_OPEN);
        CHECK_I64(p.call, MR_TXN_COMMIT);
        CHECK_I64(p.retries, i + 1);
    }
    CHECK_I64(mr_txn_plan_next(&p, MR_TXN_RETRIABLE), MR_TXN_OPEN);
    CHECK_I64(p.call, MR_TXN_REBUILD);
    CHECK(p.in_doubt);
    mr_txn_plan_next(&p, MR_TXN_OK);
    uint32_t most = 0;
    for (int i = 0; i < 1000; i++) { /* brokers are away: no end, but no hurry */
        mr_txn_plan_next(&p, MR_TXN_RETRIABLE);
        CHECK_I64(p.call, MR_TXN_INIT);
        CHECK(p.pause_ms >= most);
        most = p.pause_ms;
    }
    CHECK_I64(most, 5000);
}

TEST(failures_in_a_row_slow_down) {
    mr_txn_plan p = at_commit();
    mr_txn_plan_next(&p, MR_TXN_OK);
    uint32_t before = 0;
    for (int i = 0; i < 6; i++) {
        mr_txn_plan_batch(&p);
        CHECK(i == 0 ? p.pause_ms == 0 : p.pause_ms > before);
        before = p.pause_ms;
        mr_txn_plan_next(&p, MR_TXN_OK);
        CHECK_I64(mr_txn_plan_next(&p, MR_TXN_ABORTABLE), MR_TXN_ABORTED);
        CHECK_I64(mr_txn_plan_next(&p, MR_TXN_OK), MR_TXN_OPEN);
    }
    mr_txn_plan_batch(&p);
    while (p.call != MR_TXN_IDLE) mr_txn_plan_next(&p, MR_TXN_OK);
    mr_txn_plan_batch(&p);
    CHECK_I64(p.pause_ms, 0);
}

/* ---- random outcomes ---- */

static uint64_t rng_state;

static uint32_t rnd(uint32_t n) { /* splitmix64 */
    uint64_t z = (rng_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

static mr_txn_outcome possible_outcome(mr_txn_call c) {
    for (;;) {
        const uint32_t o = rnd(4) ? MR_TXN_OK : rnd(N_OUTCOMES);
        const bool ends = o == MR_TXN_FENCED || o == MR_TXN_MISCONFIGURED;
        if (follows[c][o] != '.' && (!ends || rnd(50) == 0)) return (mr_txn_outcome)o;
        if (c == MR_TXN_READ) return rnd(2) ? MR_TXN_PRESENT : MR_TXN_ABSENT;
    }
}

/* What the rules are checked with: facts of the batch in hand, kept apart from the plan. */
typedef struct facts {
    bool open, commit_called, rebuilt, inited;
} facts;

static void check_call(const mr_txn_plan *p, const facts *f) {
    switch (p->call) {
    case MR_TXN_PRODUCE:
    case MR_TXN_OFFSETS:
    case MR_TXN_ABORT:
        CHECK(!f->commit_called); /* not once its end may have come */
        break;
    case MR_TXN_READ:
        CHECK(f->open && f->commit_called && f->rebuilt && f->inited);
        break;
    case MR_TXN_IDLE:
        CHECK(!f->open);
        break;
    default:
        break;
    }
    CHECK_I64(p->has_batch, f->open);
}

static void check_verdict(mr_txn_call call, mr_txn_outcome o, mr_txn_verdict v, facts *f) {
    if (v == MR_TXN_OPEN) return;
    CHECK(f->open); /* one verdict */
    if (v == MR_TXN_COMMITTED)
        CHECK((call == MR_TXN_COMMIT && o == MR_TXN_OK) ||
              (call == MR_TXN_READ && o == MR_TXN_PRESENT));
    else
        CHECK(!f->commit_called || (call == MR_TXN_READ && o == MR_TXN_ABSENT));
    *f = (facts){.open = false};
}

static void walk(void) {
    mr_txn_plan p;
    facts f = {.open = false};
    mr_txn_plan_init(&p);
    for (int step = 0; step < 300 && p.call != MR_TXN_FATAL; step++) {
        check_call(&p, &f);
        if (p.call == MR_TXN_IDLE) {
            mr_txn_plan_batch(&p);
            f = (facts){.open = true};
            continue;
        }
        const mr_txn_call call = p.call;
        const mr_txn_outcome o = possible_outcome(call);
        if (call == MR_TXN_COMMIT) f.commit_called = true;
        if (call == MR_TXN_REBUILD) f.rebuilt = o == MR_TXN_OK, f.inited = false;
        if (call == MR_TXN_INIT) f.inited = o == MR_TXN_OK;
        check_verdict(call, o, mr_txn_plan_next(&p, o), &f);
        CHECK(p.pause_ms <= 5000);
    }
}

TEST(random_outcomes_break_no_rule) {
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        rng_state = seed;
        walk();
    }
}

MR_TEST_MAIN
