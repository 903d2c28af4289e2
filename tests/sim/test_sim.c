/* Goal: whatever dies, sleeps, is partitioned or loses its memory, at whatever moment: each
 * accepted job has exactly one visible result, no reader sees a gap or a repeat, and a job that
 * kills its worker hurts nobody else.
 *
 * Method: dispatchers and workers made of the modules that decide about delivery (offsets, parts,
 * txn_plan, window, placement, sched, suspects, takeover) run in a simulated world of Kafka, Redis,
 * engine and clock. A seed draws jobs and faults; when the faults are over all jobs must come to
 * their end in a bounded time, and an audit looks at what is visible. Then faults are planted in
 * the committer, and the simulator must find each of them.
 *
 * MR_SIM_SEED=n runs that seed alone, MR_SIM_LOG=1 shows what happens in it, MR_SIM_RUNS=n changes
 * how many seeds are run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "sim_world.h"

#define FAULTS_MS   9000  /* faults come within this time */
#define PATIENCE_MS 90000 /* then all must have ended by now */
#define SETTLE_MS   1500  /* and nothing may happen any more */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNS 3000
#else
#define RUNS 10000
#endif

/* ---- tokens ---- */

int32_t sim_token(int job, uint32_t i) {
    return (int32_t)(((uint32_t)job * 2654435761u + i * 40503u) % SIM_VOCAB);
}

size_t sim_token_text(int32_t token, bool odd, char text[8]) {
    const int n = snprintf(text, 8, "%s%d", odd ? "'" : " ", (int)token % 100);
    return token % 7 == 0 ? 0 : (size_t)n; /* some have no text of their own */
}

