#!/usr/bin/python3
"""Goal: /metrics says what happened, in a form that Prometheus and vLLM's dashboards read; the probes turn at
the right moments.

Method: a worker that starts before its broker, then jobs of which everything is known: counters, histograms
and the results' own numbers must agree to the last token. A reader scrapes all the while: nothing that only
rises may fall. promtool reads both pages. (A hanging engine and /livez: test_faults.py.)
"""

import re
import signal
import subprocess
import threading
import unittest

import rig as servers
from jobs import Results, make_job, produce, producer
from scrape import Page, probe

LANES = ("high", "normal", "low")
N_EACH, MADE, N_CTX = 8, 16, 512
N_TOO_LONG, N_NO_MODEL = 3, 2
N_RUN = len(LANES) * N_EACH

# What vLLM's own Grafana dashboard queries (docs.vllm.ai, "Prometheus and Grafana"), and what others do.
VLLM = """e2e_request_latency_seconds_bucket e2e_request_latency_seconds_sum e2e_request_latency_seconds_count
prompt_tokens_total generation_tokens_total num_requests_running num_requests_waiting kv_cache_usage_perc
inter_token_latency_seconds_bucket inter_token_latency_seconds_sum inter_token_latency_seconds_count
time_to_first_token_seconds_bucket time_to_first_token_seconds_sum time_to_first_token_seconds_count
request_prompt_tokens_bucket request_generation_tokens_bucket request_success_total
request_queue_time_seconds_sum request_prefill_time_seconds_sum request_decode_time_seconds_sum
request_max_num_generation_tokens_sum gpu_cache_usage_perc time_per_output_token_seconds_bucket
prefix_cache_queries_total prefix_cache_hits_total num_preemptions_total iteration_tokens_total_bucket
request_inference_time_seconds_bucket request_params_max_tokens_bucket""".split()
# promtool does not like vLLM's name of this histogram.
KNOWN_LINT = {"millrace_iteration_tokens_total"}


