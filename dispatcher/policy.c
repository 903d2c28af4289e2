/* policy.c - see policy.h.
 *
 * A bucket is kept as what was taken out and has not flowed back: so other rules change how fast it
 * fills and how much it holds, and nothing that was used is forgotten.
 *
 * An account is used for another tenant when all are taken, it has no waiting job, and its buckets
 * are full again; looked for among the few that were unused for longest. While jobs wait in the
 * shared account, tenants without one stay there, so that each job leaves where it has entered. */
#include "dispatcher/policy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatcher/window.h"

enum { BUCKETS = 1024, LOOKED_AT = 8, BACKLOG_RETRY_MS = 1000, MS_PER_MIN = 60000 };

#define ROUNDING 1e-6 /* jobs or tokens: what sums of doubles may be wrong by */

typedef struct bucket {
    double used;
    uint64_t at_ms; /* when it was that */
} bucket;

typedef struct account account;
struct account {
    account *chain;         /* next with a like hash */
    account *older, *newer; /* among those without waiting jobs, by last use */
    char tenant[MR_JOB_MAX_NAME + 1];
    const mr_rule *rule;
    uint64_t waiting, tokens;
    bucket jobs_taken, tokens_taken;
};

struct mr_policy {
    mr_rules *rules;
    account *buckets[BUCKETS];
    size_t n_accounts;
    account *oldest, *newest; /* without waiting jobs */
    account others;
    char text[256]; /* of the last refusal */
};

/* ---- rates ---- */

static double jobs_per_ms(const mr_rule *r) {
    return r->jobs_per_s / 1000;
}

static double tokens_per_ms(const mr_rule *r) {
    return (double)r->tokens_per_min / MS_PER_MIN;
}

static double jobs_held(const mr_rule *r) {
    return r->jobs_per_s > 1 ? r->jobs_per_s : 1;
}

static void refill(bucket *b, double per_ms, uint64_t now_ms) {
    if (now_ms > b->at_ms) {
        b->used -= per_ms * (double)(now_ms - b->at_ms);
        b->at_ms = now_ms;
    }
    if (b->used < ROUNDING || per_ms <= 0) b->used = 0; /* who has no limit owes nothing */
}

static void refill_both(account *a, uint64_t now_ms) {
    refill(&a->jobs_taken, jobs_per_ms(a->rule), now_ms);
    refill(&a->tokens_taken, tokens_per_ms(a->rule), now_ms);
}

static void take(account *a, bool job, int64_t tokens) {
    if (job) a->jobs_taken.used += 1;
    a->tokens_taken.used += (double)tokens; /* below 0: the next refill takes it as 0 */
}

/* Until one is in it again. */
static uint64_t wait_ms(const bucket *b, double held, double per_ms) {
    const double missing = b->used - (held - 1);
    if (per_ms <= 0 || missing <= ROUNDING) return 0;
    const double ms = ceil(missing / per_ms);
    return ms < 1e15 ? (uint64_t)ms : (uint64_t)1e15;
}

static uint64_t rate_wait_ms(account *a, uint64_t now_ms) {
    const mr_rule *r = a->rule;
    refill_both(a, now_ms);
    const uint64_t jobs = wait_ms(&a->jobs_taken, jobs_held(r), jobs_per_ms(r));
    const uint64_t tokens =
        wait_ms(&a->tokens_taken, (double)r->tokens_per_min, tokens_per_ms(r));
    return jobs > tokens ? jobs : tokens;
}

/* ---- accounts ---- */

static account **bucket_of(mr_policy *p, const char *tenant) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *tenant; tenant++) h = (h ^ (unsigned char)*tenant) * 16777619u;
    return &p->buckets[h % BUCKETS];
}

static account *find(mr_policy *p, const char *tenant) {
    account *a = *bucket_of(p, tenant);
    while (a && strcmp(a->tenant, tenant) != 0) a = a->chain;
    return a;
}

static void link_unused(mr_policy *p, account *a) {
    a->older = p->newest;
    a->newer = NULL;
    *(a->older ? &a->older->newer : &p->oldest) = a;
    p->newest = a;
}

