/* rules.c - see rules.h. Rows are collected in the order of the file and sorted, to be found; what
 * each leaves out is filled in at the end, because `default` may stand last. */
#include "dispatcher/rules.h"

#include <stdlib.h>
#include <string.h>

#include "schemas/codec.h"
#include "schemas/yaml.h"

enum { FIRST_ROWS = 16, SHOWN_BYTES = 96, TEXT_LIMIT = 16 << 20 };

typedef enum field { WEIGHT, JOBS_PER_S, TOKENS_PER_MIN, BACKLOG, OVER, CALLBACK_URL,
              CALLBACK_SECRET, CALLBACK_EVENTS, FIELD_N } field;

static const char *const field_names[FIELD_N] = {"weight", "jobs_per_s", "tokens_per_min",
                                                 "backlog", "over", "callback_url",
                                                 "callback_secret", "callback_events"};
static const struct {
    double lo, hi;
} limits[OVER] = {
    [WEIGHT] = {1, 1000}, [JOBS_PER_S] = {0, 1e6}, [TOKENS_PER_MIN] = {0, 1e12},
    [BACKLOG] = {0, 1e9}};

typedef struct row {
    char tenant[MR_JOB_MAX_NAME + 1];
    unsigned given; /* bits of field */
    size_t line;    /* of the file */
    mr_rule rule;
} row; /* texts of the callback are in the arena */

struct mr_rules {
    mr_arena arena;
    mr_rule others; /* `default` */
    row *rows;      /* [n], sorted by tenant */
    size_t n, cap;
    bool begun; /* `tenants` was there */
};

/* ---- reading ---- */

static mr_status add_row(mr_rules *r, const mr_yaml_item *item, mr_err *err) {
    const char *tenant = item->names[1], *at = item->at;

    if (!*tenant || strlen(tenant) > MR_JOB_MAX_NAME)
        return mr_fail(err, MR_EINVAL, "%s: tenant \"%.*s\": a name has 1..%d bytes", at,
                       SHOWN_BYTES, tenant, MR_JOB_MAX_NAME);
    if (r->n == MR_MAX_RULES)
        return mr_fail(err, MR_EINVAL, "%s: tenant \"%s\": more than %d tenants", at, tenant,
                       MR_MAX_RULES);
    if (r->n == r->cap) {
        const size_t cap = r->cap ? 2 * r->cap : FIRST_ROWS;
        row *grown = realloc(r->rows, cap * sizeof *grown);
        if (!grown) return mr_fail(err, MR_ENOMEM, "%s: out of memory", at);
        r->rows = grown;
        r->cap = cap;
    }
    row *x = &r->rows[r->n];
    *x = (row){.line = item->line};
    strcpy(x->tenant, tenant);
    r->n++;
    return MR_OK;
}

static mr_status fail_range(const mr_yaml_item *item, field f, mr_err *err) {
    return mr_fail(err, MR_EINVAL, "%s: tenant \"%s\": %s: \"%.*s\" must be %s %.0f..%.0f",
                   item->at, item->names[1], field_names[f], SHOWN_BYTES, item->value,
                   f == JOBS_PER_S ? "a number" : "a whole number", limits[f].lo, limits[f].hi);
}

static mr_status read_number(const mr_yaml_item *item, field f, double *out, mr_err *err) {
    const char *digits = f == JOBS_PER_S ? "0123456789." : "0123456789"; /* no sign, no exponent */
    char *end;

    if (!*item->value || item->value[strspn(item->value, digits)]) return fail_range(item, f, err);
    *out = strtod(item->value, &end);
    if (*end || !(*out >= limits[f].lo && *out <= limits[f].hi)) return fail_range(item, f, err);
    return MR_OK;
}

/* "succeeded,failed" */
static mr_status read_events(mr_rules *r, mr_callback *c, const mr_yaml_item *item, mr_err *err) {
    const char **events = mr_arena_calloc(&r->arena, MR_JOB_MAX_EVENTS, sizeof *events);
    char *rest = mr_arena_copy(&r->arena, item->value, strlen(item->value));

    if (!events || !rest) return mr_fail(err, MR_ENOMEM, "%s: out of memory", item->at);
    c->events = events;
    c->n_events = 0;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        unsigned s = 0;
        while (s <= MR_STATUS_EXPIRED && strcmp(name, mr_job_status_name((mr_job_status)s))) s++;
        if (s > MR_STATUS_EXPIRED || c->n_events == MR_JOB_MAX_EVENTS)
            return mr_fail(err, MR_EINVAL,
                           "%s: tenant \"%s\": callback_events: \"%.*s\" must be of succeeded, "
                           "failed, rejected, cancelled, expired, with commas between them",
                           item->at, item->names[1], SHOWN_BYTES, item->value);
        events[c->n_events++] = mr_job_status_name((mr_job_status)s);
    }
    return MR_OK;
}

