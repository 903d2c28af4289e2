/* Goal: the text is what a Prometheus scraper reads, whatever is in the table, and histograms count
 * right. Method: a table of each kind of row over a view, compared byte by byte. */
#include "tests/test.h"

#include <pthread.h>

#include "base/metric.h"
#include "base/process.h"
#include "millrace/error.h"

static const mr_buckets some = {.per_unit = 1000, .n = 2, .bounds = {5, 2500}};

typedef struct view {
    uint64_t jobs[2];
    uint32_t running;
    double share;
    bool up;
    mr_histogram wait;
    const mr_histogram *steps, *batches;
    mr_process process;
} view;

static const mr_metric rows[] = {
    {.name = "jobs_total", .kind = MR_METRIC_COUNTER, .labels = "lane=\"high\"",
     MR_METRIC_AT(view, jobs[0]), .help = "Jobs."},
    {.labels = "lane=\"low\"", MR_METRIC_AT(view, jobs[1])},
    {.name = "running", .kind = MR_METRIC_GAUGE, .flags = MR_METRIC_VLLM, .older = "active",
     MR_METRIC_AT(view, running), .help = "Running."},
    {.name = "share", .kind = MR_METRIC_GAUGE, .flags = MR_METRIC_GPU, MR_METRIC_AT(view, share),
     .help = "Share."},
    {.name = "up", .kind = MR_METRIC_GAUGE, .flags = MR_METRIC_PROCESS, MR_METRIC_AT(view, up),
     .help = "Up."},
    {.name = "wait_seconds", .kind = MR_METRIC_HISTOGRAM, MR_METRIC_AT(view, wait),
     .help = "Wait."},
    {.name = "steps", .kind = MR_METRIC_HISTOGRAM, MR_METRIC_AT(view, steps), .help = "Steps."},
    {.name = "batches", .kind = MR_METRIC_HISTOGRAM, .flags = MR_METRIC_FOREIGN,
     MR_METRIC_AT(view, batches), .help = "Batches."},
};

static const mr_buckets whole = {.per_unit = 1, .n = 2, .bounds = {1, 100000}};

static view a_view(void) {
    view v = {.jobs = {18446744073709551615u, 0}, .running = 3, .share = 0.1, .up = true};

    mr_histogram_init(&v.wait, &some);
    return v;
}

static char *text_of(const view *v, mr_metric_style style) {
    size_t len = 0;
    char *text = mr_metric_text(rows, MR_COUNT(rows), v, &style, &len);

    CHECK(text != NULL);
    CHECK_I64(strlen(text), len);
    return text;
}

TEST(families_have_one_head_and_all_their_samples) {
    const view v = a_view();
    char *text = text_of(&v, (mr_metric_style){.gpu = true});

    CHECK_STR(text, "# HELP millrace_jobs_total Jobs.\n"
                    "# TYPE millrace_jobs_total counter\n"
                    "millrace_jobs_total{lane=\"high\"} 18446744073709551615\n"
                    "millrace_jobs_total{lane=\"low\"} 0\n"
                    "# HELP millrace_running Running.\n"
                    "# TYPE millrace_running gauge\n"
                    "millrace_running 3\n"
                    "# HELP millrace_share Share.\n"
                    "# TYPE millrace_share gauge\n"
                    "millrace_share 0.1\n"
                    "# HELP up Up.\n"
                    "# TYPE up gauge\n"
                    "up 1\n"
                    "# HELP millrace_wait_seconds Wait.\n"
                    "# TYPE millrace_wait_seconds histogram\n"
                    "millrace_wait_seconds_bucket{le=\"0.005\"} 0\n"
                    "millrace_wait_seconds_bucket{le=\"2.5\"} 0\n"
                    "millrace_wait_seconds_bucket{le=\"+Inf\"} 0\n"
                    "millrace_wait_seconds_sum 0\n"
                    "millrace_wait_seconds_count 0\n"
                    "# HELP millrace_steps Steps.\n"
                    "# TYPE millrace_steps histogram\n");
    free(text);
}

TEST(buckets_are_cumulative_and_inclusive) {
    view v = a_view();
    char *text;

    mr_histogram_add(&v.wait, 0);
    mr_histogram_add(&v.wait, 5);
    mr_histogram_add(&v.wait, 6);
    mr_histogram_add(&v.wait, 2501);
    v.steps = &v.wait;
    text = text_of(&v, (mr_metric_style){.model = "m"});
    CHECK(strstr(text, "millrace_wait_seconds_bucket{model_name=\"m\",le=\"0.005\"} 2\n"
                       "millrace_wait_seconds_bucket{model_name=\"m\",le=\"2.5\"} 3\n"
                       "millrace_wait_seconds_bucket{model_name=\"m\",le=\"+Inf\"} 4\n"
                       "millrace_wait_seconds_sum{model_name=\"m\"} 2.512\n"
                       "millrace_wait_seconds_count{model_name=\"m\"} 4\n"));
    CHECK(strstr(text, "millrace_steps_count{model_name=\"m\"} 4\n"));
    CHECK(!strstr(text, "share")); /* no GPU */
    free(text);
}