uint64_t sim_hash(const char *text, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

/* ---- processes ---- */

static bool is_dispatcher(const sim_process *p) {
    return p->number < SIM_DISPATCHER_N;
}

static bool lives(const sim_process *p) {
    return p->dispatcher || p->worker;
}

static sim_consumer *consumer_of(const sim_process *p) {
    return p->dispatcher ? sim_dispatcher_consumer(p->dispatcher) : sim_worker_consumer(p->worker);
}

static void stop_process(sim_world *w, sim_process *p, const char *why) {
    sim_note(&w->s, "process", p->number, why, 0, 0);
    sim_dispatcher_kill(p->dispatcher);
    sim_worker_kill(p->worker);
    p->dispatcher = NULL;
    p->worker = NULL;
    p->starts_at = p->ends_at ? 0 : w->s.now + 100 + sim_random(&w->s, 1200);
}

static void start_process(sim_world *w, sim_process *p) {
    sim_note(&w->s, "process", p->number, "starts", 0, 0);
    p->paused_until = 0;
    if (is_dispatcher(p))
        p->dispatcher = sim_dispatcher_start(w, p->number);
    else
        p->worker = sim_worker_start(w, p->number);
}

static void run_process(sim_world *w, sim_process *p) {
    if (p->dispatcher) sim_dispatcher_tick(p->dispatcher);
    if (p->worker) sim_worker_tick(p->worker);
    if (p->worker && sim_worker_died(p->worker))
        stop_process(w, p, "is killed by a job");
    else if (sim_consumer_left(consumer_of(p)))
        stop_process(w, p, "has left");
    else if (sim_commit_failed(sim_consumer_commit(consumer_of(p))))
        stop_process(w, p, "is fenced");
    else if (p->ends_at && w->s.now >= p->ends_at)
        stop_process(w, p, "is found and killed");
}

static void on_tick(void *self, uint64_t arg) {
    sim_world *w = self;
    sim_process *p = &w->processes[arg];
    sim_after(&w->s, SIM_TICK_MS, on_tick, w, arg);
    if (lives(p) && w->s.now >= p->paused_until)
        run_process(w, p);
    else if (!lives(p) && p->starts_at && w->s.now >= p->starts_at)
        start_process(w, p);
}

/* ---- jobs ---- */

static void on_submit(void *self, uint64_t arg) {
    sim_world *w = self;
    const sim_record r = {.job = (int)arg};
    sim_kafka_put(w->kafka, SIM_JOBS + (int)sim_random(&w->s, SIM_N_JOBS), &r);
}

static void draw_jobs(sim_world *w) {
    const bool with_poison = sim_random(&w->s, 3) == 0;
    w->n_jobs = 6 + (int)sim_random(&w->s, SIM_MAX_JOBS - 6);
    for (int i = 0; i < w->n_jobs; i++) {
        sim_job *j = &w->jobs[i];
        j->n_tokens = 1 + sim_random(&w->s, SIM_MAX_TOKENS);
        j->streams = sim_random(&w->s, 4) > 0;
        if (sim_random(&w->s, 12) == 0)
            j->kind = SIM_JOB_MALFORMED;
        else if (with_poison && sim_random(&w->s, 12) == 0)
            j->kind = SIM_JOB_POISON;
        j->dies_at = sim_random(&w->s, j->n_tokens);
        sim_after(&w->s, sim_random(&w->s, FAULTS_MS), on_submit, w, (uint64_t)i);
    }
}

/* ---- faults ---- */

typedef enum fault {
    KILL,
    PAUSE,
    REPLACE,
    LEAVE,
    REBALANCE,
    BROKER_AWAY,
    REDIS_AWAY,
    REDIS_WIPE,
    FAULT_N
} fault;

static void pause_process(sim_world *w, sim_process *p) {
    const uint64_t ms = 100 + sim_random(&w->s, 3 * SIM_SESSION_MS);
    p->paused_until = w->s.now + ms;
    sim_note(&w->s, "process", p->number, "pauses", (int64_t)ms, 0);
}

/* It is paused for so long that another one is started in its place, of the same name. When it
 * wakes up there are two for a while. */
static void replace_process(sim_world *w, sim_process *p) {
    sim_process *old = p + SIM_PROCESSES;
    if (lives(old)) return;
    pause_process(w, p);
    *old = *p;
    old->ends_at = old->paused_until + 1000;
    p->dispatcher = NULL;
    p->worker = NULL;
    p->starts_at = w->s.now + sim_random(&w->s, 1200);
}

static void on_fault(void *self, uint64_t arg) {
    sim_world *w = self;
    sim_process *p = &w->processes[sim_random(&w->s, SIM_PROCESSES)];
    switch ((fault)arg) {
    case KILL:
        if (lives(p)) stop_process(w, p, "is killed");
        break;
    case PAUSE:
        if (lives(p)) pause_process(w, p);
        break;
    case REPLACE:
        if (lives(p)) replace_process(w, p);
        break;
    case LEAVE:
        if (lives(p)) sim_consumer_leave(consumer_of(p));
        break;
    case REBALANCE:
        sim_kafka_unsettle(w->kafka, (sim_group)sim_random(&w->s, SIM_N_GROUPS));
        break;
    case BROKER_AWAY:
        sim_kafka_away(w->kafka, 50 + sim_random(&w->s, 4000));
        break;
    case REDIS_AWAY:
        sim_redis_away(w->redis, 50 + sim_random(&w->s, 2000));
        break;
    default:
        sim_redis_wipe(w->redis);
    }
}

static void on_faults_over(void *self, uint64_t arg) {
    sim_world *w = self;
    (void)arg;
    w->s.lost = w->s.late = w->s.slow = 0;
    sim_note(&w->s, "faults", 0, "over", 0, 0);
}

static void draw_faults(sim_world *w) {
    static const uint32_t chances[] = {0, 5, 30, 150};
    const uint32_t n = sim_random(&w->s, 14), kinds = sim_random(&w->s, 1u << FAULT_N);
    w->s.lost = chances[sim_random(&w->s, 4)];
    w->s.late = chances[sim_random(&w->s, 4)];
    w->s.slow = chances[sim_random(&w->s, 4)];
    w->odd_worker = sim_random(&w->s, 6) ? -1 : SIM_DISPATCHER_N;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t f = sim_random(&w->s, FAULT_N);
        if (kinds >> f & 1) sim_after(&w->s, sim_random(&w->s, FAULTS_MS), on_fault, w, f);
    }
    sim_after(&w->s, FAULTS_MS, on_faults_over, w, 0);
}

/* ---- the follower: reads results, tells Redis ---- */

typedef struct follower {
    sim_world *w;
    int64_t position[SIM_N_RESULTS];
    int n_told;
} follower;

static void on_follow(void *self, uint64_t arg) {
    follower *f = self;
    sim_record r;
    sim_after(&f->w->s, SIM_TICK_MS, on_follow, f, arg);
    for (int i = 0; i < SIM_N_RESULTS && sim_kafka_up(f->w->kafka); i++)
        while (sim_kafka_fetch(f->w->kafka, SIM_RESULTS + i, &f->position[i], &r) &&
               sim_redis_done(f->w->redis, r.job, r.n_tokens)) {
            f->position[i]++;
            f->n_told++;
        }
}

/* ---- audit ---- */