static mr_status read_callback(mr_rules *r, row *x, field f, const mr_yaml_item *item,
                               mr_err *err) {
    const size_t n = strlen(item->value);
    const size_t most = f == CALLBACK_URL ? MR_JOB_MAX_URL : MR_JOB_MAX_NAME;
    mr_callback *c = &x->rule.callback;

    if (f == CALLBACK_EVENTS) return read_events(r, c, item, err);
    if (n < 1 || n > most || item->value[strcspn(item->value, " \t\r\n")])
        return mr_fail(err, MR_EINVAL, "%s: tenant \"%s\": %s has %zu bytes, must have 1..%zu, and "
                       "no blank", item->at, x->tenant, field_names[f], n, most);
    const char *text = mr_arena_copy(&r->arena, item->value, n);
    if (!text) return mr_fail(err, MR_ENOMEM, "%s: out of memory", item->at);
    *(f == CALLBACK_URL ? &c->url : &c->secret_id) = text;
    return MR_OK;
}

static mr_status set_field(mr_rules *r, row *x, field f, const mr_yaml_item *item, mr_err *err) {
    double number = 0;

    if (f >= CALLBACK_URL) return read_callback(r, x, f, item, err);

    if (f == OVER) {
        x->rule.reject = strcmp(item->value, "reject") == 0;
        if (!x->rule.reject && strcmp(item->value, "delay") != 0)
            return mr_fail(err, MR_EINVAL,
                           "%s: tenant \"%s\": over: \"%.*s\" must be delay or reject", item->at,
                           x->tenant, SHOWN_BYTES, item->value);
        return MR_OK;
    }
    const mr_status st = read_number(item, f, &number, err);
    if (st != MR_OK) return st;
    if (f == WEIGHT) x->rule.weight = (uint32_t)number;
    if (f == JOBS_PER_S) x->rule.jobs_per_s = number;
    if (f == TOKENS_PER_MIN) x->rule.tokens_per_min = (uint64_t)number;
    if (f == BACKLOG) x->rule.backlog = (uint64_t)number;
    return MR_OK;
}

static mr_status fail_name(const mr_yaml_item *item, const char *what, const char *const *names,
                           size_t n, mr_err *err) {
    const char *name = item->names[item->n_names - 1], *nearest = mr_nearest(name, names, n);
    return mr_fail(err, MR_EINVAL, "%s: unknown %s \"%.*s\"%s%s%s", item->at, what, SHOWN_BYTES,
                   name, nearest ? "; did you mean \"" : "", nearest ? nearest : "",
                   nearest ? "\"?" : "");
}

static mr_status read_field(mr_rules *r, row *x, const mr_yaml_item *item, mr_err *err) {
    for (int f = 0; f < FIELD_N; f++) {
        if (strcmp(item->names[2], field_names[f]) != 0) continue;
        if (!item->value)
            return mr_fail(err, MR_EINVAL, "%s: tenant \"%s\": %s is not plain text or a number",
                           item->at, x->tenant, field_names[f]);
        if (x->given & (1u << f))
            return mr_fail(err, MR_EINVAL, "%s: tenant \"%s\": %s is there twice", item->at,
                           x->tenant, field_names[f]);
        x->given |= 1u << f;
        return set_field(r, x, (field)f, item, err);
    }
    return fail_name(item, "limit", field_names, FIELD_N, err);
}

static mr_status on_item(void *owner, const mr_yaml_item *item, mr_err *err) {
    static const char *const top[] = {"tenants"};
    mr_rules *r = owner;

    if (item->n_names == 1 && strcmp(item->names[0], top[0]) != 0)
        return fail_name(item, "name", top, 1, err);
    if (item->n_names == 3) return read_field(r, &r->rows[r->n - 1], item, err);
    if (item->value)
        return mr_fail(err, MR_EINVAL, "%s: %s: \"%.*s\" must be a map", item->at,
                       item->names[item->n_names - 1], SHOWN_BYTES, item->value);
    if (item->n_names == 2) return add_row(r, item, err);
    if (r->begun) return mr_fail(err, MR_EINVAL, "%s: tenants is there twice", item->at);
    r->begun = true;
    return MR_OK;
}