TEST(a_models_name_is_escaped) {
    const view v = a_view();
    char *text = text_of(&v, (mr_metric_style){.model = "a\"b\\c\nd"});

    CHECK(strstr(text, "millrace_running{model_name=\"a\\\"b\\\\c\\nd\"} 3\n"));
    CHECK(strstr(text, "millrace_jobs_total{model_name=\"a\\\"b\\\\c\\nd\",lane=\"low\"} 0\n"));
    CHECK(strstr(text, "\nup 1\n"));
    free(text);
}

TEST(vllms_names_follow_our_own) {
    const view v = a_view();
    char *text = text_of(&v, (mr_metric_style){.model = "m", .vllm = true});

    CHECK(strstr(text, "millrace_running{model_name=\"m\"} 3\n"
                       "# HELP vllm:running Running.\n"
                       "# TYPE vllm:running gauge\n"
                       "vllm:running{model_name=\"m\",engine=\"0\"} 3\n"
                       "# HELP vllm:active Running.\n"
                       "# TYPE vllm:active gauge\n"
                       "vllm:active{model_name=\"m\",engine=\"0\"} 3\n"
                       "# HELP "));
    CHECK(!strstr(text, "vllm:jobs"));
    free(text);
}

TEST(what_only_vllm_has_is_under_its_name_alone) {
    view v = a_view();
    mr_histogram batches;
    char *text;

    mr_histogram_init(&batches, &whole);
    mr_histogram_add(&batches, 1);
    v.batches = &batches;
    text = text_of(&v, (mr_metric_style){.vllm = true});
    CHECK(strstr(text, "# HELP vllm:batches Batches.\n"
                       "# TYPE vllm:batches histogram\n"
                       "vllm:batches_bucket{engine=\"0\",le=\"1.0\"} 1\n"
                       "vllm:batches_bucket{engine=\"0\",le=\"100000.0\"} 1\n"
                       "vllm:batches_bucket{engine=\"0\",le=\"+Inf\"} 1\n"));
    CHECK(!strstr(text, "millrace_batches"));
    free(text);
    text = text_of(&v, (mr_metric_style){.vllm = false});
    CHECK(!strstr(text, "batches"));
    free(text);
}

TEST(the_page_names_each_family_once) {
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    mr_metric_print_markdown(f, rows, MR_COUNT(rows));
    fclose(f);
    CHECK(strstr(text, "| `millrace_jobs_total` | counter | lane: high, low | Jobs. |\n"
                       "| `millrace_running` * | gauge |  | Running. |\n"));
    CHECK(strstr(text, "| `up` | gauge |  | Up. |\n"));
    CHECK(!strstr(text, "batches"));
    free(text);
}

/* Bounds of every table ascend: else a value would fall into the wrong bucket. */
TEST(bounds_ascend) {
    static const mr_buckets *const all[] = {&mr_buckets_first_token, &mr_buckets_gap,
                                            &mr_buckets_request,     &mr_buckets_step,
                                            &mr_buckets_tokens,      &mr_buckets_wait,
                                            &mr_buckets_call};

    for (size_t i = 0; i < MR_COUNT(all); i++) {
        CHECK(all[i]->n <= MR_HISTOGRAM_BUCKETS && all[i]->per_unit > 0);
        for (size_t k = 1; k < all[i]->n; k++) CHECK(all[i]->bounds[k - 1] < all[i]->bounds[k]);
        CHECK(all[i]->bounds[all[i]->n - 1] > 0);
    }
}

static void *write_many(void *arg) {
    for (uint64_t i = 0; i < 100000; i++) mr_histogram_add(arg, i & 4095);
    return NULL;
}

/* Read while another thread writes: nothing is lost, nothing goes back. */
TEST(one_writes_while_another_reads) {
    view v = a_view();
    pthread_t writer;
    uint64_t last = 0;

    CHECK_I64(pthread_create(&writer, NULL, write_many, &v.wait), 0);
    while (last < 100000) {
        uint64_t n = 0;
        for (size_t i = 0; i <= some.n; i++) n += v.wait.counts[i];
        CHECK(n >= last);
        last = n;
    }
    pthread_join(writer, NULL);
    CHECK_I64(last, 100000);
}

TEST(a_process_knows_itself) {
    mr_process p = {0};
    double start_s, cpu_s;

    mr_process_read(&p);
    CHECK(p.resident_bytes > 100000 && p.virtual_bytes > p.resident_bytes);
    CHECK(p.open_fds >= 3 && p.open_fds < p.max_fds);
    CHECK(p.start_s > 1.6e9 && p.minor_faults > 0);
    start_s = p.start_s;
    cpu_s = p.cpu_s;
    FILE *f = fopen("/dev/null", "r");
    const uint64_t open_fds = p.open_fds;
    mr_process_read(&p);
    CHECK_I64(p.open_fds, open_fds + 1);
    CHECK(p.start_s == start_s); /* or each scrape would look like a new start */
    CHECK(p.cpu_s >= cpu_s);
    fclose(f);
}

MR_TEST_MAIN
