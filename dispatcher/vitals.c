/* vitals.c - see vitals.h. */
#include "dispatcher/vitals.h"

#include <stdlib.h>
#include <string.h>

#include "dispatcher/flowrate.h"

typedef struct tenant_rate {
    char name[MR_JOB_MAX_NAME + 1]; /* "": a free place */
    uint64_t seen_ms;
    mr_flowrate tokens;
} tenant_rate;

struct mr_vitals {
    const mr_window *window;
    mr_policy *policy;
    uint64_t queued[MR_PRIORITY_N];
    mr_flowrate left[MR_PRIORITY_N];
    tenant_rate rates[MR_VITALS_TENANTS];
    struct mr_beat_model models[MR_BEAT_MAX_MODELS];
    struct mr_beat_tenant tenants[MR_BEAT_MAX_TENANTS];
};

mr_status mr_vitals_open(mr_vitals **out, const mr_window *window, mr_policy *policy, mr_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return mr_fail(err, MR_ENOMEM, "vitals: out of memory");
    (*out)->window = window;
    (*out)->policy = policy;
    return MR_OK;
}

void mr_vitals_close(mr_vitals *v) {
    free(v);
}

uint64_t mr_vitals_entered(mr_vitals *v, mr_priority lane) {
    return ++v->queued[lane];
}

mr_beat_lane mr_vitals_lane(const mr_vitals *v, mr_priority lane, uint64_t now_ms) {
    const uint64_t waiting = mr_window_len(v->window, lane);
    mr_beat_lane l = {
        .waiting = waiting, .queued = v->queued[lane], .left = v->queued[lane] - waiting};
    l.per_s = (float)mr_flowrate_per_s(&v->left[lane], l.left, now_ms);
    return l;
}

/* The place of a tenant; with all taken, of the one that was not seen for longest. */
static tenant_rate *need_rate(mr_vitals *v, const char *name) {
    tenant_rate *oldest = &v->rates[0];
    for (size_t i = 0; i < MR_VITALS_TENANTS; i++) {
        if (strcmp(v->rates[i].name, name) == 0) return &v->rates[i];
        if (v->rates[i].seen_ms < oldest->seen_ms) oldest = &v->rates[i];
    }
    *oldest = (tenant_rate){.seen_ms = 0};
    strncat(oldest->name, name, MR_JOB_MAX_NAME);
    return oldest;
}

static size_t fill_tenants(mr_vitals *v, uint64_t now_ms) {
    mr_policy_row rows[MR_BEAT_MAX_TENANTS];
    const size_t n = mr_policy_top(v->policy, rows, MR_BEAT_MAX_TENANTS, now_ms);
    for (size_t i = 0; i < n; i++) {
        tenant_rate *t = need_rate(v, rows[i].tenant);
        t->seen_ms = now_ms;
        mr_flowrate_note(&t->tokens, rows[i].tokens, now_ms);
        v->tenants[i] = (struct mr_beat_tenant){
            .name = t->name,
            .waiting = rows[i].waiting,
            .weight = rows[i].weight,
            .tokens_per_s = (float)mr_flowrate_per_s(&t->tokens, rows[i].tokens, now_ms),
            .limited = rows[i].limited};
    }
    return n;
}

static size_t fill_models(mr_vitals *v) {
    size_t n = 0;
    const char *name;
    for (size_t i = 0; n < MR_BEAT_MAX_MODELS && (name = mr_window_model(v->window, i)); i++)
        if (name[0]) /* without one: jobs that wait for a worker to tell which there is */
            v->models[n++] = (struct mr_beat_model){name, mr_window_model_len(v->window, i)};
    return n;
}

void mr_vitals_fill(mr_vitals *v, mr_beat *b, uint64_t now_ms) {
    for (int i = 0; i < MR_PRIORITY_N; i++) {
        b->lanes[i] = mr_vitals_lane(v, (mr_priority)i, now_ms);
        mr_flowrate_note(&v->left[i], b->lanes[i].left, now_ms);
    }
    b->models = v->models;
    b->n_models = fill_models(v);
    b->tenants = v->tenants;
    b->n_tenants = fill_tenants(v, now_ms);
}
