/* top_view.c - see top_view.h.
 *
 * Names come from records that anybody may have written: what could steer a terminal is shown as
 * question marks. */
#include "cli/top_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { NAME_CELLS = 24 };

typedef struct mr_beat_tenant tenant;

/* ---- sums ---- */

typedef enum life { LIVE, SILENT, GONE } life;

static uint64_t age_ms(const mr_top_view *v, uint64_t sent_ms) {
    return v->now_ms > sent_ms ? v->now_ms - sent_ms : 0; /* clocks differ */
}

static life life_of(const mr_top_view *v, uint64_t sent_ms, bool leaving) {
    const uint64_t age = age_ms(v, sent_ms);
    if (leaving || age > MR_TOP_GONE_MS) return GONE;
    return age > MR_TOP_SILENT_MS ? SILENT : LIVE;
}

static life life_of_beat(const mr_top_view *v, const mr_beat *b) {
    return life_of(v, b->sent_ms, b->leaving);
}

static life life_of_worker(const mr_top_view *v, const mr_heartbeat *h) {
    return life_of(v, h->sent_ms, h->leaving);
}

typedef struct sums { /* over all live dispatchers */
    mr_beat_lane lanes[MR_PRIORITY_N];
    uint64_t delayed, paused_parts, parts;
    tenant tenants[MR_TOP_TENANTS];
    size_t n_tenants;
    size_t n_dispatchers, n_workers;
} sums;

static void add_tenant(sums *s, const tenant *t) {
    size_t i = 0;
    while (i < s->n_tenants && strcmp(s->tenants[i].name, t->name) != 0) i++;
    if (i == MR_TOP_TENANTS) return;
    if (i == s->n_tenants) s->tenants[s->n_tenants++] = (tenant){.name = t->name};
    tenant *sum = &s->tenants[i];
    sum->waiting += t->waiting;
    sum->tokens_per_s += t->tokens_per_s;
    sum->limited |= t->limited;
    if (t->weight > sum->weight) sum->weight = t->weight;
}

static void add_beat(sums *s, const mr_beat *b) {
    for (int l = 0; l < MR_PRIORITY_N; l++) {
        s->lanes[l].waiting += b->lanes[l].waiting;
        s->lanes[l].unread += b->lanes[l].unread;
        s->lanes[l].queued += b->lanes[l].queued;
        s->lanes[l].left += b->lanes[l].left;
        s->lanes[l].per_s += b->lanes[l].per_s;
    }
    s->delayed += b->delayed;
    s->parts += b->parts;
    s->paused_parts += b->paused_parts;
    for (size_t i = 0; i < b->n_tenants; i++) add_tenant(s, &b->tenants[i]);
    s->n_dispatchers++;
}