static void unlink_unused(mr_policy *p, account *a) {
    *(a->older ? &a->older->newer : &p->oldest) = a->newer;
    *(a->newer ? &a->newer->older : &p->newest) = a->older;
}

/* Memory of an account that says nothing any more; NULL: none was found. */
static account *reuse(mr_policy *p, uint64_t now_ms) {
    account *a = p->oldest;
    for (int i = 0; i < LOOKED_AT && a; i++, a = a->newer) {
        refill_both(a, now_ms);
        if (a->jobs_taken.used > 0 || a->tokens_taken.used > 0) continue;
        account **at = bucket_of(p, a->tenant);
        while (*at != a) at = &(*at)->chain;
        *at = a->chain;
        unlink_unused(p, a);
        p->n_accounts--;
        return a;
    }
    return NULL;
}

static account *need(mr_policy *p, const char *tenant, uint64_t now_ms) {
    account *a = find(p, tenant);
    if (a || p->others.waiting > 0 || strlen(tenant) > MR_JOB_MAX_NAME || !*tenant)
        return a ? a : &p->others;
    a = p->n_accounts < MR_MAX_TENANTS ? malloc(sizeof *a) : reuse(p, now_ms);
    if (!a) return &p->others;
    account **first = bucket_of(p, tenant);
    *a = (account){.chain = *first, .rule = mr_rules_find(p->rules, tenant)};
    strcpy(a->tenant, tenant);
    *first = a;
    p->n_accounts++;
    link_unused(p, a);
    return a;
}

/* ---- rules ---- */

static void adopt(mr_policy *p, mr_rules *rules) {
    for (size_t b = 0; b < BUCKETS; b++)
        for (account *a = p->buckets[b]; a; a = a->chain)
            a->rule = mr_rules_find(rules, a->tenant);
    p->others.rule = mr_rules_find(rules, MR_TENANT_OTHERS);
    mr_rules_close(p->rules);
    p->rules = rules;
}

mr_status mr_policy_open(mr_policy **out, const char *path, mr_err *err) {
    mr_policy *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return mr_fail(err, MR_ENOMEM, "policy: out of memory");
    const mr_status st = mr_policy_load(p, path, err);
    if (st == MR_OK)
        *out = p;
    else
        mr_policy_close(p);
    return st;
}

void mr_policy_close(mr_policy *p) {
    if (!p) return;
    for (size_t b = 0; b < BUCKETS; b++)
        for (account *a = p->buckets[b], *next; a; a = next) {
            next = a->chain;
            free(a);
        }
    mr_rules_close(p->rules);
    free(p);
}

mr_status mr_policy_load(mr_policy *p, const char *path, mr_err *err) {
    mr_rules *rules;
    const mr_status st = mr_rules_open(&rules, path, err);
    if (st == MR_OK) adopt(p, rules);
    return st;
}

mr_status mr_policy_parse(mr_policy *p, const char *yaml, size_t n, mr_err *err) {
    mr_rules *rules;
    const mr_status st = mr_rules_parse(&rules, yaml, n, err);
    if (st == MR_OK) adopt(p, rules);
    return st;
}

const mr_rule *mr_policy_rule(const mr_policy *p, const char *tenant) {
    return mr_rules_find(p->rules, tenant);
}

bool mr_policy_has_callback(const mr_policy *p) {
    return mr_rules_have_callback(p->rules);
}

/* ---- jobs ---- */

static bool refuse_backlog(mr_policy *p, account *a, const char *tenant, uint64_t now_ms,
                           mr_job_error *why) {
    const uint64_t rate_ms = rate_wait_ms(a, now_ms);
    const uint64_t after_ms = rate_ms > BACKLOG_RETRY_MS ? rate_ms : BACKLOG_RETRY_MS;
    snprintf(p->text, sizeof p->text,
             "tenant \"%s\" has %llu waiting jobs here, and its backlog is limited to %llu", tenant,
             (unsigned long long)a->waiting, (unsigned long long)a->rule->backlog);
    *why = (mr_job_error){.code = "backlog_full",
                          .field = "tenant",
                          .message = p->text,
                          .retry_after_ms = after_ms};
    return false;
}

