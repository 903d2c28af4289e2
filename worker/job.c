/* job.c - slots in one array, free ones in a stack.
 *
 * Looking up by id walks the array: it happens once per record and per cancel, and a few thousand
 * slots are compared in the time of one token. The stage times of a result come from mr_job_move
 * and the two token times, and from nowhere else.
 *
 * Limit: n_slots jobs, MR_JOB_ARENA_BYTES each. Thread: loop. */
#include "worker/job.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_FIRST_BYTES 256 /* first piece of a job's text; doubled from there */
#define TOKENS_FIRST     64
#define LOGPROBS_FIRST   64

struct mr_jobs {
    uint32_t n, n_free;
    uint32_t *free; /* stack of slots */
    mr_job *jobs;
};

#define TO(s) (1u << MR_JOB_##s)
static const unsigned may_move[MR_JOB_N] = {
    [MR_JOB_FREE] = TO(DECODED),
    [MR_JOB_DECODED] = TO(ADMITTED) | TO(FLUSHING), /* refused: only the answer is sent */
    [MR_JOB_ADMITTED] = TO(RUNNING) | TO(FLUSHING), /* ended while it waited */
    [MR_JOB_RUNNING] = TO(FLUSHING),                /* last token made, stopped, or failed */
    [MR_JOB_FLUSHING] = TO(DONE),                   /* Kafka has it; or nobody waits for it */
    [MR_JOB_DONE] = TO(FREE),
};

static const char *const state_names[MR_JOB_N] = {"free",    "decoded",  "admitted",
                                                  "running", "flushing", "done"};

mr_status mr_jobs_open(mr_jobs **out, uint32_t n_slots, mr_err *err) {
    mr_jobs *t = calloc(1, sizeof *t);

    *out = NULL;
    if (!t) return mr_fail(err, MR_ENOMEM, "job slots: out of memory");
    t->jobs = calloc(n_slots, sizeof *t->jobs);
    t->free = calloc(n_slots, sizeof *t->free);
    if (!t->jobs || !t->free) {
        mr_jobs_close(t);
        return mr_fail(err, MR_ENOMEM, "job slots: no memory for %u slots", (unsigned)n_slots);
    }
    t->n = t->n_free = n_slots;
    for (uint32_t i = 0; i < n_slots; i++) {
        t->free[i] = n_slots - 1 - i; /* slot 0 is handed out first */
        t->jobs[i].slot = i;
        mr_arena_init(&t->jobs[i].arena, MR_JOB_ARENA_BYTES);
    }
    *out = t;
    return MR_OK;
}

void mr_jobs_close(mr_jobs *t) {
    if (!t) return;
    for (uint32_t i = 0; i < t->n; i++) mr_arena_drop(&t->jobs[i].arena);
    free(t->jobs);
    free(t->free);
    free(t);
}

uint32_t mr_jobs_n(const mr_jobs *t) {
    return t->n;
}

uint32_t mr_jobs_n_free(const mr_jobs *t) {
    return t->n_free;
}

mr_job *mr_jobs_at(mr_jobs *t, uint32_t slot) {
    MR_CHECK(slot < t->n);
    return &t->jobs[slot];
}

static void job_clear(mr_job *j) {
    const uint32_t slot = j->slot;

    mr_arena_drop(&j->arena);
    memset(j, 0, sizeof *j);
    j->slot = slot;
    j->finish_reason = "";
    mr_arena_init(&j->arena, MR_JOB_ARENA_BYTES);
}

mr_job *mr_jobs_take(mr_jobs *t) {
    mr_job *j;

    if (t->n_free == 0) return NULL;
    j = &t->jobs[t->free[--t->n_free]];
    job_clear(j);
    return j;
}

void mr_jobs_put(mr_jobs *t, mr_job *j, uint64_t now_ms) {
    mr_job_move(j, MR_JOB_FREE, now_ms);
    job_clear(j);
    t->free[t->n_free++] = j->slot;
}

mr_job *mr_jobs_find(mr_jobs *t, const char *job_id) {
    for (uint32_t i = 0; i < t->n; i++) {
        mr_job *j = &t->jobs[i];
        if (j->state == MR_JOB_FREE || j->orphan) continue;
        if (strcmp(j->spec.job_id, job_id) == 0) return j;
    }
    return NULL;
}

