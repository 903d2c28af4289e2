/* choice.c - our kernels against the vendor's library.
 *
 * Both are put in line REPEATS times between two marks, so that the device works while the host
 * still prepares: as in a step, where a graph or the steps before hide the host. The shortest of
 * TRIES counts, behind one that loads code and is not counted.
 *
 * One sequence and a full pass count the same: which of them a worker will see more of, nobody
 * knows at load. So ratios are averaged, not times, or the full pass would decide alone. */
#include "engine/cuda/choice.h"

#include "base/log.h"

#define REPEATS 8
#define TRIES   3
#define CLEARLY 0.97 /* below what two measurements of the same differ by */

typedef void multiply(mr_device *d, const mr_product *a);

bool mr_choice_of(const mr_choice_times *t) {
    double sum = 0;
    uint32_t n = 0;

    for (int i = 0; i < MR_CHOICE_COUNTS; i++) {
        if (!(t->ours_ms[i] > 0) || !(t->library_ms[i] > 0)) continue;
        sum += log(t->library_ms[i] / t->ours_ms[i]);
        n++;
    }
    return n > 0 && exp(sum / n) < CLEARLY;
}

static mr_status measure(mr_device *d, const mr_product *a, multiply *run, double *ms,
                         mr_err *err) {
    for (int i = 0; i <= TRIES; i++) {
        mr_status st;
        d->calls->mark(d, 0);
        for (int j = 0; j < REPEATS; j++) run(d, a);
        d->calls->mark(d, 1);
        if ((st = d->calls->reach(d, 1, err)) != MR_OK) return st;
        const double took = (double)d->calls->between(d, 0, 1) / REPEATS;
        if (i <= 1 || took < *ms) *ms = took;
    }
    return MR_OK;
}

static int find(const mr_choice *c, mr_type type, uint32_t rows, uint32_t cols) {
    for (uint32_t i = 0; i < c->n; i++)
        if (c->shapes[i].type == type && c->shapes[i].rows == rows && c->shapes[i].cols == cols)
            return (int)i;
    return -1;
}

static void tell(const mr_dev_mat *w, const uint32_t *n_toks, const mr_choice_times *t,
                 bool library) {
    _Static_assert(MR_CHOICE_COUNTS == 3, "the line below has three");
    mr_log(MR_LOG_INFO, "engine", "products measured",
           "rows=%u cols=%u tokens=%u,%u,%u ours_ms=%.4f,%.4f,%.4f cublaslt_ms=%.4f,%.4f,%.4f "
           "taken=%s",
           w->rows, w->cols, n_toks[0], n_toks[1], n_toks[2], t->ours_ms[0], t->ours_ms[1],
           t->ours_ms[2], t->library_ms[0], t->library_ms[1], t->library_ms[2],
           library ? "cublaslt" : "ours");
}

mr_status mr_choice_measure(mr_choice *c, mr_device *d, const mr_product *a,
                            const uint32_t n_toks[MR_CHOICE_COUNTS], mr_err *err) {
    mr_product p = *a;
    mr_choice_times t;
    mr_status st = MR_OK;

    if (find(c, p.w.type, p.w.rows, p.w.cols) >= 0) return MR_OK;
    MR_CHECK(c->n < MR_CHOICE_SHAPES);
    for (int i = 0; i < MR_CHOICE_COUNTS && st == MR_OK; i++) {
        p.n_tok = n_toks[i];
        p.w.in_rows = false;
        st = measure(d, &p, d->calls->product, &t.ours_ms[i], err);
        p.w.in_rows = true;
        if (st == MR_OK) st = measure(d, &p, d->calls->matmul, &t.library_ms[i], err);
    }
    if (st != MR_OK) return st;
    c->shapes[c->n].type = p.w.type;
    c->shapes[c->n].rows = p.w.rows;
    c->shapes[c->n].cols = p.w.cols;
    c->shapes[c->n].library = mr_choice_of(&t);
    tell(&p.w, n_toks, &t, c->shapes[c->n].library);
    c->n++;
    return MR_OK;
}

bool mr_choice_is_library(const mr_choice *c, const mr_mat *w) {
    const int i = find(c, w->type, w->rows, w->cols);
    return i >= 0 && c->shapes[i].library;
}