typedef struct tally { /* of one job */
    int n_results, n_dead, n_work;
    sim_record result;
} tally;

static void count_records(sim_world *w, int first, int n, tally *t, size_t field) {
    sim_record r;
    for (int tp = first; tp < first + n; tp++)
        for (int64_t at = 0; sim_kafka_fetch(w->kafka, tp, &at, &r); at++) {
            ++*(int *)((char *)&t[r.job] + field);
            if (first == SIM_RESULTS) t[r.job].result = r;
        }
}

static void audit_result(sim_world *w, int i, const tally *t) {
    const sim_job *j = &w->jobs[i];
    const sim_status s = t->result.status;
    const bool malformed = j->kind == SIM_JOB_MALFORMED;
    if (t->n_results != 1) sim_fail(&w->s, "job %d has %d results", i, t->n_results);
    if (t->n_work != !malformed) sim_fail(&w->s, "job %d was released %d times", i, t->n_work);
    if (t->n_dead != (s == SIM_POISONED)) sim_fail(&w->s, "job %d: %d dead letters", i, t->n_dead);
    if (malformed != (s == SIM_REJECTED)) sim_fail(&w->s, "job %d ended with %d", i, (int)s);
    if (j->kind == SIM_JOB_POISON && s != SIM_POISONED) sim_fail(&w->s, "job %d lived", i);
    if (s == SIM_POISONED && j->ran < SIM_MAX_DEATHS)
        sim_fail(&w->s, "job %d is called poison after %u deaths", i, j->ran);
    if (j->killed > SIM_MAX_DEATHS) sim_fail(&w->s, "job %d killed %u processes", i, j->killed);
    if (s == SIM_SUCCEEDED && t->result.n_tokens != j->n_tokens)
        sim_fail(&w->s, "job %d has %u tokens, not %u", i, t->result.n_tokens, j->n_tokens);
}

static void audit_stream(sim_world *w, int i, const tally *t) {
    const sim_reader *rd = sim_redis_reader(w->redis, i);
    if (!w->jobs[i].streams || t->result.status != SIM_SUCCEEDED || t->result.degraded) return;
    if (rd->next != w->jobs[i].n_tokens || rd->text != t->result.text)
        sim_fail(&w->s, "job %d: readers have %" PRIu64 " of %u tokens, or another text", i,
                 rd->next, w->jobs[i].n_tokens);
}

static void audit_offsets(sim_world *w, sim_group g, int first, int n) {
    for (int tp = first; tp < first + n; tp++) {
        sim_offset at = {.tp = tp};
        sim_record r;
        if (!sim_kafka_committed(w->kafka, g, &at, 1)) sim_fail(&w->s, "a transaction is open");
        if (at.offset < 0) at.offset = 0;
        if (sim_kafka_fetch(w->kafka, tp, &at.offset, &r))
            sim_fail(&w->s, "partition %d: offset %" PRId64 " is not committed", tp, at.offset);
    }
}

static void audit(sim_world *w) {
    tally t[SIM_MAX_JOBS] = {{0}};
    count_records(w, SIM_RESULTS, SIM_N_RESULTS, t, offsetof(tally, n_results));
    count_records(w, SIM_DEAD, 1, t, offsetof(tally, n_dead));
    count_records(w, SIM_WORK, SIM_N_WORK, t, offsetof(tally, n_work));
    for (int i = 0; i < w->n_jobs; i++) {
        audit_result(w, i, &t[i]);
        audit_stream(w, i, &t[i]);
    }
    audit_offsets(w, SIM_DISPATCHERS, SIM_JOBS, SIM_N_JOBS);
    audit_offsets(w, SIM_WORKERS, SIM_WORK, SIM_N_WORK);
}

/* ---- a run ---- */

typedef struct outcome {
    uint64_t trace, ended_ms;
    uint32_t seen[SIM_SEEN_N];
    char wrong[256];
} outcome;