static int by_use(const void *a, const void *b) {
    const tenant *x = a, *y = b;
    if (x->waiting != y->waiting) return x->waiting < y->waiting ? 1 : -1;
    if (x->tokens_per_s < y->tokens_per_s || x->tokens_per_s > y->tokens_per_s)
        return x->tokens_per_s < y->tokens_per_s ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void sum_up(const mr_top_view *v, sums *s) {
    *s = (sums){.n_tenants = 0};
    for (size_t i = 0; i < v->n_beats; i++)
        if (life_of_beat(v, v->beats[i]) == LIVE) add_beat(s, v->beats[i]);
    for (size_t i = 0; i < v->n_heartbeats; i++)
        s->n_workers += life_of_worker(v, v->heartbeats[i]) == LIVE;
    qsort(s->tenants, s->n_tenants, sizeof *s->tenants, by_use);
}

/* ---- table ---- */

/* One character of s, printed or replaced. Returns its bytes. */
static size_t put_char(FILE *f, const char *s) {
    const unsigned char c = (unsigned char)s[0];
    size_t n = 1;
    if (c < 0x80) {
        fputc(c < 0x20 || c == 0x7f ? '?' : c, f);
        return 1;
    }
    while (((unsigned char)s[n] & 0xc0) == 0x80) n++; /* the records are valid UTF-8 */
    if (c == 0xc2 && (unsigned char)s[1] < 0xa0)
        fputc('?', f); /* control characters of 8 bits */
    else
        fwrite(s, 1, n, f);
    return n;
}

/* Left, in so many cells and a blank; a longer name is cut. */
static void put_name(FILE *f, const char *s, int cells) {
    int used = 0;
    for (; *s && used < cells; used++) s += put_char(f, s);
    if (*s) fputs("…", f); /* where the blank would be */
    fprintf(f, "%*s", cells - used + (*s ? 0 : 1), "");
}

static void put_head(FILE *f, const mr_top_view *v, const char *first, const char *rest) {
    fprintf(f, "\n%s%-*s %s%s\n", v->color ? "\033[1m" : "", NAME_CELLS, first, rest,
            v->color ? "\033[0m" : "");
}

static void put_summary(FILE *f, const mr_top_view *v, const sums *s) {
    float tokens_per_s = 0;
    for (size_t i = 0; i < v->n_heartbeats; i++)
        if (life_of_worker(v, v->heartbeats[i]) == LIVE)
            tokens_per_s += v->heartbeats[i]->tokens_per_s;
    fprintf(f, "%zu dispatcher%s, %zu worker%s, %.0f tokens/s; %" PRIu64 " delayed",
            s->n_dispatchers, s->n_dispatchers == 1 ? "" : "s", s->n_workers,
            s->n_workers == 1 ? "" : "s", (double)tokens_per_s, s->delayed);
    if (s->paused_parts)
        fprintf(f, "; %" PRIu64 " of %" PRIu64 " partitions paused", s->paused_parts, s->parts);
    fputc('\n', f);
}

static void put_lanes(FILE *f, const mr_top_view *v, const sums *s) {
    put_head(f, v, "LANE", "  WAITING    JOBS/S        LEFT");
    for (int l = 0; l < MR_PRIORITY_N; l++) {
        put_name(f, mr_priority_name((mr_priority)l), NAME_CELLS);
        fprintf(f, "%9" PRIu64 " %9.1f %11" PRIu64 "\n", s->lanes[l].waiting + s->lanes[l].unread,
                (double)s->lanes[l].per_s, s->lanes[l].left);
    }
}

static void put_tenants(FILE *f, const mr_top_view *v, const sums *s) {
    if (s->n_tenants == 0) return;
    put_head(f, v, "TENANT", "  WAITING  TOKENS/S  WEIGHT");
    for (size_t i = 0; i < s->n_tenants; i++) {
        const tenant *t = &s->tenants[i];
        put_name(f, t->name, NAME_CELLS);
        fprintf(f, "%9" PRIu64 " %9.1f %7u%s\n", t->waiting, (double)t->tokens_per_s, t->weight,
                t->limited ? "  held back by its rate" : "");
    }
}

static double percent(double part, double all) {
    return all > 0 ? 100 * part / all : 0;
}

static void put_silence(FILE *f, const mr_top_view *v, life l, uint64_t sent_ms) {
    if (l == SILENT) fprintf(f, "  silent for %" PRIu64 " s", age_ms(v, sent_ms) / 1000);
    fputc('\n', f);
}

static void put_workers(FILE *f, const mr_top_view *v) {
    bool any = false;
    for (size_t i = 0; i < v->n_heartbeats; i++) {
        const mr_heartbeat *h = v->heartbeats[i];
        const life l = life_of_worker(v, h);
        if (l == GONE) continue;
        if (!any)
            put_head(f, v, "WORKER",
                     "MODEL              RUNNING  WAITING  FREE/MAX   KV  TOKENS/S  PRESSURE");
        any = true;
        put_name(f, h->worker, NAME_CELLS);
        put_name(f, h->model, 17);
        fprintf(f, "%8u %8u %5u/%-4u %3.0f%% %9.1f %8.0f%%", h->running, h->waiting, h->free_slots,
                h->max_slots,
                percent((double)h->kv_tokens_total - (double)h->kv_tokens_free,
                        (double)h->kv_tokens_total),
                (double)h->tokens_per_s, 100 * (double)h->pressure);
        put_silence(f, v, l, h->sent_ms);
    }
}

static void put_dispatchers(FILE *f, const mr_top_view *v) {
    bool any = false;
    for (size_t i = 0; i < v->n_beats; i++) {
        const mr_beat *b = v->beats[i];
        const life l = life_of_beat(v, b);
        uint64_t waiting = 0;
        double per_s = 0;
        if (l == GONE) continue;
        for (int k = 0; k < MR_PRIORITY_N; k++) {
            waiting += b->lanes[k].waiting + b->lanes[k].unread;
            per_s += (double)b->lanes[k].per_s;
        }
        if (!any) put_head(f, v, "DISPATCHER", "  WAITING    JOBS/S   DELAYED  PAUSED");
        any = true;
        put_name(f, b->dispatcher, NAME_CELLS);
        fprintf(f, "%9" PRIu64 " %9.1f %9" PRIu64 " %3" PRIu64 "/%-3" PRIu64, waiting, per_s,
                b->delayed, b->paused_parts, b->parts);
        put_silence(f, v, l, b->sent_ms);
    }
}

void mr_top_table(FILE *f, const mr_top_view *v) {
    sums *s = malloc(sizeof *s);
    if (!s) return;
    sum_up(v, s);
    put_summary(f, v, s);
    put_lanes(f, v, s);
    put_tenants(f, v, s);
    put_workers(f, v);
    put_dispatchers(f, v);
    free(s);
}

/* ---- JSON ---- */

static void put_string(FILE *f, const char *name, const char *value) {
    fprintf(f, "\"%s\":", name);
    mr_cli_json_string(f, value, strlen(value));
}

static void put_life(FILE *f, const mr_top_view *v, life l, uint64_t sent_ms) {
    fprintf(f, ",\"state\":\"%s\",\"age_ms\":%" PRIu64 "}", l == LIVE ? "live" : "silent",
            age_ms(v, sent_ms));
}

static void put_json_lanes(FILE *f, const mr_beat_lane lanes[MR_PRIORITY_N]) {
    fputs("\"lanes\":{", f);
    for (int l = 0; l < MR_PRIORITY_N; l++)
        fprintf(f,
                "%s\"%s\":{\"waiting\":%" PRIu64 ",\"unread\":%" PRIu64 ",\"queued\":%" PRIu64
                ",\"left\":%" PRIu64 ",\"jobs_per_s\":%.3f}",
                l ? "," : "", mr_priority_name((mr_priority)l), lanes[l].waiting, lanes[l].unread,
                lanes[l].queued, lanes[l].left, (double)lanes[l].per_s);
    fputc('}', f);
}

static void put_json_parts(FILE *f, uint64_t delayed, uint64_t parts, uint64_t paused) {
    fprintf(
        f, ",\"delayed\":%" PRIu64 ",\"partitions\":{\"total\":%" PRIu64 ",\"paused\":%" PRIu64 "}",
        delayed, parts, paused);
}

static void put_json_tenants(FILE *f, const sums *s) {
    fputs(",\"tenants\":[", f);
    for (size_t i = 0; i < s->n_tenants; i++) {
        const tenant *t = &s->tenants[i];
        fputs(i ? ",{" : "{", f);
        put_string(f, "tenant", t->name);
        fprintf(f, ",\"waiting\":%" PRIu64 ",\"tokens_per_s\":%.3f,\"weight\":%u,\"limited\":%s}",
                t->waiting, (double)t->tokens_per_s, t->weight, t->limited ? "true" : "false");
    }
    fputc(']', f);
}

static void put_json_workers(FILE *f, const mr_top_view *v) {
    const char *comma = "";
    fputs(",\"workers\":[", f);
    for (size_t i = 0; i < v->n_heartbeats; i++) {
        const mr_heartbeat *h = v->heartbeats[i];
        const life l = life_of_worker(v, h);
        if (l == GONE) continue;
        fprintf(f, "%s{", comma);
        comma = ",";
        put_string(f, "worker", h->worker);
        fputc(',', f);
        put_string(f, "model", h->model);
        fprintf(f,
                ",\"running\":%u,\"waiting\":%u,\"slots\":{\"free\":%u,\"max\":%u},"
                "\"displaceable\":%u,\"kv_tokens\":{\"free\":%" PRIu64 ",\"total\":%" PRIu64
                "},\"n_ctx\":%u,\"tokens_per_s\":%.3f,\"pressure\":%.3f",
                h->running, h->waiting, h->free_slots, h->max_slots, h->displaceable,
                h->kv_tokens_free, h->kv_tokens_total, h->n_ctx, (double)h->tokens_per_s,
                (double)h->pressure);
        put_life(f, v, l, h->sent_ms);
    }
    fputc(']', f);
}

static void put_json_dispatchers(FILE *f, const mr_top_view *v) {
    const char *comma = "";
    fputs(",\"dispatchers\":[", f);
    for (size_t i = 0; i < v->n_beats; i++) {
        const mr_beat *b = v->beats[i];
        const life l = life_of_beat(v, b);
        if (l == GONE) continue;
        fprintf(f, "%s{", comma);
        comma = ",";
        put_string(f, "dispatcher", b->dispatcher);
        fputc(',', f);
        put_json_lanes(f, b->lanes);
        put_json_parts(f, b->delayed, b->parts, b->paused_parts);
        put_life(f, v, l, b->sent_ms);
    }
    fputc(']', f);
}

void mr_top_json(FILE *f, const mr_top_view *v) {
    sums *s = malloc(sizeof *s);
    if (!s) return;
    sum_up(v, s);
    fprintf(f, "{\"time_ms\":%" PRIu64 ",", v->now_ms);
    put_json_lanes(f, s->lanes);
    put_json_parts(f, s->delayed, s->parts, s->paused_parts);
    put_json_tenants(f, s);
    put_json_workers(f, v);
    put_json_dispatchers(f, v);
    fputs("}\n", f);
    free(s);
}
