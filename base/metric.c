/* metric.c - see metric.h.
 *
 * Each family has HELP and TYPE once, with all its samples behind them. With vLLM's names a family
 * is written again under each of them: the same numbers, the label engine that vLLM has, and bounds
 * of buckets as Python writes them ("1.0"), since dashboards ask for le="1.0". */
#include "base/metric.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX      "millrace_"
#define VLLM_PREFIX "vllm:"

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

typedef struct writer {
    FILE *f;
    const void *view;
    const mr_metric_style *style;
    const char *prefix;
    const char *name; /* of the family, without the prefix */
    bool is_vllm;
} writer;

/* ---- one sample ---- */

static void put_escaped(FILE *f, const char *text) {
    for (; *text; text++) {
        if (*text == '\n') {
            fputs("\\n", f);
            continue;
        }
        if (*text == '\\' || *text == '"') fputc('\\', f);
        fputc(*text, f);
    }
}

/* `le` NULL: none. */
static void put_labels(const writer *w, const mr_metric *row, const char *le) {
    const char *sep = "{";

    if (w->style->model && !(row->flags & MR_METRIC_PROCESS)) {
        fprintf(w->f, "%smodel_name=\"", sep);
        put_escaped(w->f, w->style->model);
        fputc('"', w->f);
        sep = ",";
    }
    if (w->is_vllm) {
        fprintf(w->f, "%sengine=\"0\"", sep);
        sep = ",";
    }
    if (row->labels) {
        fprintf(w->f, "%s%s", sep, row->labels);
        sep = ",";
    }
    if (le) {
        fprintf(w->f, "%sle=\"%s\"", sep, le);
        sep = ",";
    }
    if (*sep == ',') fputc('}', w->f);
}

static void put_name(const writer *w, const mr_metric *row, const char *suffix, const char *le) {
    fprintf(w->f, "%s%s%s", w->prefix, w->name, suffix);
    put_labels(w, row, le);
}

/* The shortest of two that reads back as the same number. */
static void put_f64(FILE *f, double value) {
    char text[32];

    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) snprintf(text, sizeof text, "%.17g", value);
    fprintf(f, " %s\n", text);
}

static void write_bound(char *out, size_t cap, double bound, bool is_vllm) {
    const int n = snprintf(out, cap, "%.15g", bound);
    if (is_vllm && !strchr(out, '.')) snprintf(out + n, cap - (size_t)n, ".0");
}

static void put_histogram(const writer *w, const mr_metric *row, const mr_histogram *h) {
    const mr_buckets *b = h->buckets;
    uint64_t n = 0;
    char le[32];

    for (size_t i = 0; i <= b->n; i++) {
        n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        if (i < b->n)
            write_bound(le, sizeof le, (double)b->bounds[i] / b->per_unit, w->is_vllm);
        else
            snprintf(le, sizeof le, "+Inf");
        put_name(w, row, "_bucket", le);
        fprintf(w->f, " %" PRIu64 "\n", n);
    }
    put_name(w, row, "_sum", NULL);
    put_f64(w->f, (double)atomic_load_explicit(&h->sum, memory_order_relaxed) / b->per_unit);
    put_name(w, row, "_count", NULL);
    fprintf(w->f, " %" PRIu64 "\n", n); /* what the buckets add up to, whoever writes meanwhile */
}