void mr_job_move(mr_job *j, mr_job_state to, uint64_t now_ms) {
    MR_CHECK(may_move[j->state] & (1u << to));
    j->entered_ms[to] = now_ms;
    j->state = to;
}

const char *mr_job_state_name(mr_job_state s) {
    return s < MR_JOB_N ? state_names[s] : "?";
}

mr_status mr_job_add_text(mr_job *j, const char *bytes, size_t n) {
    if (n > j->text_cap - j->text_len) {
        size_t cap = j->text_cap ? j->text_cap : TEXT_FIRST_BYTES;
        char *text;
        while (cap - j->text_len < n) cap *= 2;
        text = mr_arena_alloc(&j->arena, cap);
        if (!text) return MR_ELIMIT;
        if (j->text_len) memcpy(text, j->text, j->text_len);
        j->text = text;
        j->text_cap = cap;
    }
    if (n) memcpy(j->text + j->text_len, bytes, n);
    j->text_len += n;
    return MR_OK;
}

mr_status mr_job_add_token(mr_job *j, int32_t token) {
    if (j->n_generated == j->cap_made) {
        const uint32_t cap = j->cap_made ? 2 * j->cap_made : TOKENS_FIRST;
        mr_job_token *all = mr_arena_calloc(&j->arena, cap, sizeof *all);
        if (!all) return MR_ELIMIT;
        if (j->n_generated) memcpy(all, j->made, j->n_generated * sizeof *all);
        j->made = all;
        j->cap_made = cap;
    }
    j->made[j->n_generated++] = (mr_job_token){token, (uint32_t)j->text_len};
    return MR_OK;
}

size_t mr_job_text_begin(const mr_job *j, uint32_t index) {
    return index ? j->made[index - 1].text_end : 0;
}

mr_token_logprob *mr_job_add_logprob(mr_job *j) {
    if (j->n_logprobs == j->cap_logprobs) {
        const size_t cap = j->cap_logprobs ? 2 * j->cap_logprobs : LOGPROBS_FIRST;
        mr_token_logprob *all = mr_arena_calloc(&j->arena, cap, sizeof *all);
        if (!all) return NULL;
        if (j->n_logprobs) memcpy(all, j->logprobs, j->n_logprobs * sizeof *all);
        j->logprobs = all;
        j->cap_logprobs = cap;
    }
    return &j->logprobs[j->n_logprobs++];
}

void mr_job_end(mr_job *j, mr_job_status status, const char *finish_reason, const char *code,
                const char *field, const char *message) {
    j->status = status;
    j->finish_reason = finish_reason;
    j->error = (mr_job_error){.code = code, .field = field ? field : "", .message = ""};
    if (code && message) {
        const size_t n = strnlen(message, MR_JOB_MAX_ERROR - 1);
        const char *copy = mr_arena_copy(&j->arena, message, n);
        if (copy) j->error.message = copy; /* a full arena costs the sentence, not the code */
    }
}

static uint32_t span_ms(uint64_t from, uint64_t to) {
    if (to <= from) return 0;
    return to - from > UINT32_MAX ? UINT32_MAX : (uint32_t)(to - from);
}

mr_job_times mr_job_times_of(const mr_job *j) {
    const uint64_t *at = j->entered_ms;
    const uint64_t received = at[MR_JOB_DECODED]; /* age_ms lies before it */
    const uint64_t end = at[MR_JOB_FLUSHING];
    const uint64_t ran = at[MR_JOB_RUNNING] ? at[MR_JOB_RUNNING] : end;
    const uint64_t first = j->first_token_ms ? j->first_token_ms : end;
    const uint64_t age = j->age_ms > UINT32_MAX / 2 ? UINT32_MAX / 2 : j->age_ms;

    return (mr_job_times){
        .queue_ms = (uint32_t)age + span_ms(received, ran),
        .prefill_ms = span_ms(ran, first),
        .decode_ms = span_ms(first, end),
        .first_token_ms = j->first_token_ms ? (uint32_t)age + span_ms(received, first) : 0,
        .total_ms = (uint32_t)age + span_ms(received, end),
    };
}

uint64_t mr_job_seed(const char *text) {
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then a finalizer: ids differ in few bytes */

    for (const char *p = text; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}
