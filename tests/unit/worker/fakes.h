/* fakes.h - committer, stream, engine thread and control that only note what they are asked, for
 * tests of the flow: the test decides what they answer, and when.
 *
 * They stand in the place of the real ones when the test is linked. The rows of the partitions are
 * real. `trace` has one word per thing that was asked for, in order. */
#ifndef MR_TESTS_WORKER_FAKES_H
#define MR_TESTS_WORKER_FAKES_H

#include "schemas/codec.h"
#include "tests/test.h"
#include "worker/flow.h"

#define MAX_ASKED 1024
#define N_SLOTS   64

typedef struct asked { /* of the committer */
    bool is_mark, decided, committed;
    mr_origin at;
    mr_commit_done *done;
    void *owner, *arg;
    size_t n, len[2];
    void *value[2];
    char topic[2][64];
} asked;

struct mr_commit {
    mr_parts *parts;
    asked items[MAX_ASKED];
    size_t n;
    mr_status says_mark, says_send; /* what the next ask is answered at once */
    size_t most_bytes;              /* larger records are refused at once */
    bool full;
    int64_t next; /* what was committed when the partition went */
    char metadata[MR_OFFSETS_MAX_METADATA + 1];
};

struct mr_stream {
    struct {
        bool used, ran_before;
        uint64_t n_made;
        uint32_t attempt, restarts;
    } lanes[N_SLOTS];
    bool lingers; /* mr_stream_end says false */
};

struct mr_runner {
    struct {
        bool used, cancelled;
        mr_work work;
    } jobs[N_SLOTS];
    mr_status says; /* to a start */
};

struct mr_control {
    char cancelled[MR_JOB_ID_LEN + 1];
};

static struct mr_commit commit;
static struct mr_stream stream;
static struct mr_runner runner;
static struct mr_control control;
static char trace[8192];

static inline void note(const char *word) {
    const size_t n = strlen(trace);

    snprintf(trace + n, sizeof trace - n, "%s%s", n ? " " : "", word);
}

/* ---- committer ---- */

mr_parts *mr_commit_parts(mr_commit *c) {
    return c->parts;
}

bool mr_commit_full(const mr_commit *c) {
    return c->full;
}

static inline asked *ask(mr_commit *c, mr_origin at, mr_commit_done *done, void *owner, void *arg) {
    asked *a = &c->items[c->n++];

    CHECK(c->n <= MAX_ASKED);
    *a = (asked){.at = at, .done = done, .owner = owner, .arg = arg};
    return a;
}

mr_status mr_commit_mark(mr_commit *c, mr_origin at, mr_commit_done *done, void *owner, void *arg) {
    if (c->says_mark != MR_OK) return c->says_mark;
    if (mr_parts_mark(c->parts, at) != MR_OK) return MR_EINVAL;
    note("mark");
    ask(c, at, done, owner, arg)->is_mark = true;
    return MR_OK;
}

void mr_commit_unmark(mr_commit *c, mr_origin at, bool began) {
    note("unmark");
    mr_parts_unmark(c->parts, at, began);
}

mr_status mr_commit_send(mr_commit *c, mr_origin at, const mr_commit_record *records,
                         size_t n_records, mr_commit_done *done, void *owner, void *arg,
                         mr_err *err) {
    asked *a;

    if (c->says_send != MR_OK) return mr_fail(err, c->says_send, "as the test says");
    if (!mr_parts_holds(c->parts, at)) return mr_fail(err, MR_ECANCELED, "revoked");
    for (size_t i = 0; i < n_records; i++) {
        if (c->most_bytes && records[i].len > c->most_bytes)
            return mr_fail(err, MR_EINVAL, "larger than a record may be");
    }
    note("send");
    a = ask(c, at, done, owner, arg);
    a->n = n_records;
    for (size_t i = 0; i < n_records; i++) {
        a->len[i] = records[i].len;
        a->value[i] = malloc(records[i].len);
        memcpy(a->value[i], records[i].value, records[i].len);
        snprintf(a->topic[i], sizeof a->topic[i], "%s", records[i].topic);
    }
    return MR_OK;
}