class Scraper(threading.Thread):
    """Reads a page again and again; a counter that falls is an error."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.over, self.n, self.error = port, threading.Event(), 0, ""
        self.start()

    def run(self) -> None:
        last: dict = {}
        while not self.over.is_set() and not self.error:
            try:
                now = Page(self.port).rising()
            except AssertionError as e:
                self.error = str(e)
                return
            fallen = [key for key, value in last.items() if now.get(key, -1) < value]
            self.error = f"fell or went away: {fallen[:3]}" if fallen else ""
            last, self.n = now, self.n + 1
            self.over.wait(0.05)

    def end(self, test: unittest.TestCase) -> None:
        self.over.set()
        self.join()
        test.assertEqual(self.error, "")
        test.assertGreater(self.n, 3)


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.rig.start_redis()
        cls.dispatcher, cls.worker = servers.free_ports(2)

    def test_it_all(self) -> None:
        """One after the other: each step stands on the one before."""
        self.before_kafka_is_there()
        self.with_kafka()
        self.run_jobs()
        servers.wait_for("its own records are known to be committed", lambda: Page(self.worker).get(
            "millrace_records_total", model_name="de-mo") == N_RUN + N_TOO_LONG)
        self.check_worker(Page(self.worker))
        self.check_dispatcher()
        self.check_vllm(Page(self.worker))
        self.check_lint()
        self.check_drain()

    def before_kafka_is_there(self) -> None:
        self.rig.start_worker(worker_listen=f"127.0.0.1:{self.worker}", metrics_compat="vllm", n_ctx=N_CTX,
                              max_jobs=4, max_preemptions=0, heartbeat_ms=100, model_name="de-mo")
        servers.wait_for("the model is loaded", lambda: probe(self.worker, "/startupz")[0] == 200)
        self.assertEqual(probe(self.worker, "/livez"), (200, "ok\n"))
        self.assertEqual(probe(self.worker, "/readyz"), (503, "waiting for kafka\n"))
        page = Page(self.worker)
        self.assertEqual(page.get("millrace_model_loaded"), 1)
        self.assertEqual(page.get("millrace_jobs_total", status="succeeded"), 0)

    def with_kafka(self) -> None:
        self.rig.format_kafka()
        self.rig.start_kafka()
        self.rig.start_dispatcher(dispatcher_listen=f"127.0.0.1:{self.dispatcher}", model_grace_ms=0)
        for port in (self.dispatcher, self.worker):
            servers.wait_for("ready", lambda: probe(port, "/readyz") == (200, "ok\n"))
            self.assertEqual(probe(port, "/startupz")[0], 200)
            self.assertGreater(Page(port).get("millrace_partitions"), 0)
        servers.wait_for("the worker is known", lambda: Page(self.dispatcher).get("millrace_workers_live") == 1)
        self.results = Results(self.rig.brokers)
        self.addCleanup(self.results.close)
        self.producer = producer(self.rig.brokers)

    def job(self, n: int, **fields) -> dict:
        return make_job(f"Number {n}. A tool that prints text files on printers.", model="de-mo",
                        params={"max_tokens": MADE, "temperature": 0, "ignore_eos": True}, **fields)

    def run_jobs(self) -> None:
        scrapers = [Scraper(self.worker), Scraper(self.dispatcher)]
        ids = [produce(self.producer, self.job(i, priority=lane), lane=lane) for i in range(N_EACH) for lane in LANES]
        refused = [produce(self.producer, make_job(model="de-mo", input={"tokens": [5] * (N_CTX + 1)}))
                   for _ in range(N_TOO_LONG)]
        refused += [produce(self.producer, make_job(model="no such")) for _ in range(N_NO_MODEL)]
        self.got = self.results.wait(ids)
        for r in self.results.wait(refused).values():
            self.assertEqual(r["status"], "rejected", r)
        for s in scrapers:
            s.end(self)
        for r in self.got.values():
            self.assertEqual((r["status"], r["usage"]["completion_tokens"], r["usage"]["wasted_tokens"]),
                             ("succeeded", MADE, 0), r)

    def of_results(self, part: str, field: str) -> float:
        return sum(r[part][field] for r in self.got.values())

    def check_worker(self, page: Page) -> None:
        def get(name: str, **labels: str) -> float:
            return page.get(f"millrace_{name}", model_name="de-mo", **labels)
        prompts = self.of_results("usage", "prompt_tokens")
        self.assertEqual(get("jobs_total", status="succeeded"), N_RUN)
        self.assertEqual(get("request_success_total", finished_reason="length"), N_RUN)
        self.assertEqual(get("request_success_total", finished_reason="stop"), 0)
        self.assertEqual(get("job_returns_total", outcome="no_fit"), N_TOO_LONG)
        self.assertEqual(get("records_total"), N_RUN + N_TOO_LONG)
        for name in ("e2e_request_latency", "time_to_first_token", "request_queue_time", "request_prefill_time",
                     "request_decode_time", "request_inference_time", "request_time_per_output_token"):
            self.assertEqual(get(f"{name}_seconds_count"), N_RUN, name)
        self.assertEqual(get("inter_token_latency_seconds_count"), N_RUN * (MADE - 1))
        self.assertEqual(get("request_prompt_tokens_sum"), prompts)
        self.assertEqual(get("request_generation_tokens_sum"), N_RUN * MADE)
        self.assertEqual(get("request_generation_tokens_bucket", le="10"), 0)
        self.assertEqual(get("request_generation_tokens_bucket", le="20"), N_RUN)
        self.assertEqual(get("request_params_max_tokens_sum"), N_RUN * MADE)
        self.assertEqual(get("generation_tokens_total"), N_RUN * MADE)
        self.assertEqual(get("prefix_cache_queries_total"), prompts)
        self.assertEqual(get("prefix_cache_hits_total"), self.of_results("usage", "cached_tokens"))
        computed = get("prompt_tokens_total")
        self.assertEqual(computed, prompts - get("prefix_cache_hits_total"))
        self.assertEqual(get("iteration_tokens_total_sum"), computed + N_RUN * (MADE - 1))
        self.assertEqual(get("iteration_tokens_total_count"), get("engine_steps_total"))
        self.assertEqual(get("engine_step_seconds_count"), get("engine_steps_total"))
        self.assertAlmostEqual(get("engine_step_seconds_sum"), get("engine_busy_seconds_total"), 5)
        stages = [get(f"request_{stage}_time_seconds_sum") for stage in ("queue", "prefill", "decode")]
        self.assertAlmostEqual(get("e2e_request_latency_seconds_sum"), sum(stages), 3)
        for stage, field in zip(stages, ("queue_ms", "prefill_ms", "decode_ms")):
            self.assertAlmostEqual(stage, self.of_results("timings", field) / 1000, 3)
        self.assertEqual(get("wasted_tokens_total"), 0)
        self.assertEqual(get("commit_seconds_count"), get("commit_batches_total"))
        self.check_process(page)

    def check_process(self, page: Page) -> None:
        self.assertGreater(page.get("process_resident_memory_bytes"), 1 << 20)
        self.assertGreater(page.get("process_cpu_seconds_total"), 0)
        self.assertGreater(page.get("process_open_fds"), 3)
        self.assertGreater(page.get("process_start_time_seconds"), 1.7e9)
        self.assertEqual(page.families["process_open_fds"].samples.keys(), {("process_open_fds", "")})

    def check_dispatcher(self) -> None:
        n = N_RUN + N_TOO_LONG + N_NO_MODEL
        servers.wait_for("all is told to Redis",
                         lambda: Page(self.dispatcher).get("millrace_results_announced_total") == n)
        servers.wait_for("its own records are known to be committed", lambda: Page(self.dispatcher).get(
            "millrace_jobs_refused_total", status="rejected") == N_TOO_LONG + N_NO_MODEL)
        page = Page(self.dispatcher)

        def by_lane(name: str) -> list[float]:
            return [page.get(f"millrace_{name}", lane=lane) for lane in LANES]
        more = [0, N_TOO_LONG, 0]
        self.assertEqual(by_lane("jobs_received_total"), [N_EACH, N_EACH + N_TOO_LONG + N_NO_MODEL, N_EACH])
        self.assertEqual(by_lane("jobs_released_total"), [N_EACH + k for k in more])
        self.assertEqual(by_lane("queue_wait_seconds_count"), [N_EACH + k for k in more])
        self.assertEqual(by_lane("window_jobs"), [0, 0, 0])
        self.assertEqual(by_lane("lane_lag_records"), [0, 0, 0])
        self.assertEqual(page.get("millrace_release_seconds_count"), N_RUN + N_TOO_LONG)
        self.assertEqual(page.get("millrace_jobs_refused_total", status="rejected"), N_TOO_LONG + N_NO_MODEL)
        self.assertEqual(page.get("millrace_retries_total", outcome="no_fit"), N_TOO_LONG)
        self.assertEqual(page.get("millrace_commit_seconds_count"), page.get("millrace_commit_batches_total"))
        waited = sum(by_lane("queue_wait_seconds_sum"))
        self.assertLess(waited, self.of_results("timings", "queue_ms") / 1000 + 60 * N_TOO_LONG)
        self.check_process(page)

    def check_vllm(self, page: Page) -> None:
        there = {name for f in page.families.values() for name, _ in f.samples}
        self.assertEqual([name for name in VLLM if f"vllm:{name}" not in there], [])
        self.assertEqual(page.get("vllm:request_success_total", finished_reason="length", engine="0",
                                  model_name="de-mo"), N_RUN)
        self.assertFalse([name for name in Page(self.dispatcher).families if name.startswith("vllm:")])

    def check_lint(self) -> None:
        for port in (self.worker, self.dispatcher):
            ours = re.sub(r"^(# (HELP|TYPE) )?vllm:.*\n", "", Page(port).text, flags=re.M)
            out = subprocess.run(["promtool", "check", "metrics"], input=ours, text=True, check=False,
                                 capture_output=True)
            said = [line for line in (out.stdout + out.stderr).splitlines() if line.split()[0] not in KNOWN_LINT]
            self.assertEqual(said, [])

    def check_drain(self) -> None:
        ids = [produce(self.producer, make_job(model="de-mo", params={"max_tokens": 450, "ignore_eos": True}))
               for _ in range(16)]
        servers.wait_for("some run", lambda: Page(self.worker).get("millrace_num_requests_running") > 1, step_s=0.01)
        p = self.rig.processes["worker"]
        p.send_signal(signal.SIGTERM)
        servers.wait_for("it says that it stops", lambda: probe(self.worker, "/readyz") == (503, "stopping\n"),
                         step_s=0.005)
        self.assertEqual(probe(self.worker, "/livez")[0], 200)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(self.rig.stop("worker"), 75)
        self.assertLessEqual(len(set(ids) & self.results.by_id.keys()), len(ids))


if __name__ == "__main__":
    servers.main()
