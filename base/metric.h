/* metric.h - tables of metrics, and their Prometheus text (exposition format 0.0.4).
 *
 * A program's metrics are rows over one struct of numbers, its view, which it fills when somebody
 * asks. A row says where in the view its number is; so a further metric is one line in the table,
 * and docs/METRICS.md is printed from the same rows. Rows of one family follow each other: the
 * first has name, kind and help, the others only labels.
 *
 * Label values are constants of the table, but for the model's name: none can grow without bound.
 * Pure. Any thread. */
#ifndef MR_BASE_METRIC_H
#define MR_BASE_METRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/histogram.h"

typedef enum mr_metric_kind {
    MR_METRIC_COUNTER,
    MR_METRIC_GAUGE,
    MR_METRIC_HISTOGRAM
} mr_metric_kind;

typedef enum mr_metric_type { /* of the member of the view */
    MR_METRIC_U64,
    MR_METRIC_U32,
    MR_METRIC_F64,
    MR_METRIC_BOOL,
    MR_METRIC_BUCKETS,    /* mr_histogram */
    MR_METRIC_BUCKETS_PTR /* const mr_histogram *; NULL: no sample */
} mr_metric_type;

/* Bits of mr_metric.flags. */
#define MR_METRIC_VLLM    1u /* vLLM has it, with vllm: in place of the prefix */
#define MR_METRIC_PROCESS 2u /* a standard name: no prefix, no label model_name */
#define MR_METRIC_GPU     4u /* left out where there is none */
#define MR_METRIC_FOREIGN 8u /* under vLLM's name alone: ours says it otherwise */

typedef struct mr_metric {
    const char *name;   /* without the prefix; NULL: another sample of the family above */
    const char *labels; /* lane="high"; NULL: none */
    mr_metric_kind kind;
    mr_metric_type type;
    size_t offset;
    unsigned flags;
    const char *older; /* vLLM's name of it before; NULL: none */
    const char *help;
} mr_metric;

/* Place and type of a view's member. The types are those of 64-bit Linux: size_t is uint64_t. */
#define MR_METRIC_AT(view, member)                                                                 \
    .offset = offsetof(view, member),                                                              \
    .type = _Generic(((view *)0)->member,                                                          \
        uint64_t: MR_METRIC_U64,                                                                   \
        uint32_t: MR_METRIC_U32,                                                                   \
        double: MR_METRIC_F64,                                                                     \
        bool: MR_METRIC_BOOL,                                                                      \
        mr_histogram: MR_METRIC_BUCKETS,                                                           \
        const mr_histogram *: MR_METRIC_BUCKETS_PTR)

typedef struct mr_metric_style {
    const char *model; /* label model_name of each sample; NULL: without it */
    bool vllm;         /* also under vLLM's names */
    bool gpu;          /* with the rows of a GPU */
} mr_metric_style;

/* malloc'd text, *len bytes; NULL: out of memory. */
char *mr_metric_text(const mr_metric *rows, size_t n, const void *view,
                     const mr_metric_style *style, size_t *len);
/* One table row per family. */
void mr_metric_print_markdown(FILE *f, const mr_metric *rows, size_t n);

#endif
