/* metrics_doc.c - prints docs/METRICS.md: the tables of both programs, and what is to be said of
 * them. */
#include "dispatcher/metrics.h"
#include "worker/metrics.h"

static const char head[] =
    "# Metrics\n"
    "\n"
    "Both programs answer `/metrics` in Prometheus's text format 0.0.4, the dispatcher on\n"
    "`dispatcher_listen` (9464), the worker on `worker_listen` (9465), and beside it:\n"
    "\n"
    "| path | 200 when |\n"
    "|---|---|\n"
    "| `/startupz` | worker: the model is loaded; dispatcher: it knows what was cancelled |\n"
    "| `/readyz` | topics are known, partitions assigned, Kafka takes what it is given |\n"
    "| `/livez` | a new start would not help; of a worker: no engine step hangs |\n"
    "\n"
    "Anything else is 503 with the reason in words.\n"
    "\n"
    "Names are vLLM's behind the prefix `millrace_`, with its types and buckets, where\n"
    "vLLM has such a number (marked *). With `metrics_compat: vllm` a worker shows those\n"
    "also as `vllm:...`, with the label `engine=\"0\"`, and under the names that they had\n"
    "before (`vllm:gpu_cache_usage_perc`, `vllm:time_per_output_token_seconds`,\n"
    "`vllm:request_max_num_generation_tokens`): a dashboard made for vLLM then shows our\n"
    "workers. `vllm:prompt_tokens_total` has the tokens of the prefix cache in it, as\n"
    "vLLM's has; `vllm:prompt_tokens_by_source_total` and\n"
    "`vllm:num_requests_waiting_by_reason` are there, and bounds of buckets are written as\n"
    "vLLM writes them (`le=\"1.0\"`). What vLLM has about its HTTP server, images and caches\n"
    "outside of the process is not. `tests/integration/test_panels.py` asks a Prometheus\n"
    "each question of vLLM's own dashboards.\n"
    "\n"
    "Times of a job begin with its record in Kafka, so they hold the wait before the\n"
    "dispatcher has read it. Histograms and `jobs_total` count a job when its answer is\n"
    "committed. Tenants are no label, since there may be thousands; `millrace top` shows\n"
    "them. Each job's own numbers are in its result (PROTOCOL.md: `usage`, `timings`).\n"
    "\n"
    "`compose/prometheus` has a scrape configuration and alert rules (RUNBOOK.md says\n"
    "what to do), `compose/grafana` dashboards for users, for operators and for single\n"
    "jobs.\n"
    "\n"
    "This page is printed by `mr_metrics_doc` from the tables in `dispatcher/metrics.c`\n"
    "and `worker/metrics.c`.\n";

static const char cost[] =
    "\n"
    "## Cost\n"
    "\n"
    "The engine thread writes its numbers without a lock and without waiting; whoever\n"
    "reads sees each of them as it was at some moment. The text is made when somebody\n"
    "asks, on the loop. What a scrape takes is measured in\n"
    "[OPERATIONS.md](OPERATIONS.md#callbacks-and-numbers-under-test).\n";

int main(void) {
    size_t n;
    const mr_metric *rows = mr_dispatcher_rows(&n);

    fputs(head, stdout);
    puts("\n## millrace-dispatcher\n");
    mr_metric_print_markdown(stdout, rows, n);
    puts("\n## millrace-worker\n\nAll but the standard ones carry the label `model_name`. Those of "
         "the GPU are there when the\nengine works on one and the driver's NVML is found.\n");
    rows = mr_worker_rows(&n);
    mr_metric_print_markdown(stdout, rows, n);
    fputs(cost, stdout);
    return ferror(stdout) ? 1 : 0;
}
