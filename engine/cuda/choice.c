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

static const char *name_of(mr_type type) {
    return type == MR_DEV_E4M3 ? "E4M3" : mr_type_name(type);
}

static void tell(const mr_dev_mat *w, const uint32_t *n_toks, const mr_choice_times *t,
                 bool library) {
    _Static_assert(MR_CHOICE_COUNTS == 3, "the line below has three");
    mr_log(MR_LOG_INFO, "engine", "products measured",
           "type=%s rows=%u cols=%u tokens=%u,%u,%u ours_ms=%.4f,%.4f,%.4f "
           "cublaslt_ms=%.4f,%.4f,%.4f taken=%s",
           name_of(w->type), w->rows, w->cols, n_toks[0], n_toks[1], n_toks[2], t->ours_ms[0],
           t->ours_ms[1], t->ours_ms[2], t->library_ms[0], t->library_ms[1], t->library_ms[2],
           library ? "cublaslt" : "ours");
}

/* With each number of tokens, before anything depends on it. */
static bool takes_all(mr_device *d, const mr_product *rows,
                      const uint32_t n_toks[MR_CHOICE_COUNTS]) {
    mr_product p = *rows;

    for (int i = 0; i < MR_CHOICE_COUNTS; i++) {
        p.n_tok = n_toks[i];
        if (d->calls->try_matmul(d, &p)) continue;
        mr_log(MR_LOG_WARN, "engine", "cuBLASLt has no such product",
               "type=%s rows=%u cols=%u tokens=%u taken=ours", name_of(p.w.type), p.w.rows,
               p.w.cols, p.n_tok);
        return false;
    }
    return true;
}

static mr_status measure_both(mr_choice_times *t, mr_device *d, const mr_product *tiles,
                              const mr_product *rows, const uint32_t n_toks[MR_CHOICE_COUNTS],
                              mr_err *err) {
    mr_product ours = *tiles, theirs = *rows;
    mr_status st = MR_OK;

    for (int i = 0; i < MR_CHOICE_COUNTS && st == MR_OK; i++) {
        ours.n_tok = theirs.n_tok = n_toks[i];
        st = measure(d, &ours, d->calls->product, &t->ours_ms[i], err);
        if (st == MR_OK) st = measure(d, &theirs, d->calls->matmul, &t->library_ms[i], err);
    }
    return st;
}

mr_status mr_choice_measure(mr_choice *c, mr_device *d, const mr_product *tiles,
                            const mr_product *rows, const uint32_t n_toks[MR_CHOICE_COUNTS],
                            mr_err *err) {
    const mr_dev_mat *w = &rows->w;
    bool library = false;
    mr_choice_times t;
    mr_status st;

    if (find(c, w->type, w->rows, w->cols) >= 0) return MR_OK;
    MR_CHECK(c->n < MR_CHOICE_SHAPES);
    if (takes_all(d, rows, n_toks)) {
        if ((st = measure_both(&t, d, tiles, rows, n_toks, err)) != MR_OK) return st;
        library = mr_choice_of(&t);
        tell(w, n_toks, &t, library);
    }
    c->shapes[c->n].type = w->type;
    c->shapes[c->n].rows = w->rows;
    c->shapes[c->n].cols = w->cols;
    c->shapes[c->n].library = library;
    c->n++;
    return MR_OK;
}

bool mr_choice_is_library(const mr_choice *c, mr_type type, uint32_t rows, uint32_t cols) {
    const int i = find(c, type, rows, cols);
    return i >= 0 && c->shapes[i].library;
}