static void put_sample(const writer *w, const mr_metric *row) {
    const char *at = (const char *)w->view + row->offset;

    if (row->type == MR_METRIC_BUCKETS || row->type == MR_METRIC_BUCKETS_PTR) {
        const mr_histogram *h = row->type == MR_METRIC_BUCKETS
                                    ? (const mr_histogram *)(const void *)at
                                    : *(const mr_histogram *const *)(const void *)at;
        if (h && h->buckets) put_histogram(w, row, h);
        return;
    }
    put_name(w, row, "", NULL);
    switch (row->type) {
    case MR_METRIC_U64:
        fprintf(w->f, " %" PRIu64 "\n", *(const uint64_t *)(const void *)at);
        break;
    case MR_METRIC_U32:
        fprintf(w->f, " %" PRIu32 "\n", *(const uint32_t *)(const void *)at);
        break;
    case MR_METRIC_BOOL: fprintf(w->f, " %d\n", *(const bool *)(const void *)at); break;
    case MR_METRIC_F64:
    case MR_METRIC_BUCKETS:
    case MR_METRIC_BUCKETS_PTR: put_f64(w->f, *(const double *)(const void *)at); break;
    }
}

/* ---- families ---- */

/* rows[0] and those behind it without a name. */
static size_t family_len(const mr_metric *rows, size_t n) {
    size_t len = 1;

    while (len < n && !rows[len].name) len++;
    return len;
}

static void put_family(const writer *w, const mr_metric *rows, size_t n) {
    fprintf(w->f, "# HELP %s%s %s\n# TYPE %s%s %s\n", w->prefix, w->name, rows->help, w->prefix,
            w->name, kind_names[rows->kind]);
    for (size_t i = 0; i < n; i++) put_sample(w, &rows[i]);
}

static void put_under_vllm(writer w, const mr_metric *rows, size_t n) {
    const char *const names[] = {rows->name, rows->older};

    w.is_vllm = true;
    w.prefix = VLLM_PREFIX;
    for (size_t i = 0; i < 2 && names[i]; i++) {
        w.name = names[i];
        put_family(&w, rows, n);
    }
}

static void put_all(const writer *to, const mr_metric *rows, size_t n) {
    for (size_t i = 0, len; i < n; i += len) {
        const mr_metric *first = &rows[i];
        writer w = *to;

        len = family_len(first, n - i);
        if ((first->flags & MR_METRIC_GPU) && !w.style->gpu) continue;
        w.prefix = first->flags & MR_METRIC_PROCESS ? "" : PREFIX;
        w.name = first->name;
        if (!(first->flags & MR_METRIC_FOREIGN)) put_family(&w, first, len);
        if ((first->flags & (MR_METRIC_VLLM | MR_METRIC_FOREIGN)) && w.style->vllm)
            put_under_vllm(w, first, len);
    }
}

char *mr_metric_text(const mr_metric *rows, size_t n, const void *view,
                     const mr_metric_style *style, size_t *len) {
    char *text = NULL;
    writer w = {.f = open_memstream(&text, len), .view = view, .style = style};
    bool failed;

    if (!w.f) return NULL;
    put_all(&w, rows, n);
    failed = ferror(w.f) != 0;
    if (fclose(w.f) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- documentation ---- */

/* lane="high", lane="low": the label's name and its values. */
static void print_labels(FILE *f, const mr_metric *rows, size_t n) {
    if (!rows->labels) return;
    fprintf(f, "%.*s: ", (int)strcspn(rows->labels, "="), rows->labels);
    for (size_t i = 0; i < n; i++) {
        const char *value = strchr(rows[i].labels, '"') + 1;
        fprintf(f, "%s%.*s", i ? ", " : "", (int)strcspn(value, "\""), value);
    }
}

void mr_metric_print_markdown(FILE *f, const mr_metric *rows, size_t n) {
    fputs("| metric | type | labels | meaning |\n|---|---|---|---|\n", f);
    for (size_t i = 0, len; i < n; i += len) {
        const mr_metric *r = &rows[i];
        len = family_len(r, n - i);
        if (r->flags & MR_METRIC_FOREIGN) continue;
        fprintf(f, "| `%s%s`%s | %s | ", r->flags & MR_METRIC_PROCESS ? "" : PREFIX, r->name,
                r->flags & MR_METRIC_VLLM ? " *" : "", kind_names[r->kind]);
        print_labels(f, r, len);
        fprintf(f, " | %s |\n", r->help);
    }
}
