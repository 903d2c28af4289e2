#!/usr/bin/python3
"""Goal: a Grafana that is pointed at our programs shows something in each panel: of our dashboards, and, with
`metrics_compat: vllm`, of the dashboards that vLLM's users have already. And each alert looks at something.

Method: a real Prometheus scrapes a dispatcher and a worker under load of every kind (lanes, refusals, a lost seat,
callbacks, dead letters). Each variable of a dashboard must have values, and each question, with the variables
filled in as Grafana does, must be answered with a number that is not NaN at some moment of the test. Of alerts, which
are silent when all is well, the numbers that they compare are asked for. What needs a GPU is listed, and only parsed.
There is no Grafana in the packages that the tests use: that it draws what it gets is not tested.
"""

from __future__ import annotations

import http.server
import itertools
import json
import pathlib
import re
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import rig as servers
from jobs import JSON, make_job, produce, producer
from panels import Board, fill_variables, fill_windows, of_file, of_vllm

OURS = sorted((servers.SOURCE / "compose/grafana/dashboards").glob("*.json"))
RULES = servers.SOURCE / "compose/prometheus/alerts.yml"
SCRAPE_S = 1
RATE_S = 4 * SCRAPE_S  # as Grafana has it for short ranges
SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
# Silent here, each for its reason.
NEED_A_GPU = re.compile(r"millrace_gpu_")


class Prometheus:
    def __init__(self, rig: servers.Rig, targets: dict[str, int]) -> None:
        (self.port,) = servers.free_ports(1)
        jobs = "".join(f"  - job_name: {job}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
                       for job, port in {**targets, "prometheus": self.port}.items())
        (rig.dir / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {SCRAPE_S}s, evaluation_interval: {SCRAPE_S}s}}\n"
            f"rule_files: ['{RULES}']\nscrape_configs:\n{jobs}")
        p = rig.start("prometheus", ["prometheus", f"--config.file={rig.dir}/prometheus.yml",
                                     f"--storage.tsdb.path={rig.dir}/prometheus",
                                     f"--web.listen-address=127.0.0.1:{self.port}"])
        servers.wait_port(self.port, p, rig.log("prometheus"))
        servers.wait_for("Prometheus is ready", self.ready)
        self.began_s = time.time()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=servers.HANG_S) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, path: str, **query) -> object:
        """Raises with what Prometheus says to a question that it does not understand."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=servers.HANG_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{query}: {e.read().decode()}") from None

    def label_values(self, question: str) -> list[str]:
        metric, label = re.fullmatch(r"label_values\((?:(.+),)?\s*(\w+)\)", question).groups()
        return self.get(f"label/{label}/values", **({"match[]": metric} if metric else {}))

    def has_number(self, expr: str) -> bool:
        """Windows in expr are still open."""
        whole_s = int(time.time() - self.began_s) + 1
        series = self.get("query_range", query=fill_windows(expr, RATE_S, whole_s), start=self.began_s,
                          end=time.time(), step=SCRAPE_S)["result"]
        return any(value not in ("NaN", "+Inf", "-Inf") for s in series for _, value in s["values"])


class Load(threading.Thread):
    """Some of everything, again and again, until it is told to stop."""

    def __init__(self, rig: servers.Rig, hook: str) -> None:
        super().__init__(daemon=True)
        self.producer, self.hook, self.over = producer(rig.brokers), hook, threading.Event()
        self.start()

    def run(self) -> None:
        for n in itertools.count():
            self.one_round(n)
            self.producer.flush(servers.HANG_S)
            if self.over.wait(0.4):
                return

    def one_round(self, n: int) -> None:
        for lane, jobs, tokens in (("low", 6, 400), ("normal", 4, 40), ("high", 2, 20)):
            for i in range(jobs):
                produce(self.producer, make_job(f"Number {n % 3}: a tool that prints text files on printers.",
                                                model="demo", priority=lane, callback={"url": self.hook},
                                                params={"max_tokens": tokens, "ignore_eos": True}), JSON, lane)
        produce(self.producer, make_job(model="nobody-has-it", callback={"url": self.hook}), JSON)
        self.producer.produce("millrace.jobs.normal", b"no job", key="t")

    def stop(self) -> None:
        self.over.set()
        self.join()


class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args) -> None:
        pass


class Panels(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig()
        cls.rig.__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        at = f"127.0.0.1:{hook.server_port}"
        dispatcher, worker = servers.free_ports(2)
        cls.rig.start_dispatcher(dispatcher_listen=f"127.0.0.1:{dispatcher}", model_grace_ms=0, webhook_allow=at,
                                 webhook_secrets=f"default={SECRET}")
        cls.rig.start_worker(worker_listen=f"127.0.0.1:{worker}", metrics_compat="vllm", max_jobs=4,
                             max_preemptions=2)
        cls.prometheus = Prometheus(cls.rig, {"dispatcher": dispatcher, "worker": worker})
        servers.wait_for("the dispatcher has its partitions",
                         lambda: "assigned" in cls.rig.log("dispatcher").read_text())
        cls.load = Load(cls.rig, f"http://{at}/hook")
        cls.addClassCleanup(cls.load.stop)

    def values(self, board: Board) -> dict[str, list[str]]:
        """Of its variables; a later one may ask with the ones before."""
        known: dict[str, list[str]] = {}
        for name, question in board.variables.items():
            filled = fill_variables(question, known)
            known[name] = servers.wait_for(f"{board.name}: values of {name}",
                                           lambda q=filled: self.prometheus.label_values(q))
        return known

    def wait_for_numbers(self, questions: list[tuple[str, str]]) -> None:
        """(where, expression). All are asked until each was answered once."""
        left = questions

        def answered() -> bool:
            nonlocal left
            left = [(where, expr) for where, expr in left if not self.prometheus.has_number(expr)]
            return not left
        try:
            servers.wait_for("numbers", answered, step_s=SCRAPE_S)
        except AssertionError:
            self.fail("no number for:\n" + "\n".join(f"{where}: {expr}" for where, expr in left))

    def ask(self, boards: list[Board]) -> int:
        questions = []
        for board in boards:
            values = self.values(board)
            for expr in board.expressions:
                filled = fill_variables(expr, values)
                if NEED_A_GPU.search(expr):
                    self.prometheus.has_number(filled)
                else:
                    questions.append((board.name, filled))
        self.wait_for_numbers(questions)
        return len(questions)

    def test_our_panels(self) -> None:
        n = self.ask([of_file(path) for path in OURS])
        print(f"{n} questions of our dashboards answered ", end="", flush=True)

    def test_vllms_panels(self) -> None:
        n = self.ask(of_vllm())
        print(f"{n} questions of vLLM's dashboards answered ", end="", flush=True)

    def test_alerts(self) -> None:
        """Their thresholds taken off; and Prometheus itself must be able to work them out."""
        found = re.findall(r"- alert: (\w+)\n\s+expr: (.+)\n", RULES.read_text())
        bare = [(name, re.sub(r" (?:>|==) [0-9.]+|\babsent\b", "", expr)) for name, expr in found]
        self.assertEqual(len(bare), RULES.read_text().count("- alert:"))
        self.wait_for_numbers(bare)
        rules = [r for g in self.prometheus.get("rules")["groups"] for r in g["rules"]]
        self.assertEqual([(r["name"], r.get("lastError")) for r in rules if r["health"] != "ok"], [])
        self.assertEqual([r["name"] for r in rules], [name for name, _ in found])


if __name__ == "__main__":
    servers.main()
