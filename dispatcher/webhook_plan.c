/* webhook_plan.c - see webhook_plan.h. */
#include "dispatcher/webhook_plan.h"

#include <string.h>

#define WANTED "1..20 waits such as 0,5s,5m,2h, each at most 24h"

static bool read_wait(const char *text, size_t n, uint64_t *out) {
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    uint64_t number = 0;
    size_t i = 0;

    for (; i < n && text[i] >= '0' && text[i] <= '9'; i++) {
        number = number * 10 + (uint64_t)(text[i] - '0');
        if (number > MR_WEBHOOK_MAX_WAIT_MS) return false;
    }
    if (i == 0) return false;
    *out = 0;
    if (i == n) return number == 0;
    for (size_t u = 0; u < MR_COUNT(units); u++) {
        if (strlen(units[u].name) != n - i || strncmp(text + i, units[u].name, n - i)) continue;
        *out = number * units[u].ms;
        return *out <= MR_WEBHOOK_MAX_WAIT_MS;
    }
    return false;
}

mr_status mr_webhook_plan_read(mr_webhook_plan *out, const char *text, mr_err *err) {
    *out = (mr_webhook_plan){.n = 0};
    for (;;) {
        const size_t n = strcspn(text, ",");
        if (out->n == MR_WEBHOOK_MAX_TRIES || !read_wait(text, n, &out->wait_ms[out->n]))
            return mr_fail(err, MR_EINVAL, "webhook_delays: \"%.*s\" must be one of " WANTED,
                           n > 40 ? 40 : (int)n, text);
        out->n++;
        if (!text[n]) return MR_OK;
        text += n + 1;
    }
}

mr_webhook_fate mr_webhook_plan_next(const mr_webhook_plan *p, uint32_t tries,
                                     const mr_webhook_outcome *o, uint64_t now_ms, uint32_t chance,
                                     uint64_t *due_ms, const char **cause) {
    const uint64_t longest_s = MR_WEBHOOK_MAX_WAIT_MS / 1000;

    if (o->status == MR_OK && o->code >= 200 && o->code < 300) return MR_WEBHOOK_DELIVERED;
    if (o->status == MR_OK && o->code == 410) {
        *cause = "webhook_gone";
        return MR_WEBHOOK_DEAD;
    }
    if (tries >= p->n) {
        *cause = "webhook_undelivered";
        return MR_WEBHOOK_DEAD;
    }
    uint64_t wait_ms = p->wait_ms[tries];
    wait_ms += wait_ms / 10 * (chance % 1024) / 1024;
    const uint64_t after_ms = 1000 * (o->retry_after_s < longest_s ? o->retry_after_s : longest_s);
    *due_ms = now_ms + (after_ms > wait_ms ? after_ms : wait_ms);
    return MR_WEBHOOK_AGAIN;
}

bool mr_webhook_is_trouble(const mr_webhook_outcome *o) {
    return o->status != MR_OK || o->code >= 500 || o->code == 408 || o->code == 429;
}