static inline void decide_item(asked *a, mr_status status) {
    CHECK(!a->decided);
    a->decided = true;
    a->committed = status == MR_OK;
    if (status == MR_OK && !a->is_mark) mr_parts_finish(commit.parts, a->at);
    a->done(a->owner, a->arg, status, "as the test says", 0);
}

/* Answers all that was asked so far; returns how much that was. */
static inline size_t decide(mr_status status) {
    const size_t n = commit.n;
    size_t n_decided = 0;

    for (size_t i = 0; i < n; i++) {
        if (commit.items[i].decided) continue;
        decide_item(&commit.items[i], status);
        n_decided++;
    }
    return n_decided;
}

mr_status mr_commit_flush(mr_commit *c, int timeout_ms) {
    (void)c, (void)timeout_ms;
    note("flush");
    decide(MR_OK);
    return MR_OK;
}

void mr_commit_revoke(mr_commit *c, const char *topic, int32_t partition) {
    const int part = mr_parts_find(c->parts, topic, partition);

    note("revoke");
    c->next = mr_parts_commit(c->parts, part, c->metadata, sizeof c->metadata);
    mr_parts_revoke(c->parts, part);
    for (size_t i = 0; i < c->n; i++) {
        if (!c->items[i].decided && c->items[i].at.part == part)
            decide_item(&c->items[i], MR_ECANCELED);
    }
}

/* ---- stream ---- */

void mr_stream_begin(mr_stream *s, uint32_t slot, const mr_job_spec *spec, bool ran_before,
                     uint32_t max_tokens) {
    (void)max_tokens;
    CHECK(!s->lanes[slot].used);
    note("claim");
    s->lanes[slot].used = true;
    s->lanes[slot].ran_before = ran_before;
    s->lanes[slot].n_made = 0;
    s->lanes[slot].restarts = 0;
    s->lanes[slot].attempt = spec->attempt;
}

void mr_stream_restart(mr_stream *s, uint32_t slot, const char *why) {
    CHECK(s->lanes[slot].used && why);
    note("restart");
    s->lanes[slot].restarts++;
    s->lanes[slot].attempt++;
}

void mr_stream_advance(mr_stream *s, uint32_t slot, uint64_t n_tokens) {
    CHECK(s->lanes[slot].used && n_tokens >= s->lanes[slot].n_made);
    s->lanes[slot].n_made = n_tokens;
}

uint32_t mr_stream_attempt(const mr_stream *s, uint32_t slot) {
    return s->lanes[slot].attempt;
}

bool mr_stream_end(mr_stream *s, uint32_t slot, bool *degraded) {
    CHECK(s->lanes[slot].used);
    note("end");
    *degraded = false;
    if (!s->lingers) s->lanes[slot].used = false;
    return !s->lingers;
}

void mr_stream_drop(mr_stream *s, uint32_t slot) {
    CHECK(s->lanes[slot].used);
    note("drop");
    s->lanes[slot].used = false;
}

/* ---- engine thread ---- */

mr_status mr_runner_start(mr_runner *r, const mr_work *w, mr_err *err) {
    CHECK(!r->jobs[w->slot].used);
    if (r->says != MR_OK) return mr_fail(err, r->says, "as the test says");
    note("start");
    r->jobs[w->slot].used = true;
    r->jobs[w->slot].cancelled = false;
    r->jobs[w->slot].work = *w;
    return MR_OK;
}

void mr_runner_cancel(mr_runner *r, uint32_t slot) {
    CHECK(r->jobs[slot].used && !r->jobs[slot].cancelled); /* once */
    note("cancel");
    r->jobs[slot].cancelled = true;
}

/* ---- control ---- */

bool mr_control_cancelled(const mr_control *c, const char *job_id) {
    return strcmp(c->cancelled, job_id) == 0;
}

#endif
