/* webhook_secrets.c - a sorted table, made anew whenever it is read; what it held is overwritten.
 */
#include "dispatcher/webhook_secrets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hmac.h"
#include "schemas/yaml.h"

enum { MAX_ID = 2 * MR_JOB_MAX_NAME + 1, FIRST_ROWS = 16, SHOWN_BYTES = 40 };

typedef struct row {
    char id[MAX_ID + 1];
    mr_webhook_secret list[MR_WEBHOOK_SECRETS];
    size_t n;
} row;

struct mr_webhook_secrets {
    row *rows; /* [n], sorted by id */
    size_t n, cap;
};

static int by_id(const void *a, const void *b) {
    return strcmp(((const row *)a)->id, ((const row *)b)->id);
}

static mr_status grow(mr_webhook_secrets *s, mr_err *err) {
    if (s->n < s->cap) return MR_OK;
    const size_t cap = s->cap ? 2 * s->cap : FIRST_ROWS;
    row *rows = calloc(cap, sizeof *rows); /* not realloc: it would leave secrets behind */
    if (!rows) return mr_fail(err, MR_ENOMEM, "webhook secrets: out of memory");
    if (s->n) memcpy(rows, s->rows, s->n * sizeof *rows);
    if (s->rows) mr_hmac_forget(s->rows, s->n * sizeof *rows);
    free(s->rows);
    s->rows = rows;
    s->cap = cap;
    return MR_OK;
}

/* at: where it stands. */
static mr_status add(mr_webhook_secrets *s, const char *at, const char *id, size_t id_len,
                     const char *text, size_t len, mr_err *err) {
    mr_err why;
    mr_status st = MR_OK;

    if (id_len == 0 || id_len > MAX_ID)
        return mr_fail(err, MR_EINVAL, "%s: an id of secrets has %zu bytes, must have 1..%d", at,
                       id_len, MAX_ID);
    if (s->n == MR_WEBHOOK_MAX_SECRETS)
        return mr_fail(err, MR_EINVAL, "%s: more than %d ids of secrets", at,
                       MR_WEBHOOK_MAX_SECRETS);
    if ((st = grow(s, err)) != MR_OK) return st;
    row *r = &s->rows[s->n++];
    *r = (row){.n = 0};
    memcpy(r->id, id, id_len);
    for (const char *end = text + len; text < end; text++) {
        const char *blank = memchr(text, ' ', (size_t)(end - text)), *stop = blank ? blank : end;
        if (stop == text) continue;
        if (r->n == MR_WEBHOOK_SECRETS)
            return mr_fail(err, MR_EINVAL, "%s: \"%.*s\" has more than %d secrets", at, SHOWN_BYTES,
                           r->id, MR_WEBHOOK_SECRETS);
        st = mr_webhook_secret_read(&r->list[r->n], text, (size_t)(stop - text), &why);
        if (st != MR_OK)
            return mr_fail(err, st, "%s: \"%.*s\": %s", at, SHOWN_BYTES, r->id, why.text);
        r->n++;
        text = stop;
    }
    if (r->n) return MR_OK;
    return mr_fail(err, MR_EINVAL, "%s: \"%.*s\" has no secret", at, SHOWN_BYTES, r->id);
}

static mr_status on_item(void *owner, const mr_yaml_item *item, mr_err *err) {
    if (item->n_names != 1 || !item->value)
        return mr_fail(err, MR_EINVAL, "%s: must be `id: whsec_...`", item->at);
    return add(owner, item->at, item->names[0], strlen(item->names[0]), item->value,
               strlen(item->value), err);
}

static mr_status read_setting(mr_webhook_secrets *s, const char *text, mr_err *err) {
    mr_status st = MR_OK;
    while (*text && st == MR_OK) {
        const size_t n = strcspn(text, ";");
        const char *equals = memchr(text, '=', n);
        const size_t id = equals ? (size_t)(equals - text) : 0;
        st = id ? add(s, "webhook_secrets", text, id, equals + 1, n - id - 1, err)
                : mr_fail(err, MR_EINVAL, "webhook_secrets: must be id=whsec_...;id=whsec_...");
        text += n + (text[n] == ';');
    }
    return st;
}

static mr_status sort(mr_webhook_secrets *s, mr_err *err) {
    if (s->n) qsort(s->rows, s->n, sizeof *s->rows, by_id);
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->rows[i - 1].id, s->rows[i].id) == 0)
            return mr_fail(err, MR_EINVAL, "webhook secrets: \"%.*s\" is there twice", SHOWN_BYTES,
                           s->rows[i].id);
    return MR_OK;
}

mr_status mr_webhook_secrets_open(mr_webhook_secrets **out, const char *text, const char *path,
                                  mr_err *err) {
    mr_webhook_secrets *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return mr_fail(err, MR_ENOMEM, "webhook secrets: out of memory");
    mr_status st = read_setting(s, text, err);
    if (st == MR_OK && *path) st = mr_yaml_read_file(path, on_item, s, err);
    if (st == MR_OK) st = sort(s, err);
    if (st == MR_OK)
        *out = s;
    else
        mr_webhook_secrets_close(s);
    return st;
}

void mr_webhook_secrets_close(mr_webhook_secrets *s) {
    if (!s) return;
    if (s->rows) mr_hmac_forget(s->rows, s->n * sizeof *s->rows);
    free(s->rows);
    free(s);
}

const mr_webhook_secret *mr_webhook_secrets_find(const mr_webhook_secrets *s, const char *tenant,
                                                 const char *id, size_t *n) {
    row key = {.n = 0};
    const row *found = NULL;

    *n = 0;
    if (s->n == 0 || strchr(id, '/')) return NULL; /* nobody names a tenant's but by being it */
    if (!*id) id = MR_WEBHOOK_DEFAULT_ID;
    if (snprintf(key.id, sizeof key.id, "%s/%s", tenant, id) <= MAX_ID)
        found = bsearch(&key, s->rows, s->n, sizeof key, by_id);
    snprintf(key.id, sizeof key.id, "%s", id);
    if (!found) found = bsearch(&key, s->rows, s->n, sizeof key, by_id);
    *n = found ? found->n : 0;
    return found ? found->list : NULL;
}