/* ---- what the rows mean ---- */

static int by_tenant(const void *a, const void *b) {
    const row *x = a, *y = b;
    const int order = strcmp(x->tenant, y->tenant);
    return order ? order : x->line < y->line ? -1 : x->line > y->line;
}

static void fill_in(row *x, const mr_rule *from) {
    if (!(x->given & 1u << WEIGHT)) x->rule.weight = from->weight;
    if (!(x->given & 1u << JOBS_PER_S)) x->rule.jobs_per_s = from->jobs_per_s;
    if (!(x->given & 1u << TOKENS_PER_MIN)) x->rule.tokens_per_min = from->tokens_per_min;
    if (!(x->given & 1u << BACKLOG)) x->rule.backlog = from->backlog;
    if (!(x->given & 1u << OVER)) x->rule.reject = from->reject;
    if (!(x->given & 1u << CALLBACK_URL)) x->rule.callback.url = from->callback.url;
    if (!(x->given & 1u << CALLBACK_SECRET)) x->rule.callback.secret_id = from->callback.secret_id;
    if (x->given & 1u << CALLBACK_EVENTS) return;
    x->rule.callback.events = from->callback.events;
    x->rule.callback.n_events = from->callback.n_events;
}

static row *find_row(const mr_rules *r, const char *tenant) {
    size_t lo = 0, hi = r->n;

    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = strcmp(tenant, r->rows[mid].tenant);
        if (order == 0) return &r->rows[mid];
        if (order < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static mr_status finish(mr_rules *r, const char *source, mr_err *err) {
    if (r->n) qsort(r->rows, r->n, sizeof *r->rows, by_tenant);
    for (size_t i = 1; i < r->n; i++)
        if (strcmp(r->rows[i - 1].tenant, r->rows[i].tenant) == 0)
            return mr_fail(err, MR_EINVAL, "%s line %zu: tenant \"%s\" is there twice", source,
                           r->rows[i].line, r->rows[i].tenant);
    row *others = find_row(r, "default");
    r->others = (mr_rule){.weight = 1};
    if (others) {
        fill_in(others, &r->others);
        r->others = others->rule;
    }
    for (size_t i = 0; i < r->n; i++) fill_in(&r->rows[i], &r->others);
    return MR_OK;
}

/* ---- the doors ---- */

/* yaml NULL: from the file; no name: no rules. */
static mr_status read_rules(mr_rules **out, const char *source, const char *yaml, size_t n,
                            mr_err *err) {
    mr_rules *r = calloc(1, sizeof *r);
    mr_status st = MR_OK;

    *out = NULL;
    if (!r) return mr_fail(err, MR_ENOMEM, "tenants: out of memory");
    mr_arena_init(&r->arena, TEXT_LIMIT);
    if (yaml)
        st = mr_yaml_read(source, yaml, n, on_item, r, err);
    else if (*source)
        st = mr_yaml_read_file(source, on_item, r, err);
    if (st == MR_OK) st = finish(r, source, err);
    if (st == MR_OK)
        *out = r;
    else
        mr_rules_close(r);
    return st;
}

mr_status mr_rules_open(mr_rules **out, const char *path, mr_err *err) {
    return read_rules(out, path, NULL, 0, err);
}

mr_status mr_rules_parse(mr_rules **out, const char *yaml, size_t n, mr_err *err) {
    return read_rules(out, "tenants", yaml, n, err);
}

void mr_rules_close(mr_rules *r) {
    if (!r) return;
    mr_arena_drop(&r->arena);
    free(r->rows);
    free(r);
}

const mr_rule *mr_rules_find(const mr_rules *r, const char *tenant) {
    const row *x = find_row(r, tenant);
    return x ? &x->rule : &r->others;
}

bool mr_rules_have_callback(const mr_rules *r) {
    for (size_t i = 0; i < r->n; i++)
        if (r->rows[i].rule.callback.url) return true;
    return false;
}