static outcome run(uint64_t seed) {
    static sim_world w;
    memset(&w, 0, sizeof w);
    sim_init(&w.s, seed);
    w.kafka = sim_kafka_open(&w.s);
    w.redis = sim_redis_open(&w.s);
    follower f = {.w = &w};
    draw_jobs(&w);
    draw_faults(&w);
    for (uint32_t i = 0; i < MR_COUNT(w.processes); i++) {
        w.processes[i].number = (int)i % SIM_PROCESSES;
        w.processes[i].starts_at = i < SIM_PROCESSES ? 1 + sim_random(&w.s, 1000) : 0;
        sim_after(&w.s, sim_random(&w.s, SIM_TICK_MS), on_tick, &w, i);
    }
    on_follow(&f, 0);

    uint64_t until = PATIENCE_MS;
    while (!w.s.wrong[0] && w.s.now < until && sim_step(&w.s))
        if (f.n_told >= w.n_jobs && until == PATIENCE_MS && w.s.now > FAULTS_MS)
            until = w.s.now + SETTLE_MS;
    if (!w.s.wrong[0]) audit(&w);

    outcome o = {.trace = w.s.trace, .ended_ms = w.s.now};
    memcpy(o.wrong, w.s.wrong, sizeof o.wrong);
    memcpy(o.seen, w.s.seen, sizeof o.seen);
    for (size_t i = 0; i < MR_COUNT(w.processes); i++) {
        sim_dispatcher_kill(w.processes[i].dispatcher);
        sim_worker_kill(w.processes[i].worker);
    }
    sim_deinit(&w.s);
    return o;
}

static const char *const seen_names[SIM_SEEN_N] = {
    [SIM_SEEN_UNKNOWN] = "unknown",   [SIM_SEEN_PRESENT] = "present",
    [SIM_SEEN_ABSENT] = "absent",     [SIM_SEEN_LATE] = "late",
    [SIM_SEEN_STALE] = "stale",       [SIM_SEEN_FENCED] = "fenced",
    [SIM_SEEN_SKIPPED] = "skipped",   [SIM_SEEN_TAKEOVER] = "takeover",
    [SIM_SEEN_RESTART] = "restart",   [SIM_SEEN_STREAM_FENCED] = "stream-fenced",
    [SIM_SEEN_POISONED] = "poisoned",
};

static uint64_t number_from(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

TEST(exactly_one_result_whatever_happens) {
    const uint64_t only = number_from("MR_SIM_SEED", 0);
    const uint64_t first = only ? only : 1;
    const uint64_t n = only ? 1 : number_from("MR_SIM_RUNS", RUNS);
    uint64_t failed = 0, seen[SIM_SEEN_N] = {0}, longest = 0;
    for (uint64_t seed = first; seed < first + n; seed++) {
        const outcome o = run(seed);
        for (int i = 0; i < SIM_SEEN_N; i++) seen[i] += o.seen[i];
        if (o.ended_ms > longest) longest = o.ended_ms;
        if (!o.wrong[0]) continue;
        if (++failed <= 10)
            fprintf(stderr, "%s\n    MR_SIM_SEED=%" PRIu64 " sim_test_sim\n", o.wrong, seed);
    }
    CHECK_I64(failed, 0);
    printf("%" PRIu64 " runs, the longest took %" PRIu64 " ms of their time; met:", n, longest);
    for (int i = 0; i < SIM_SEEN_N; i++) printf(" %s %" PRIu64, seen_names[i], seen[i]);
    printf("\n");
    for (int i = 0; i < SIM_SEEN_N && n >= 1000; i++)
        if (seen[i] == 0) fail_msg("no run met \"%s\"", seen_names[i]);
}

TEST(the_same_seed_is_the_same_run) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const outcome a = run(seed), b = run(seed), other = run(seed + 1000);
        CHECK_I64(a.trace, b.trace);
        CHECK_I64(a.ended_ms, b.ended_ms);
        CHECK(a.trace != other.trace);
    }
}

TEST(planted_bugs_are_found) {
    static const char *const names[SIM_BUG_N] = {
        [SIM_BUG_NO_READ] = "no look after an unknown end",
        [SIM_BUG_NO_GENERATION] = "offsets outside of the generation",
        [SIM_BUG_NO_METADATA] = "no bitmap",
        [SIM_BUG_EARLY_BIT] = "a bit before its record",
        [SIM_BUG_NO_MARK] = "a start before its mark",
        [SIM_BUG_NO_RESTART] = "no restart after frames that may have been seen",
    };
    for (sim_bug bug = SIM_BUG_NONE + 1; bug < SIM_BUG_N; bug++) {
        uint64_t seed = 0;
        outcome o = {.wrong = ""};
        sim_bug_planted = bug;
        while (!o.wrong[0] && seed < RUNS) o = run(++seed);
        sim_bug_planted = SIM_BUG_NONE;
        if (!o.wrong[0]) fail_msg("\"%s\" was not found", names[bug]);
        printf("%s: found by seed %" PRIu64 ": %s\n", names[bug], seed, o.wrong);
    }
}

MR_TEST_MAIN
