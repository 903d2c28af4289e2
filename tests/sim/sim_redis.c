/* sim_redis.c - see sim_redis.h. The conditions are those of worker/stream_redis.c's scripts. */
#include "sim_redis.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_ENTRIES 256
#define ID_BYTES    32

typedef enum job_state { STATE_NONE, STATE_RUNNING, STATE_OVER } job_state;

typedef struct stream {
    job_state state;
    bool has_claim;
    uint64_t claim;
    uint32_t attempt;
    sim_entry_id ids[MAX_ENTRIES];
    mr_takeover_entry entries[MAX_ENTRIES];
    size_t n;
} stream;

struct sim_redis {
    sim *s;
    uint64_t away_until;
    stream streams[SIM_MAX_JOBS];
    sim_reader readers[SIM_MAX_JOBS];
};

sim_redis *sim_redis_open(sim *s) {
    sim_redis *r = sim_alloc(s, sizeof *r);
    r->s = s;
    return r;
}

void sim_redis_away(sim_redis *r, uint64_t ms) {
    r->away_until = r->s->now + ms;
    sim_note(r->s, "redis", 0, "away", (int64_t)ms, 0);
}

void sim_redis_wipe(sim_redis *r) {
    memset(r->streams, 0, sizeof r->streams);
    sim_note(r->s, "redis", 0, "wiped", 0, 0);
}

bool sim_redis_up(const sim_redis *r) {
    return r->s->now >= r->away_until;
}

const sim_reader *sim_redis_reader(const sim_redis *r, int job) {
    return &r->readers[job];
}

const char *sim_job_id(int job) {
    static char ids[SIM_MAX_JOBS][MR_JOB_ID_LEN + 1];
    if (!ids[job][0]) snprintf(ids[job], sizeof ids[job], "00000000-0000-7000-8000-%012d", job);
    return ids[job];
}

uint64_t sim_text_add(uint64_t text, uint64_t piece) {
    return (text ^ piece) * 0x100000001b3u + 1;
}

/* ---- the reader ---- */

static void read_token(sim_redis *r, int job, uint64_t index, uint64_t text) {
    sim_reader *rd = &r->readers[job];
    if (rd->done) return; /* it listens no more */
    if (index != rd->next)
        sim_fail(r->s, "job %d: token %" PRIu64 " shown where %" PRIu64 " is next", job, index,
                 rd->next);
    rd->next = index + 1;
    rd->text = sim_text_add(rd->text, text);
}

static void read_restart(sim_redis *r, int job) {
    sim_reader *rd = &r->readers[job];
    if (rd->done) return;
    *rd = (sim_reader){.restarts = rd->restarts + 1};
    sim_note(r->s, "reader", job, "restart", rd->restarts, 0);
}

/* ---- scripts ---- */

static bool is_same(sim_entry_id a, sim_entry_id b) {
    return a.attempt == b.attempt && a.index == b.index;
}

static void add(sim_redis *r, stream *t, sim_entry_id id, const char *frame, size_t len) {
    char text[ID_BYTES];
    MR_CHECK(t->n < MAX_ENTRIES);
    snprintf(text, sizeof text, "%" PRIu32 "-%" PRIu64, id.attempt, id.index);
    t->ids[t->n] = id;
    t->entries[t->n++] = (mr_takeover_entry){sim_copy(r->s, text), frame, len};
}

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static void claim(sim_redis *r, const sim_claim *c, sim_claimed *out) {
    stream *t = &r->streams[c->job];
    const uint32_t known = t->has_claim ? t->attempt : 0;
    uint32_t attempt = c->lowest;

    *out = (sim_claimed){.end = SIM_CLAIM_OVER};
    if (t->state == STATE_OVER) return;
    out->end = SIM_CLAIM_FENCED;
    if (c->held > 0 && t->has_claim && t->claim != c->name && known >= c->held) return;
    if (t->has_claim && t->claim == c->name && known >= attempt)
        attempt = known;
    else if (t->has_claim)
        attempt = larger(attempt, known + 1);
    if (t->n > 0)
        attempt = larger(attempt, t->ids[t->n - 1].attempt + 1);
    else if (!t->has_claim && c->held == 0 && c->ran_before)
        attempt = larger(attempt, 1000 + (uint32_t)r->s->now); /* above all that was counted */
    t->state = STATE_RUNNING;
    t->has_claim = true;
    t->claim = c->name;
    t->attempt = attempt;
    *out = (sim_claimed){.end = SIM_CLAIM_HELD, .attempt = attempt, .is_empty = t->n == 0};
    if (t->n == 0) return;
    mr_takeover_entry *copy = sim_alloc(r->s, t->n * sizeof *copy);
    memcpy(copy, t->entries, t->n * sizeof *copy);
    out->last = t->ids[t->n - 1];
    out->entries = copy;
    out->n = t->n;
}