static bool refuse_rate(mr_policy *p, const account *a, const char *tenant, uint64_t after_ms,
                        mr_job_error *why) {
    const mr_rule *r = a->rule;
    const bool by_jobs = wait_ms(&a->jobs_taken, jobs_held(r), jobs_per_ms(r)) == after_ms;
    if (by_jobs)
        snprintf(p->text, sizeof p->text,
                 "tenant \"%s\" is limited to %g jobs per second, and %.0f are used up",
                 tenant, r->jobs_per_s, a->jobs_taken.used);
    else
        snprintf(p->text, sizeof p->text,
                 "tenant \"%s\" is limited to %llu tokens per minute, and %.0f are used up",
                 tenant, (unsigned long long)r->tokens_per_min, a->tokens_taken.used);
    *why = (mr_job_error){.code = "rate_limited",
                          .field = "tenant",
                          .message = p->text,
                          .retry_after_ms = after_ms};
    return false;
}

bool mr_policy_enter(mr_policy *p, const char *tenant, uint32_t cost, uint64_t now_ms,
                     mr_job_error *why) {
    account *a = need(p, tenant, now_ms);
    const mr_rule *r = a->rule;
    if (r->backlog && a->waiting >= r->backlog) return refuse_backlog(p, a, tenant, now_ms, why);
    if (r->reject) {
        const uint64_t after_ms = rate_wait_ms(a, now_ms);
        if (after_ms > 0) return refuse_rate(p, a, tenant, after_ms, why);
        take(a, true, cost);
    }
    if (a->waiting++ == 0 && a != &p->others) unlink_unused(p, a);
    return true;
}

void mr_policy_left(mr_policy *p, const char *tenant) {
    account *own = find(p, tenant), *a = own ? own : &p->others;
    MR_CHECK(a->waiting > 0);
    if (--a->waiting == 0 && own) link_unused(p, own);
}

uint64_t mr_policy_ready_ms(mr_policy *p, const char *tenant, uint64_t now_ms) {
    account *own = find(p, tenant), *a = own ? own : &p->others;
    return a->rule->reject ? now_ms : now_ms + rate_wait_ms(a, now_ms);
}

void mr_policy_charge(mr_policy *p, const char *tenant, bool job, int64_t tokens, uint64_t now_ms) {
    account *a = need(p, tenant, now_ms);
    refill_both(a, now_ms);
    if (!job || !a->rule->reject) take(a, job, tokens); /* else it was taken when it came */
    const bool less = tokens < 0 && (uint64_t)-tokens > a->tokens;
    a->tokens = less ? 0 : a->tokens + (uint64_t)tokens;
    if (a->waiting > 0 || a == &p->others) return;
    unlink_unused(p, a); /* it was used just now */
    link_unused(p, a);
}

/* ---- views ---- */

static bool before(const mr_policy_row *a, const mr_policy_row *b) {
    return a->waiting != b->waiting ? a->waiting > b->waiting : a->tokens > b->tokens;
}

static mr_policy_row row_of(account *a, const char *name, uint64_t now_ms) {
    return (mr_policy_row){.tenant = name,
                           .waiting = a->waiting,
                           .tokens = a->tokens,
                           .weight = a->rule->weight,
                           .limited = a->waiting > 0 && !a->rule->reject &&
                                      rate_wait_ms(a, now_ms) > 0};
}

static size_t insert(mr_policy_row *rows, size_t n, size_t cap, mr_policy_row row) {
    if (row.waiting == 0 && row.tokens == 0) return n;
    if (n == cap && (cap == 0 || !before(&row, &rows[n - 1]))) return n;
    size_t at = n < cap ? n++ : n - 1;
    for (; at > 0 && before(&row, &rows[at - 1]); at--) rows[at] = rows[at - 1];
    rows[at] = row;
    return n;
}

size_t mr_policy_top(mr_policy *p, mr_policy_row *rows, size_t cap, uint64_t now_ms) {
    size_t n = insert(rows, 0, cap, row_of(&p->others, "(others)", now_ms));
    for (size_t b = 0; b < BUCKETS; b++)
        for (account *a = p->buckets[b]; a; a = a->chain)
            n = insert(rows, n, cap, row_of(a, a->tenant, now_ms));
    return n;
}