static sim_entry_id id_of(const sim_frames *f, size_t i) {
    const bool restart = f->frames[0].restart;
    if (i == 0 && restart) return (sim_entry_id){f->attempt - 1, 0};
    return (sim_entry_id){f->attempt, f->first_index + i - restart};
}

/* How many of the frames are there already; f->n + 1: the stream is not as it was left. */
static size_t n_there(const stream *t, const sim_frames *f) {
    if (t->n == 0) return f->was_empty ? 0 : f->n + 1;
    if (!f->was_empty && is_same(t->ids[t->n - 1], f->previous)) return 0;
    for (size_t i = 0; i < f->n; i++)
        if (is_same(t->ids[t->n - 1], id_of(f, i))) return i + 1;
    return f->n + 1;
}

static sim_frames_end add_frames(sim_redis *r, const sim_frames *f) {
    stream *t = &r->streams[f->job];
    if (t->has_claim && t->claim != f->name && t->attempt >= f->attempt) return SIM_FRAMES_FENCED;
    if (!t->has_claim || t->claim != f->name || t->state != STATE_RUNNING) return SIM_FRAMES_LOST;
    const size_t there = n_there(t, f);
    if (there > f->n) return SIM_FRAMES_LOST;
    for (size_t i = there; i < f->n; i++) {
        add(r, t, id_of(f, i), f->frames[i].json, f->frames[i].len);
        if (f->frames[i].restart)
            read_restart(r, f->job);
        else
            read_token(r, f->job, id_of(f, i).index, f->frames[i].text);
    }
    t->attempt = f->attempt;
    return SIM_FRAMES_ADDED;
}

/* ---- calls ---- */

static bool answered(sim_redis *r, bool *arrives) {
    *arrives = sim_redis_up(r) && !sim_chance(r->s, r->s->lost);
    return *arrives && !sim_chance(r->s, r->s->lost);
}

bool sim_redis_claim(sim_redis *r, const sim_claim *c, sim_claimed *out) {
    bool arrives;
    const bool told = answered(r, &arrives);
    if (arrives) {
        claim(r, c, out);
        sim_note(r->s, "redis", c->job, "claim", out->end, out->attempt);
    }
    return told;
}

bool sim_redis_add(sim_redis *r, const sim_frames *f, sim_frames_end *out) {
    bool arrives;
    const bool told = answered(r, &arrives);
    if (arrives) {
        *out = add_frames(r, f);
        sim_note(r->s, "redis", f->job, "frames", *out, (int64_t)f->n);
    }
    return told;
}

bool sim_redis_done(sim_redis *r, int job, uint32_t n_tokens) {
    bool arrives;
    const bool told = answered(r, &arrives);
    if (!arrives || r->streams[job].state == STATE_OVER) return told;
    r->streams[job].state = STATE_OVER;
    r->readers[job].done = true;
    sim_note(r->s, "redis", job, "done", n_tokens, 0);
    return told;
}
